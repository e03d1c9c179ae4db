"""What clients see while the database or the store is gone, silent or refuses us, and how it heals."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.store import EmbeddedStore
from tests.backends import Backend
from tests.conftest import empty_database
from tests.gateways import BUCKET, GatewayProcess, World, open_world
from tests.keystore.proxy import Proxy, through
from tests.waiting import until_true
from tests.wire import Client, Key, Reply

MAX_STALE = 2.0
QUICK = {"keys__max_stale": MAX_STALE, "keys__heartbeat": 0.5}
CALL_LIMIT = 2.0
"""Seconds that the key store gives a call to the database."""
SLACK = 1.0
"""Seconds that a busy machine may take for what takes none."""
BODY = random.Random(2).randbytes(32 << 20)  # noqa: S311 - test data
"""More than all buffers between store and client together hold."""

UNKNOWN = Key("BWAKNOBODYAAAAAAAAAA", "secret-of-nobody-xxxxxxxxxxxxxxxxxxxxxxxx")


def check_unavailable(reply: Reply) -> None:
    """503 that an SDK repeats, and never a 403 that would tell the client that its key is wrong."""
    assert (reply.status, reply.code) == (503, "ServiceUnavailable"), str(reply)
    assert int(reply.get("retry-after") or 0) >= 1


async def get(gateway: GatewayProcess, key: Key, name: str = "k") -> Reply:
    return await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/{name}"))


# --- the database -------------------------------------------------------------------------------------------


@dataclass
class Outage:
    """A database of its own behind a proxy that can go silent, and a gateway that reaches it through that."""

    world: World
    server: EmbeddedPostgres
    proxy: Proxy
    gateway: GatewayProcess
    cached: Key
    """Was used before the outage."""
    uncached: Key
    """Exists, and was never used."""
    revoked: Key
    """Was used, and then revoked."""

    def begin(self, kind: str) -> None:
        if kind == "stopped":
            self.server.stop()
        else:
            self.proxy.freeze_all()

    def end(self, kind: str) -> None:
        if kind == "stopped":
            self.server.start()
            self.proxy.target = self.server.dsn
        else:
            self.proxy.black_hole = False  # the old connections stay silent, as those do whose peer is gone


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("own-postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def own_world(
    seaweedfs: Backend, own_postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with open_world(seaweedfs, own_postgres.dsn, tmp_path_factory.mktemp("world")) as world:
        yield world


@asynccontextmanager
async def outage(own_world: World, own_postgres: EmbeddedPostgres) -> AsyncIterator[Outage]:
    proxy = Proxy(own_postgres.dsn)
    await proxy.start()
    try:
        gateway = own_world.launch(database__url=through(own_postgres.dsn, proxy.port), **QUICK)
        # Not `start`, which would stop this loop and with it the proxy.
        await until_true(lambda: gateway.readiness() == [], "the gateway to be ready", seconds=30)
        await own_world.put("k", b"body")
        cached, uncached, revoked = [await own_world.new_key(gateway) for _ in range(3)]
        for key in (cached, revoked):
            assert (await get(gateway, key)).status == 200
        status, _ = await gateway.operate(own_world.token, "POST", f"/keys/{revoked.id}/revoke", {})
        assert status == 200
        yield Outage(own_world, own_postgres, proxy, gateway, cached, uncached, revoked)
    finally:
        await proxy.stop()


@pytest.mark.parametrize("kind", ["stopped", "silent"])
async def test_a_lost_database_stops_nothing_until_the_lease_ends_and_then_everything(
    own_world: World, own_postgres: EmbeddedPostgres, kind: str
) -> None:
    """KEY-267, R13: a known key for max_stale, nothing else; 503 and never 403; healed without a restart."""
    async with outage(own_world, own_postgres) as lost:
        gateway = lost.gateway
        lost.begin(kind)
        begun = time.monotonic()
        reply = await get(gateway, lost.cached)
        assert (reply.status, reply.body) == (200, b"body"), str(reply)
        for key in (UNKNOWN, lost.uncached):
            asked = time.monotonic()
            check_unavailable(await get(gateway, key))
            assert time.monotonic() - asked < CALL_LIMIT + SLACK
        assert (await get(gateway, lost.revoked)).status in (403, 503)

        while (reply := await get(gateway, lost.cached)).status == 200:
            assert time.monotonic() - begun < MAX_STALE + SLACK, "a cached key was served for too long"
            await asyncio.sleep(0.05)
        check_unavailable(reply)
        replies = await asyncio.gather(*(get(gateway, lost.cached) for _ in range(20)))
        for reply in replies:
            check_unavailable(reply)
        reasons = gateway.readiness()
        assert reasons, "a gateway without a database is ready"
        assert gateway.metric("bucketwarden_ready") == 0
        status, problem = await gateway.operate(own_world.token, "GET", "/keys")
        assert status == 503, problem
        line = gateway.access_line(replies[0].get("x-amz-request-id"))
        assert line["reason"] == "key_store_unavailable"

        lost.end(kind)
        healing = time.monotonic()
        await until_true(lambda: gateway.readiness() == [], "the gateway to be ready again")
        for key in (lost.cached, lost.uncached):
            assert (await get(gateway, key)).status == 200
        assert (await get(gateway, UNKNOWN)).code == "InvalidAccessKeyId"
        assert (await get(gateway, lost.revoked)).code == "InvalidAccessKeyId"
        assert (await get(gateway, await own_world.new_key(gateway))).status == 200
        assert time.monotonic() - healing < 10


# --- the store ----------------------------------------------------------------------------------------------


@pytest.fixture
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A store that a test may kill."""
    with EmbeddedStore(tmp_path_factory.mktemp("own-store")) as store:
        yield store


