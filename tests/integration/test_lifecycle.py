"""How a gateway starts, refuses to start, drains and starts again."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import time
from datetime import UTC, datetime

import pytest

from gateway.embedded.child import free_ports
from keystore.sealing import new_kek
from tests import wire
from tests.gateways import BUCKET, GatewayProcess, World
from tests.waiting import until_true
from tests.wire import Client, Key, Request

BODY = random.Random(4).randbytes(32 << 20)  # noqa: S311 - test data
"""More than all buffers between store and client together hold."""


async def ended(gateway: GatewayProcess, seconds: float = 15) -> int:
    """Wait for the process to end while the event loop goes on; returns its exit status."""
    await until_true(lambda: gateway.exit_status is not None, "the gateway to end", seconds=seconds)
    return gateway.wait()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def put(gateway: GatewayProcess, key: Key, name: str, data: bytes) -> Request:
    request = gateway.request("PUT", f"/{BUCKET}/{name}").drop("content-length")
    return wire.upload(key, request, wire.UNSIGNED, data, when=datetime.now(UTC))[0]


async def test_sigterm_lets_transfers_finish_and_takes_no_new_ones(world: World) -> None:
    """R16: first /readyz says so while everything is served on, then the listener closes, then the last answer ends."""
    gateway = world.start(shutdown__delay=1, shutdown__grace=30)
    key = await world.new_key(gateway)
    await world.put("download", BODY)
    async with (
        await Client.open(gateway.s3, receive_buffer=64 * 1024) as download,
        await Client.open(gateway.s3) as upload,
        await Client.open(gateway.s3) as idle,
        await Client.open(gateway.s3) as kept,
    ):
        for client in (idle, kept):
            await client.send(gateway.signed(key, "GET", f"/{BUCKET}?list-type=2").wire())
            assert (await client.reply()).status == 200
        await download.send(gateway.signed(key, "GET", f"/{BUCKET}/download").wire())
        request = put(gateway, key, "upload", BODY)
        await upload.send(request.head() + BODY[: 1 << 20])
        await until_true(lambda: gateway.metric("bucketwarden_requests_in_flight") == 2, "both to be in flight")

        gateway.signal(signal.SIGTERM)
        told = time.monotonic()
        await until_true(lambda: gateway.readiness() == ["draining"], "/readyz to say so", seconds=1)
        served = await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}?list-type=2"))
        assert served.status == 200, "the delay is there for balancers that have not noticed yet"
        await kept.send(gateway.signed(key, "GET", f"/{BUCKET}?list-type=2").wire())
        last = await kept.reply()
        assert (last.status, last.get("connection")) == (200, "close"), str(last)
        await until_true(lambda: not accepts(gateway.s3), "the listener to close", seconds=5)
        assert time.monotonic() - told >= 1
        assert gateway.readiness() == ["draining"]
        assert await idle.ended()

        await upload.send(BODY[1 << 20 :])
        answer = await upload.reply()
        assert (answer.status, answer.get("connection")) == (200, "close"), str(answer)
        whole = await download.reply()
        assert (whole.status, whole.complete, whole.body) == (200, True, BODY)
    assert await ended(gateway) == 0
    assert await world.stored("upload") == BODY
    assert [line["event"] for line in gateway.lines()].count("stopping") == 1


async def test_what_does_not_finish_in_the_grace_is_broken_off(world: World) -> None:
    """The client sees that, the store keeps nothing, and the exit is orderly."""
    gateway = world.start(shutdown__grace=1)
    key = await world.new_key(gateway)
    await world.put("endless", b"old")
    async with await Client.open(gateway.s3) as client:
        request = put(gateway, key, "endless", BODY)
        await client.send(request.head() + BODY[: 1 << 20])
        await until_true(lambda: gateway.metric("bucketwarden_requests_in_flight") == 1, "the upload to begin")
        gateway.signal(signal.SIGTERM)
        begun = time.monotonic()
        assert await ended(gateway) == 0
        assert 1 <= time.monotonic() - begun < 5
        assert await client.ended()
    assert await world.stored("endless") == b"old"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_gateway_ends_at_once(world: World, number: signal.Signals) -> None:
    """Kept connections hold nobody up."""
    gateway = world.start()
    key = await world.new_key(gateway)
    async with await Client.open(gateway.s3) as idle:
        await idle.send(gateway.signed(key, "GET", f"/{BUCKET}?list-type=2").wire())
        assert (await idle.reply()).status == 200
        begun = time.monotonic()
        gateway.signal(number)
        assert await ended(gateway) == 0
        assert time.monotonic() - begun < 3


async def test_a_second_start_keeps_the_keys(world: World) -> None:
    """They live in the database, not in the process; a killed one is no matter either."""
    first = world.start()
    key = await world.new_key(first)
    await world.put("k", b"body")
    first.signal(signal.SIGKILL)
    first.wait()
    second = world.start()
    reply = await second.send(second.signed(key, "GET", f"/{BUCKET}/k"))
    assert (reply.status, reply.body) == (200, b"body"), str(reply)


@pytest.mark.parametrize("setting", ["s3", "operator", "metrics"])
def test_a_taken_port_is_named(world: World, setting: str) -> None:
    """With the setting to change; nothing of a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = world.launch(**{f"{setting}__listen": f"127.0.0.1:{port}"})
        assert gateway.wait() == 1
    told = gateway.log.read_text()
    assert f"{setting}.listen: port {port} on 127.0.0.1 is taken" in told
    assert "Traceback" not in told


