"""A running operator API over the real key store, for tests of the API and of the command line."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp.test_utils import TestClient, TestServer

from gateway.config import Config
from gateway.operator_api.app import build_operator_app
from gateway.operator_api.ports import BackendBuckets, OperatorEvent
from keystore.migrate import migrate
from keystore.store import Store, open_store

KEK = os.urandom(32)


class MemoryBuckets:
    """A `BackendBuckets` that remembers names."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    async def create(self, name: str) -> None:
        self.names.add(name)

    async def exists(self, name: str) -> bool:
        return name in self.names


@dataclass
class Surface:
    """What a test holds: the client (no token of its own), a valid token, and what lies behind."""

    client: TestClient
    token: str
    store: Store
    backend: MemoryBuckets
    events: list[OperatorEvent] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(self.client.make_url("")).rstrip("/")

    async def call(self, method: str, path: str, body: object = None, **kwargs: object) -> tuple[int, object]:
        """One call with the token: (status, JSON or None)."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.client.request(method, path, json=body, headers=headers, **kwargs) as response:
            assert "X-Request-Id" in response.headers
            return response.status, await response.json(content_type=None) if response.status != 204 else None


@asynccontextmanager
async def operator_surface(dsn: str, buckets: BackendBuckets | None = None, **environ: str) -> AsyncIterator[Surface]:
    """Migrate the database at `dsn`, open the key store, make a token named `ci`, serve.

    `buckets` is the backend, a remembered set of names by default; `environ` the settings.
    """
    await migrate(dsn)
    store = await open_store(dsn, KEK, replica_name="the-only-gateway")
    try:
        backend, events, reasons = MemoryBuckets(), [], []
        config = Config.load(None, environ)
        app = build_operator_app(store.admin, buckets or backend, config, lambda: reasons, events.append)
        token = await store.admin.create_token(name="ci", actor="test")
        async with TestClient(TestServer(app)) as client:
            yield Surface(client, token, store, backend, events, reasons)
    finally:
        await store.close()