@pytest.fixture
def fragile(own_store: EmbeddedStore, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world over it."""
    backend = Backend("seaweedfs", own_store.endpoint, own_store.access_key, own_store.secret_key)
    with empty_database(postgres_dsn) as dsn, open_world(backend, dsn, tmp_path_factory.mktemp("world")) as world:
        yield world


async def test_a_store_that_is_killed_breaks_transfers_visibly_and_heals(
    own_store: EmbeddedStore, fragile: World
) -> None:
    """R5, R6: a broken download is no whole one, an upload no success; then 503; and it heals by itself."""
    gateway = fragile.start()
    key = await fragile.new_key(gateway)
    await fragile.put("k", b"body")
    await fragile.put("large", BODY)
    async with (
        await Client.open(gateway.s3, receive_buffer=64 * 1024) as download,
        await Client.open(gateway.s3) as upload,
    ):
        await download.send(gateway.signed(key, "GET", f"/{BUCKET}/large").wire())
        received = len(await download.more())
        request = gateway.signed(key, "PUT", f"/{BUCKET}/k", body=BODY)
        await upload.send(request.head() + BODY[: 1 << 20])
        await until_true(lambda: gateway.metric("bucketwarden_requests_in_flight") == 2, "both to be in flight")
        os.kill(own_store.pid, signal.SIGKILL)
        while data := await download.more():
            received += len(data)
        assert received < len(BODY)
        await upload.try_send(BODY[1 << 20 :])
        answer = await upload.reply()
        assert answer.status in (502, 503), str(answer)
    check_unavailable(await get(gateway, key))
    check_unavailable(await gateway.send(gateway.signed(key, "PUT", f"/{BUCKET}/k", body=b"new")))
    assert gateway.metric("bucketwarden_upstream_errors_total", reason="reset") >= 1
    assert gateway.metric("bucketwarden_upstream_errors_total", reason="connect") >= 2
    assert gateway.readiness() == []  # its own work it can do; a balancer would find no better one

    own_store.stop()
    own_store.start()
    assert own_store.endpoint == fragile.store.endpoint
    reply = await get(gateway, key)
    assert (reply.status, reply.body) == (200, b"body"), str(reply)


async def test_a_store_that_is_down_at_the_start_stops_nothing(world: World) -> None:
    """The gateway starts, says so in its log, and answers 503."""
    gateway = world.start(backend__endpoint="http://127.0.0.1:9")
    key = await world.new_key(gateway)
    check_unavailable(await get(gateway, key))
    assert any("cannot be reached" in str(line.get("problem")) for line in gateway.lines())


@pytest.mark.parametrize("wrong", ["secret_access_key", "access_key_id"])
async def test_a_store_that_refuses_our_credential_is_our_fault(every_world: World, wrong: str) -> None:
    """502 and not the 403 that would send the client to look for its own mistake; nothing of our credential in it."""
    good = every_world.start()
    await every_world.put("k", b"body")
    key = await every_world.new_key(good)
    assert (await get(good, key)).status == 200
    canaries = {"access_key_id": every_world.store.access_key, "secret_access_key": every_world.store.secret_key}
    canaries[wrong] = "WRONG" + canaries[wrong]
    gateway = every_world.start(**{f"backend__{wrong}": canaries[wrong]})
    before = gateway.metric("bucketwarden_upstream_errors_total", reason="auth")
    replies = [
        await get(gateway, key),
        await gateway.send(gateway.signed(key, "PUT", f"/{BUCKET}/k", body=b"new")),
        await gateway.send(gateway.signed(key, "PUT", f"/{BUCKET}/k", body=BODY[: 1 << 20])),
        await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}?list-type=2")),
        await gateway.send(gateway.signed(key, "DELETE", f"/{BUCKET}/k")),
        await gateway.send(gateway.signed(key, "POST", f"/{BUCKET}/k?uploads=")),
    ]
    for reply in replies:
        assert (reply.status, reply.code) == (502, "InternalError"), str(reply)
        told = reply.raw_head + reply.body
        for canary in (*canaries.values(), every_world.backend_bucket):
            assert canary.encode() not in told
    head = await gateway.send(gateway.signed(key, "HEAD", f"/{BUCKET}/k"), head_only=True)
    assert head.status == 502
    moved = gateway.metric("bucketwarden_upstream_errors_total", reason="auth") - before
    assert moved == len(replies) + 1
    assert gateway.access_line(replies[0].get("x-amz-request-id"))["reason"] == "backend_auth"
    assert await every_world.stored("k") == b"body"


async def test_a_store_that_accepts_and_never_answers_costs_the_first_byte_timeout(world: World) -> None:
    """R7: 504, whatever the request; the gateway goes on, and no connection is lost to it."""
    swallowed = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal swallowed
        swallowed += 1
        while await reader.read(1 << 20):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    hole = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    gateway = world.launch(backend__endpoint=hole, backend__first_byte_timeout=1, backend__max_connections=8)
    # Not `start`, which would stop this loop and with it the store.
    await until_true(lambda: gateway.readiness() == [], "the gateway to be ready", seconds=30)
    key = await world.new_key(gateway)
    begun = time.monotonic()
    replies = await asyncio.gather(
        get(gateway, key),
        gateway.send(gateway.signed(key, "PUT", f"/{BUCKET}/k", body=b"small")),
        gateway.send(gateway.signed(key, "PUT", f"/{BUCKET}/k", body=BODY[: 2 << 20])),
        gateway.send(gateway.signed(key, "GET", f"/{BUCKET}?list-type=2")),
        *(get(gateway, key) for _ in range(4)),
    )
    assert 1.0 <= time.monotonic() - begun < 1.0 + 0.5 + SLACK  # deadlines are looked at twice a second
    for reply in replies:
        assert reply.status == 504, str(reply)
        assert reply.get("retry-after")
    assert gateway.metric("bucketwarden_upstream_errors_total", reason="timeout") == len(replies)
    assert swallowed == len(replies) + 1
    [other] = await asyncio.gather(get(gateway, key))
    assert other.status == 504, "the places of those that timed out were not given back"
    server.close()
