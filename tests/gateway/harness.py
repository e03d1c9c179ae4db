"""The real data path (listener, pipeline, upstream) in front of the fake backend, in one event loop.

The key store is a dictionary here; the real one has tests of its own. Time stands still at `wire.NOW` unless a test
moves it, so that a signature's age is what the test says.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from gateway.backend import Backend, Traits
from gateway.events import Trace
from gateway.messages import Reply as GatewayReply
from gateway.messages import RequestHead
from gateway.pipeline import Doors, Settings, serve
from gateway.reading import FrontBody
from gateway.s3.address import EVERY_FOLD
from gateway.sigv4.sign import Credential
from gateway.upstream import Upstream, UpstreamLimits
from gateway.web import S3Listener
from keystore.model import Access, AccessKey, Bucket, Conflict, Grant, KeyStoreUnavailable, NotFound, Permission, Secret
from tests import wire
from tests.fakebackend import FakeBackend
from tests.wire import NOW, Client, Key, Reply, Request

SUFFIX = "s3.gw.test"
BACKEND_HOST = "backend.internal:9000"
BACKEND_KEY = Credential("BACKENDKEYID", "backend-canary-secret", None, "backend-region")

T1, T2 = uuid4(), uuid4()
_NAMES = {T1: "t1", T2: "t2"}

KA = Key("BWAKKAAAAAAAAAAAAAAA", "secret-of-ka-xxxxxxxxxxxxxxxxxxxxxxxxxxxx")  # reads and writes alpha
KAR = Key("BWAKKARAAAAAAAAAAAAA", "secret-of-kar-xxxxxxxxxxxxxxxxxxxxxxxxxxx")  # reads alpha
KAW = Key("BWAKKAWAAAAAAAAAAAAA", "secret-of-kaw-xxxxxxxxxxxxxxxxxxxxxxxxxxx")  # writes alpha
KAO = Key("BWAKKAOAAAAAAAAAAAAA", "secret-of-kao-xxxxxxxxxxxxxxxxxxxxxxxxxxx")  # every bucket of tenant t1
KB = Key("BWAKKBAAAAAAAAAAAAAA", "secret-of-kb-xxxxxxxxxxxxxxxxxxxxxxxxxxxx")  # reads and writes beta
KR = Key("BWAKKRAAAAAAAAAAAAAA", "secret-of-kr-xxxxxxxxxxxxxxxxxxxxxxxxxxxx")  # revoked
KE = Key("BWAKKEAAAAAAAAAAAAAA", "secret-of-ke-xxxxxxxxxxxxxxxxxxxxxxxxxxxx")  # expired
UNKNOWN = Key("BWAKNOBODYAAAAAAAAAA", "secret-of-nobody-xxxxxxxxxxxxxxxxxxxxxxxx")


def _key(key: Key, tenant: UUID, *grants: tuple[str, Permission]) -> AccessKey:
    return AccessKey(
        id=uuid4(),
        access_key_id=key.id,
        secret=Secret(key.secret),
        tenant_id=tenant,
        tenant=_NAMES[tenant],
        access=Access.BUCKETS if grants else Access.ALL_BUCKETS,
        permission=Permission.READ_WRITE,
        grants=tuple(Grant(bucket, permission) for bucket, permission in grants),
    )


class MemoryKeys:
    """`KeyReader` and `BucketKeeper` over dictionaries; `down` makes every question fail as a lost database does."""

    def __init__(self) -> None:
        self.down = False
        self.asked: list[str] = []
        self.watchers: list[Callable[[str], None]] = []
        both = Permission.READ_WRITE
        revoked = replace(_key(KR, T1, ("alpha", both)), revoked_at=NOW - timedelta(days=1))
        expired = replace(_key(KE, T1, ("alpha", both)), expires_at=NOW - timedelta(seconds=1))
        self.keys = {
            key.access_key_id: key
            for key in (
                _key(KA, T1, ("alpha", both)),
                _key(KAR, T1, ("alpha", Permission.READ)),
                _key(KAW, T1, ("alpha", Permission.WRITE)),
                _key(KAO, T1),
                _key(KB, T2, ("beta", both)),
                revoked,
                expired,
            )
        }
        self.buckets: dict[tuple[UUID, str], Bucket] = {}
        for tenant, name in ((T1, "alpha"), (T1, "alpha2"), (T2, "beta")):
            self._add(tenant, name, f"{_NAMES[tenant]}--{name}")

    def _add(self, tenant: UUID, name: str, backend_name: str) -> Bucket:
        bucket = Bucket(uuid4(), tenant, name, backend_name, NOW)
        self.buckets[tenant, name] = bucket
        return bucket

    async def find_key(self, access_key_id: str) -> AccessKey | None:
        self._check()
        self.asked.append(access_key_id)
        return self.keys.get(access_key_id)

    async def find_bucket(self, tenant_id: UUID, name: str) -> Bucket | None:
        self._check()
        return self.buckets.get((tenant_id, name))

    async def list_buckets(self, tenant_id: UUID) -> Sequence[Bucket]:
        self._check()
        return sorted((one for (tenant, _), one in self.buckets.items() if tenant == tenant_id), key=lambda b: b.name)

    def watch(self, callback: Callable[[str], None]) -> None:
        self.watchers.append(callback)

    async def add_bucket(self, tenant_id: UUID, name: str, backend_name: str, *, actor: str = "s3") -> Bucket:
        self._check()
        if (tenant_id, name) in self.buckets or backend_name in {b.backend_name for b in self.buckets.values()}:
            raise Conflict(name)
        return self._add(tenant_id, name, backend_name)

    async def remove_bucket(self, bucket_id: UUID, *, actor: str = "s3") -> None:
        self._check()
        for place, bucket in self.buckets.items():
            if bucket.id == bucket_id:
                del self.buckets[place]
                return
        raise NotFound(str(bucket_id))

    def revoke(self, key: Key) -> None:
        """Revoke a key now, and tell the watchers as the real store does."""
        self.keys[key.id] = replace(self.keys[key.id], revoked_at=NOW)
        for watcher in self.watchers:
            watcher(key.id)

    def _check(self) -> None:
        if self.down:
            raise KeyStoreUnavailable("the database is gone")


class Traces:
    """An `Observer` that keeps what it is told."""

    def __init__(self) -> None:
        self.started = 0
        self.finished: list[Trace] = []
        self._changed = asyncio.Event()

    def request_started(self) -> None:
        self.started += 1
        self._changed.set()

    async def until_started(self, count: int) -> None:
        """Wait until the heads of `count` requests have been read."""
        async with asyncio.timeout(wire.PATIENCE):
            while self.started < count:
                self._changed.clear()
                await self._changed.wait()

    def request_finished(self, trace: Trace) -> None:
        self.finished.append(trace)
        self._changed.set()

    async def until(self, count: int) -> Trace:
        """Wait until `count` requests have finished; returns the last of them."""
        async with asyncio.timeout(wire.PATIENCE):
            while len(self.finished) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.finished[count - 1]


@dataclass
class Gateway:
    """A running gateway. `now` may be set; `traces` has one entry for each finished request."""

    port: int
    backend: FakeBackend
    keys: MemoryKeys
    traces: Traces
    listener: S3Listener
    upstream: Upstream
    door: Backend
    now: datetime = NOW
    clients: list[Client] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"{SUFFIX}:{self.port}"

    def request(self, method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> Request:
        """An unsigned request for this gateway, framed."""
        request = Request(method, target, [("Host", self.host), *headers], body)
        if body or method in ("PUT", "POST"):
            request.add("Content-Length", str(len(body)))
        return request

    def signed(
        self, method: str, target: str, *headers: tuple[str, str], key: Key = KA, body: bytes = b"", **knobs: object
    ) -> Request:
        """A request signed in the Authorization header; `knobs` are those of `wire.sign`."""
        return wire.sign(key, self.request(method, target, *headers, body=body), **knobs)  # type: ignore[arg-type]

    def presigned(
        self, method: str, target: str, *headers: tuple[str, str], key: Key = KA, body: bytes = b"", **knobs: object
    ) -> Request:
        """A request signed in the query; `knobs` are those of `wire.presign`."""
        return wire.presign(key, self.request(method, target, *headers, body=body), **knobs)  # type: ignore[arg-type]

    async def connect(self, *, receive_buffer: int | None = None) -> Client:
        client = await Client.open(self.port, receive_buffer=receive_buffer)
        self.clients.append(client)
        return client

    async def send(self, request: Request | bytes, *, head_only: bool | None = None) -> Reply:
        """Send on a connection of its own and return the answer."""
        data = request if isinstance(request, bytes) else request.wire()
        if head_only is None:
            head_only = data.startswith(b"HEAD ")
        async with await Client.open(self.port) as client:
            await client.try_send(data)
            return await client.reply(head_only=head_only)

    async def alive(self) -> None:
        """Show that a valid request still works, and that the backend saw it alone."""
        seen = len(self.backend.requests)
        reply = await self.send(self.signed("GET", "/alpha/control"))
        assert (reply.status, reply.body) == (200, b"control"), f"a valid request no longer works: {reply}"
        assert self.backend.requests[seen:][-1].target == "/t1--alpha/control"


@asynccontextmanager
async def open_gateway(
    *,
    trailers: bool = True,
    literal_keys: bool = True,
    strict_region: bool = False,
    limits: UpstreamLimits | None = None,
    keepalive_timeout: float = 75.0,
    body_idle_timeout: float = 30.0,
    head_timeout: float = 15.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Gateway]:
    """Start a fake backend and a gateway in front of it; stop both at the end. `tls` is for the gateway's clients."""
    backend = FakeBackend()
    for name in ("t1--alpha", "t1--alpha2"):
        backend.put(name, "control", b"control")
    backend.put("t2--beta", "secret", b"the secret of tenant two")
    await backend.start()
    keys, traces = MemoryKeys(), Traces()
    upstream = Upstream("127.0.0.1", backend.port, None, limits or UpstreamLimits(connect=2.0))
    door = Backend(
        upstream,
        BACKEND_HOST,
        Traits("fake", trailers=trailers, folds=frozenset() if literal_keys else EVERY_FOLD),
        lambda: BACKEND_KEY,
        lambda: gateway.now,
    )
    settings = Settings(wire.REGION, strict_region, (SUFFIX,), True, f"http://{SUFFIX}")
    doors = Doors(keys, keys, door, lambda: gateway.now, settings)

    async def serve_s3(head: RequestHead, body: FrontBody, trace: Trace) -> GatewayReply:
        return await serve(head, body, doors, trace)

    listener = S3Listener(
        serve_s3,
        traces,
        keepalive_timeout=keepalive_timeout,
        body_idle_timeout=body_idle_timeout,
        head_timeout=head_timeout,
    )
    keys.watch(lambda key_id: listener.cut(key_id) and None)
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0, ssl=tls)
    gateway = Gateway(server.sockets[0].getsockname()[1], backend, keys, traces, listener, upstream, door)
    try:
        yield gateway
    finally:
        for client in gateway.clients:
            client.close()
        server.close()
        await listener.shutdown(0.0)
        await upstream.close()
        await backend.stop()
