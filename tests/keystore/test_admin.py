"""What operators do, over a real Postgres."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from keystore import ident
from keystore.model import Access, Conflict, Grant, Invalid, KeyStatus, NotFound, Permission
from tests.keystore.makers import new_bucket, new_key

# What an attacker or a cat on the keyboard may put where a name is expected (CRY-288).
ODD_TEXTS = ["'", "'; DROP TABLE access_keys; --", "%", "_", "\x00", "a\nb", "\ud800", "ä" * 300, "", "$1", "NULL"]


async def test_a_new_key_is_found_with_its_secret_and_its_grants(key_store):
    await new_bucket(key_store, "photos")
    info, secret = await new_key(key_store, Grant("photos", Permission.READ), label="ci")
    key = await key_store.reader.find_key(info.access_key_id)
    assert key.secret.reveal() == secret.reveal()
    assert ident.is_secret(secret.reveal())
    assert (key.access, key.grants) == (Access.BUCKETS, (Grant("photos", Permission.READ),))
    assert (info.label, info.created_by, info.tenant) == ("ci", "tester", "default")
    assert info.status(datetime.now(UTC)) is KeyStatus.ACTIVE


async def test_a_key_for_an_unknown_bucket_is_refused_by_name_and_leaves_nothing(key_store, sql):
    await new_bucket(key_store, "photos")
    with pytest.raises(NotFound, match="no such bucket: videos"):
        await new_key(key_store, Grant("photos", Permission.READ), Grant("videos", Permission.READ))
    assert await sql.fetchval("SELECT count(*) FROM access_keys") == 0


async def test_a_bucket_of_another_tenant_is_an_unknown_bucket(key_store):
    await key_store.admin.create_tenant("other")
    await new_bucket(key_store, "photos", tenant="other")
    with pytest.raises(NotFound, match="photos"):
        await new_key(key_store, Grant("photos", Permission.READ))


async def test_a_key_is_shown_by_either_of_its_names(key_store):
    info, _ = await new_key(key_store)
    assert await key_store.admin.get_key(info.access_key_id) == info
    assert await key_store.admin.get_key(str(info.id)) == info


@pytest.mark.parametrize("text", [*ODD_TEXTS, "BWAKAAAAAAAAAAAAAAAA", str(uuid.UUID(int=5)), "-" * 36])
async def test_whatever_else_is_asked_for_is_not_found(key_store, text):
    with pytest.raises(NotFound):
        await key_store.admin.get_key(text)
    with pytest.raises(NotFound):
        await key_store.admin.revoke_key(text, reason=None, actor="tester")


@pytest.mark.parametrize("text", ODD_TEXTS)
async def test_odd_text_is_refused_or_kept_as_it_is(key_store, sql, text):
    try:
        info, _ = await new_key(key_store, label=text)
    except Invalid:
        assert not (1 <= len(text) <= 256 and text.isprintable())
    else:
        assert (await key_store.admin.get_key(info.access_key_id)).label == text
    assert await key_store.reader.find_key(text) is None
    with pytest.raises((Invalid, NotFound)):
        await key_store.admin.get_tenant(text)
    assert await sql.fetchval("SELECT to_regclass('access_keys')") is not None


async def test_revoking_again_keeps_the_first_reason_but_writes_again(key_store, sql):
    info, _ = await new_key(key_store)
    first, _ = await key_store.admin.revoke_key(info.access_key_id, reason="leaked", actor="ann")
    numbers = await sql.fetchval("SELECT number FROM change_counter")
    row = await sql.fetchval("SELECT xmin::text FROM access_keys")
    again, propagation = await key_store.admin.revoke_key(str(info.id), reason="other", actor="bob")
    assert again == first
    assert (again.revoked_by, again.revoke_reason) == ("ann", "leaked")
    assert await sql.fetchval("SELECT number FROM change_counter") == numbers + 1
    assert await sql.fetchval("SELECT xmin::text FROM access_keys") != row
    assert propagation.acknowledged == propagation.expected == 1


async def test_a_revoked_key_is_still_found_and_says_so(key_store):
    info, _ = await new_key(key_store)
    await key_store.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    key = await key_store.reader.find_key(info.access_key_id)
    assert key.status(datetime.now(UTC)) is KeyStatus.REVOKED


async def test_an_expired_key_says_so_without_any_job(key_store):
    info, _ = await key_store.admin.create_key(
        tenant="default", access=Access.ALL_BUCKETS, permission=Permission.READ, grants=(), label=None,
        expires_at=datetime.now(UTC) - timedelta(seconds=1), actor="tester",
    )  # fmt: skip
    key = await key_store.reader.find_key(info.access_key_id)
    assert key.status(datetime.now(UTC)) is KeyStatus.EXPIRED


async def test_a_deleted_key_is_gone_and_its_secret_destroyed(key_store, sql):
    info, _ = await new_key(key_store)
    await key_store.admin.delete_key(info.access_key_id, actor="tester")
    assert await key_store.reader.find_key(info.access_key_id) is None
    assert await key_store.admin.list_keys() == ([], None)
    with pytest.raises(NotFound):
        await key_store.admin.delete_key(info.access_key_id, actor="tester")
    row = await sql.fetchrow("SELECT * FROM access_keys")
    assert row["access_key_id"] == info.access_key_id
    assert row["sealed_secret"] is row["wrapped_key"] is None


async def test_the_id_of_a_deleted_key_is_never_issued_again(key_store, monkeypatch):
    """KEY-276."""
    info, _ = await new_key(key_store)
    await key_store.admin.delete_key(info.access_key_id, actor="tester")
    monkeypatch.setattr(ident, "new_access_key_id", lambda prefix: info.access_key_id)
    with pytest.raises(Conflict):
        await new_key(key_store)
    assert await key_store.reader.find_key(info.access_key_id) is None


async def test_pages_show_every_key_once_oldest_first(key_store):
    made = [(await new_key(key_store))[0].access_key_id for _ in range(7)]
    seen, token = [], None
    while True:
        page, token = await key_store.admin.list_keys(limit=3, after=token)
        seen += [key.access_key_id for key in page]
        if token is None:
            break
        assert len(page) == 3
    assert seen == made


@pytest.mark.parametrize("token", [*ODD_TEXTS, "AAAA", "AAAAAAAAAAE=", "__________8"])
async def test_a_page_token_nobody_gave_is_refused(key_store, token):
    with pytest.raises(Invalid):
        await key_store.admin.list_keys(after=token)


async def test_keys_are_listed_by_the_bucket_they_reach(key_store):
    await key_store.admin.create_tenant("other")
    for tenant in ("default", "other"):
        await new_bucket(key_store, "photos", tenant=tenant)
    await new_bucket(key_store, "videos")
    granted, _ = await new_key(key_store, Grant("photos", Permission.READ))
    everywhere, _ = await new_key(key_store)
    await new_key(key_store, Grant("videos", Permission.READ))
    elsewhere, _ = await new_key(key_store, tenant="other")
    keys, _ = await key_store.admin.list_keys(bucket="photos")
    assert [key.id for key in keys] == [granted.id, everywhere.id, elsewhere.id]
    keys, _ = await key_store.admin.list_keys(bucket="photos", tenant="other")
    assert [key.id for key in keys] == [elsewhere.id]


async def test_bucket_names_are_taken_per_tenant_and_backend_names_everywhere(key_store):
    await key_store.admin.create_tenant("other")
    default, other = [await key_store.admin.get_tenant(name) for name in ("default", "other")]
    await key_store.admin.add_bucket(default.id, "photos", "one")
    await key_store.admin.add_bucket(other.id, "photos", "two")
    with pytest.raises(Conflict):
        await key_store.admin.add_bucket(default.id, "photos", "three")
    with pytest.raises(Conflict):
        await key_store.admin.add_bucket(default.id, "videos", "one")
    with pytest.raises(NotFound):
        await key_store.admin.add_bucket(uuid.UUID(int=1), "photos", "four")


async def test_removing_a_bucket_takes_its_grants_along_and_a_new_one_of_the_name_revives_none(key_store):
    bucket = await new_bucket(key_store, "photos")
    await new_bucket(key_store, "videos")
    videos = Grant("videos", Permission.READ)
    info, _ = await new_key(key_store, Grant("photos", Permission.READ), videos)
    assert len((await key_store.reader.find_key(info.access_key_id)).grants) == 2
    await key_store.admin.remove_bucket(bucket.id)
    assert (await key_store.reader.find_key(info.access_key_id)).grants == (videos,)
    await new_bucket(key_store, "photos")
    assert (await key_store.reader.find_key(info.access_key_id)).grants == (videos,)
    with pytest.raises(NotFound):
        await key_store.admin.remove_bucket(bucket.id)


async def test_a_grant_made_while_its_bucket_is_removed_does_not_survive_in_any_cache(key_store, sql):
    for _ in range(10):
        bucket = await new_bucket(key_store, "photos")
        outcomes = await asyncio.gather(
            new_key(key_store, Grant("photos", Permission.READ)),
            key_store.admin.remove_bucket(bucket.id),
            return_exceptions=True,
        )
        if isinstance(outcomes[0], BaseException):
            assert isinstance(outcomes[0], NotFound)
            continue
        assert (await key_store.reader.find_key(outcomes[0][0].access_key_id)).grants == ()
    assert await sql.fetchval("SELECT count(*) FROM key_grants") == 0


async def test_tenants_are_listed_and_a_default_one_exists(key_store):
    await key_store.admin.create_tenant("acme")
    assert [tenant.name for tenant in await key_store.admin.list_tenants()] == ["acme", "default"]
    with pytest.raises(Conflict):
        await key_store.admin.create_tenant("acme")


async def test_a_token_is_found_by_its_text_and_by_no_other(key_store):
    token = await key_store.admin.create_token(name="terraform", actor="tester")
    assert await key_store.admin.find_token(token) == "terraform"
    assert await key_store.admin.find_token(ident.new_token()) is None
    assert await key_store.admin.find_token(token + "x") is None
    with pytest.raises(Conflict):
        await key_store.admin.create_token(name="terraform", actor="tester")


async def test_of_several_bootstraps_one_succeeds(key_store):
    outcomes = await asyncio.gather(
        *(key_store.admin.bootstrap_token(name=f"t{i}", actor="bootstrap") for i in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3


async def test_every_change_is_audited_in_its_own_transaction(key_store, sql):
    bucket = await new_bucket(key_store, "photos")
    info, _ = await new_key(key_store, Grant("photos", Permission.READ))
    await key_store.admin.revoke_key(info.access_key_id, reason="leaked", actor="ann")
    await key_store.admin.delete_key(info.access_key_id, actor="bob")
    await key_store.admin.remove_bucket(bucket.id)
    events = await sql.fetch("SELECT actor, action, target, xmin::text AS by FROM audit_events ORDER BY id")
    assert [(event["actor"], event["action"]) for event in events] == [
        ("s3", "bucket.create"), ("tester", "key.create"), ("ann", "key.revoke"), ("bob", "key.delete"),
        ("s3", "bucket.delete"),
    ]  # fmt: skip
    changes = await sql.fetch("SELECT xmin::text AS by FROM changes ORDER BY number")
    assert [event["by"] for event in events] == [change["by"] for change in changes]


async def test_change_numbers_have_no_gaps_and_follow_the_order_of_commits(key_store, sql):
    """F9: also when many change at once and some are refused."""
    heard: list[int] = []
    await sql.add_listener(
        "bucketwarden_changes", lambda *arguments: heard.append(int(arguments[3].split(":")[1].split(",")[0]))
    )
    await asyncio.gather(
        *(new_key(key_store) for _ in range(20)),
        *(new_key(key_store, Grant("missing", Permission.READ)) for _ in range(5)),
        return_exceptions=True,
    )
    await sql.fetchval("SELECT 1")
    assert heard == list(range(1, 21))


async def test_the_database_itself_refuses_a_tombstone_with_a_secret(key_store, sql):
    await new_key(key_store)
    with pytest.raises(asyncpg.CheckViolationError):
        await sql.execute("UPDATE access_keys SET deleted_at = now()")
