"""Short ways to make what a test needs."""

from __future__ import annotations

from keystore.model import Access, Bucket, Grant, KeyInfo, Permission, Secret
from keystore.store import Store


async def new_key(
    store: Store, *grants: Grant, tenant: str = "default", label: str | None = None
) -> tuple[KeyInfo, Secret]:
    """A key with these grants, or one that reaches all buckets if there are none."""
    return await store.admin.create_key(
        tenant=tenant,
        access=Access.BUCKETS if grants else Access.ALL_BUCKETS,
        permission=Permission.READ_WRITE,
        grants=grants,
        label=label,
        expires_at=None,
        actor="tester",
    )


async def new_bucket(store: Store, name: str, *, tenant: str = "default") -> Bucket:
    """A bucket of the tenant, stored as `be-<tenant>-<name>`."""
    owner = await store.admin.get_tenant(tenant)
    return await store.admin.add_bucket(owner.id, name, f"be-{tenant}-{name}")
