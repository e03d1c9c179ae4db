"""A real Postgres for the whole session, and for every test a migrated database of its own in it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from keystore.migrate import migrate
from keystore.store import Store, open_store

KEK = os.urandom(32)

# The data may be lost; the tests are about the program, not about the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def with_database(dsn: str, name: str) -> str:
    """The same DSN for another database of the same server."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("keystore"), settings=FAST) as server:
        yield server.dsn


@pytest.fixture
async def empty_dsn(server_dsn: str) -> AsyncIterator[str]:
    """A database without any table."""
    name = f"t{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server_dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield with_database(server_dsn, name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
async def dsn(empty_dsn: str) -> str:
    """A migrated database."""
    await migrate(empty_dsn)
    return empty_dsn


Opener = Callable[..., Awaitable[Store]]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """`await opened(dsn, **settings)` opens a store that is closed at the end of the test."""
    stores: list[Store] = []

    async def open_one(dsn: str, **settings: object) -> Store:
        arguments: dict[str, object] = {"replica_name": f"gateway-{len(stores)}", **settings}
        store = await open_store(dsn, KEK, **arguments)  # type: ignore[arg-type]
        stores.append(store)
        return store

    yield open_one
    for store in reversed(stores):
        await store.close()


@pytest.fixture
async def store(dsn: str, opened: Opener) -> Store:
    return await opened(dsn)


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own to the same database."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()
