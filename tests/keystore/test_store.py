from keystore.model import Access, Grant, Permission


async def test_a_new_key_is_found_with_its_secret_and_scope(store):
    tenant = await store.admin.get_tenant("default")
    await store.admin.add_bucket(tenant.id, "photos", "be-photos")
    info, secret = await store.admin.create_key(
        tenant="default", access=Access.BUCKETS, permission=Permission.READ,
        grants=[Grant("photos", Permission.READ_WRITE)], label="ci", expires_at=None, actor="test",
    )
    key = await store.reader.find_key(info.access_key_id)
    assert key is not None
    assert key.secret.reveal() == secret.reveal()
    assert key.grants == (Grant("photos", Permission.READ_WRITE),)
    assert store.ready() == []
    info, prop = await store.admin.revoke_key(info.access_key_id, reason="r", actor="a")
    print(prop, info, store.stats)
    key = await store.reader.find_key(info.access_key_id)
    assert key.revoked_at
    p = await store.admin.delete_key(str(info.id), actor="a")
    assert await store.reader.find_key(info.access_key_id) is None
    print(p, await store.admin.list_keys(), store.stats)
