"""A migrated database for every test, stores opened on it, and a proxy that can go wrong in front of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from keystore.migrate import migrate
from keystore.store import Store, open_store
from tests.keystore.proxy import Proxy, through

KEK = os.urandom(32)

QUICK = {"max_stale": 1.0, "heartbeat": 0.2}
"""Settings of a store whose lease ends soon enough to wait for it."""


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server that the test may stop and start; it logs every statement and its parameters."""
    settings = {"fsync": "off", "log_statement": "all", "log_min_error_statement": "error"}
    with EmbeddedPostgres(tmp_path, settings=settings) as server:
        yield server


@pytest.fixture
async def dsn(fresh_database: str) -> str:
    """A migrated database of the test's own."""
    await migrate(fresh_database)
    return fresh_database


Opener = Callable[..., Awaitable[Store]]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """`await opened(dsn, **settings)` opens a store that is closed at the end of the test."""
    stores: list[Store] = []

    async def open_one(dsn: str, kek: bytes = KEK, **settings: object) -> Store:
        arguments: dict[str, object] = {"replica_name": f"gateway-{len(stores)}", **settings}
        store = await open_store(dsn, kek, **arguments)  # type: ignore[arg-type]
        stores.append(store)
        return store

    yield open_one
    for store in reversed(stores):
        await store.close()


@pytest.fixture
async def key_store(dsn: str, opened: Opener) -> Store:
    return await opened(dsn)


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own to the same database."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the database; `through(dsn, proxy.port)` leads through it."""
    proxy = Proxy(dsn)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
def proxied_dsn(dsn: str, proxy: Proxy) -> str:
    """The database seen through the proxy."""
    return through(dsn, proxy.port)