def test_a_start_that_cannot_work_is_one_sentence(world: World) -> None:
    """Another key-encryption key, no database, no such database: said, exit status not 0, no traceback, no secret."""
    [nobody] = free_ports(1)
    server = world.dsn.rpartition("/")[0]
    password = world.dsn.partition("@")[0].rpartition(":")[2]
    for settings, sentence in (
        ({"keys__kek": new_kek()}, "the key-encryption key is not the one this database was sealed with"),
        ({"database__url": f"postgresql://u:{password}@127.0.0.1:{nobody}/db"}, "database"),
        ({"database__url": f"{server}/no_such_database"}, "database"),
        ({"database__url": f"{server}/postgres"}, "bucketwarden migrate"),
    ):
        gateway = world.launch(**settings)
        assert gateway.wait() != 0
        told = gateway.log.read_text()
        assert sentence in told
        assert "Traceback" not in told
        assert password not in told


async def test_two_gateways_take_turns_without_a_failed_request(world: World) -> None:
    """A rolling restart behind a balancer that asks /readyz: one is always ready, and nobody loses a request."""
    running = [world.start(shutdown__delay=1), world.start(shutdown__delay=1)]
    key = await world.new_key(running[0])
    await world.put("k", b"body")
    failures: list[str] = []
    served = 0
    stop = False

    async def client() -> None:
        nonlocal served
        while not stop:
            gateway = random.choice([one for one in running if one in ready])  # noqa: S311 - a test's balancer
            try:
                reply = await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/k"))
            except Exception as error:  # noqa: BLE001 - whatever it was, it is a failed request
                failures.append(repr(error))
                continue
            served += 1
            if reply.status != 200:
                failures.append(str(reply))

    ready = set(running)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(client())
        for place in (0, 1):
            old = running[place]
            old.signal(signal.SIGTERM)
            await until_true(lambda old=old: old.readiness() == ["draining"], "it to drain", seconds=1)
            ready.discard(old)
            assert await ended(old) == 0
            new = world.launch(shutdown__delay=1)
            await until_true(lambda new=new: new.readiness() == [], "the new one to be ready", seconds=30)
            running[place] = new
            ready.add(new)
        stop = True
    assert failures == []
    assert served > 20
