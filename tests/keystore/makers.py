"""Short ways to make what a test needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

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


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait until `condition()` is true; raises `TimeoutError` after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.02)


async def kill_connections(sql: asyncpg.Connection) -> None:
    """End every connection of the stores that are open on this database, from the server's side."""
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'bucketwarden' AND datname = current_database()"
    )


async def new_bucket(store: Store, name: str, *, tenant: str = "default") -> Bucket:
    """A bucket of the tenant, stored as `be-<tenant>-<name>`."""
    owner = await store.admin.get_tenant(tenant)
    return await store.admin.add_bucket(owner.id, name, f"be-{tenant}-{name}")
