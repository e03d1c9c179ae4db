"""The pool of backend connections, seen through the gateway: reuse, repetition, early answers, bounded buffers."""

from __future__ import annotations

import asyncio

import pytest

from gateway.upstream import UpstreamLimits
from tests import wire
from tests.fakebackend import Answer
from tests.gateway.harness import KA, Gateway, open_gateway
from tests.gateway.threats.judging import check_refusal
from tests.wire import Client, NoReply

MIB = 1 << 20


def buffered(gateway: Gateway) -> int:
    """Bytes of bodies that this process holds: for clients, for the backend, and in between."""
    total = 0
    for front in gateway.listener.connections:
        if front.transport is not None:
            total += front.transport.get_write_buffer_size()
        request = front._current_request  # noqa: SLF001  there is no other way to see what is held
        if request is not None:
            total += getattr(request.content, "_size", 0)
    for back in gateway.upstream._all:  # noqa: SLF001
        if back._transport is not None:  # noqa: SLF001
            total += back._transport.get_write_buffer_size()  # noqa: SLF001
        if back._reply is not None:  # noqa: SLF001
            total += back._reply._buffered  # noqa: SLF001
    return total


async def most_buffered(gateway: Gateway) -> int:
    """The most that was held in a fifth of a second; loopback fills all buffers in a few milliseconds."""
    most = 0
    for _ in range(20):
        await asyncio.sleep(0.01)
        most = max(most, buffered(gateway))
    return most


async def test_one_connection_serves_one_after_another(gateway: Gateway) -> None:
    for _ in range(5):
        await gateway.alive()
        await gateway.send(gateway.signed("PUT", "/alpha/k", body=b"x"))
    assert len(gateway.backend.links) == 1
    assert gateway.upstream.opened == 1


async def test_large_bodies_leave_the_connection_usable(gateway: Gateway) -> None:
    data = bytes(MIB)
    for _ in range(3):
        assert (await gateway.send(gateway.signed("PUT", "/alpha/k", body=data))).status == 200
        assert (await gateway.send(gateway.signed("GET", "/alpha/k"))).body == data
    assert len(gateway.backend.links) == 1


async def test_a_connection_that_the_backend_closed_is_not_used(gateway: Gateway) -> None:
    await gateway.alive()
    gateway.backend.links[0].end()
    await gateway.backend.until(lambda: not gateway.backend.open, "the idle connection to close")
    reply = await gateway.send(gateway.signed("PUT", "/alpha/k", body=b"x"))
    assert reply.status == 200
    assert len(gateway.backend.links) == 2


async def test_an_answer_that_wants_to_close_is_obeyed(gateway: Gateway) -> None:
    gateway.backend.answer(Answer(200, [("Connection", "close"), ("ETag", '"e"')], b"x"))
    assert (await gateway.send(gateway.signed("GET", "/alpha/k"))).body == b"x"
    await gateway.alive()
    assert len(gateway.backend.links) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_changes_are_never_repeated(gateway: Gateway, method: str) -> None:
    await gateway.alive()
    target = "/alpha/k?uploads" if method == "POST" else "/alpha/k"
    seen = len(gateway.backend.requests)
    gateway.backend.always(Answer(reset_at=0))
    check_refusal(await gateway.send(gateway.signed(method, target)), 502, "InternalError")
    assert len(gateway.backend.requests) == seen + 1


async def test_a_read_is_not_repeated_on_a_new_connection(gateway: Gateway) -> None:
    """What fails at the first use of a connection is no leftover of an idle one."""
    gateway.backend.always(Answer(reset_at=0))
    check_refusal(await gateway.send(gateway.signed("GET", "/alpha/k")), 502, "InternalError")
    assert len(gateway.backend.requests) == 1


async def test_an_answer_before_the_body_ends_the_upload(gateway: Gateway) -> None:
    """The backend has made up its mind: its refusal is told, the rest is not sent, the connection not reused."""
    early = b"<Error><Code>EntityTooLarge</Code></Error>"
    gateway.backend.answer(Answer(400, [("Content-Type", "application/xml")], early, early=True))
    reply = await gateway.send(gateway.signed("PUT", "/alpha/k", body=bytes(8 * MIB)))
    check_refusal(reply, 400, "EntityTooLarge")
    await gateway.backend.until(lambda: gateway.backend.links[0].closed, "the connection to end")
    await gateway.alive()
    assert not gateway.backend.requests[0].complete


async def test_a_100_from_the_backend_is_no_answer(gateway: Gateway) -> None:
    gateway.backend.answer(Answer(200, [("ETag", '"e"')], b"x", interim=b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert (await gateway.send(gateway.signed("GET", "/alpha/k"))).body == b"x"
    await gateway.alive()


async def test_a_slow_head_in_single_bytes_is_read(gateway: Gateway) -> None:
    gateway.backend.answer(Answer(200, [("ETag", '"e"')], b"body", drip=True))
    reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
    assert (reply.status, reply.body, reply.get("etag")) == (200, b"body", '"e"')
    await gateway.alive()


async def test_a_backend_that_is_not_there() -> None:
    async with open_gateway() as gateway:
        await gateway.backend.stop()
        reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
        check_refusal(reply, 503, "ServiceUnavailable")
        assert reply.get("retry-after") == "1"
        assert gateway.traces.finished[-1].upstream_error == "connect"


async def test_more_requests_than_connections_wait_their_turn() -> None:
    limits = UpstreamLimits(connect=2.0, connections=2, idle_connections=2)
    async with open_gateway(limits=limits) as gateway:
        replies = await asyncio.gather(*(gateway.send(gateway.signed("GET", "/alpha/control")) for _ in range(30)))
        assert [reply.status for reply in replies] == [200] * 30
        assert len(gateway.backend.links) <= 2


async def test_a_full_pool_says_slow_down() -> None:
    gate = asyncio.Event()
    async with open_gateway(limits=UpstreamLimits(connect=0.2, connections=1)) as gateway:
        gateway.backend.answer(Answer(200, [], b"x", gate=gate))
        first = asyncio.create_task(gateway.send(gateway.signed("GET", "/alpha/k")))
        await gateway.backend.until(lambda: gateway.backend.requests, "the first request")
        reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
        check_refusal(reply, 503, "SlowDown")
        gate.set()
        assert (await first).status == 200
        await gateway.alive()


async def test_no_answer_in_time_is_a_504() -> None:
    async with open_gateway(limits=UpstreamLimits(first_byte=0.2)) as gateway:
        gateway.backend.answer(Answer(gate=asyncio.Event()))
        check_refusal(await gateway.send(gateway.signed("GET", "/alpha/k")), 504, "ServiceUnavailable")
        await gateway.backend.until(lambda: gateway.backend.links[0].closed, "the connection to end")
        await gateway.alive()


async def test_a_download_to_a_client_that_does_not_read_is_bounded(gateway: Gateway) -> None:
    """Of 256 MiB less than one is held here; the backend is simply not read on."""
    gateway.backend.put("t1--alpha", "large", bytes(256 * MIB))
    client = await gateway.connect(receive_buffer=16 * 1024)
    await client.send(gateway.signed("GET", "/alpha/large").wire())
    assert await client.more()
    assert 0 < await most_buffered(gateway) < MIB
    link = gateway.backend.requests[0].connection
    client.reset()
    async with asyncio.timeout(1.0):
        await gateway.backend.until(lambda: link.closed, "upstream to be closed")


async def test_an_upload_to_a_backend_that_does_not_read_is_bounded(gateway: Gateway) -> None:
    """The other way round: the client is not read on."""
    gateway.backend.script = lambda seen: seen.connection.pause()
    request = gateway.signed("PUT", "/alpha/k", body=bytes(64 * MIB))
    client = await gateway.connect()
    sending = asyncio.create_task(client.send(request.wire()))
    await gateway.backend.until(lambda: gateway.backend.requests, "the upload to begin")
    assert 0 < await most_buffered(gateway) < MIB
    assert not sending.done()
    gateway.backend.requests[0].connection.resume()
    await sending
    assert (await client.reply()).status == 200


async def test_many_slow_readers_hold_little_each(gateway: Gateway) -> None:
    large = Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 * MIB) + bytes(32 * MIB))
    gateway.backend.always(large)
    clients: list[Client] = [await gateway.connect(receive_buffer=16 * 1024) for _ in range(10)]
    for client in clients:
        await client.send(gateway.signed("GET", "/alpha/large").wire())
        assert await client.more()
    assert 0 < await most_buffered(gateway) < 10 * MIB


async def test_a_cancelled_request_closes_upstream(gateway: Gateway) -> None:
    """The client goes while the backend still thinks: nobody waits for the answer."""
    gateway.backend.answer(Answer(gate=asyncio.Event()))
    client = await gateway.connect()
    await client.send(gateway.signed("GET", "/alpha/k").wire())
    await gateway.backend.until(lambda: gateway.backend.requests, "the request")
    client.reset()
    async with asyncio.timeout(1.0):
        await gateway.backend.until(lambda: gateway.backend.links[0].closed, "upstream to be closed")
    await gateway.alive()


@pytest.mark.parametrize("at", [0, 1, 300_000, MIB - 1])
async def test_r5_a_backend_that_resets_an_upload(gateway: Gateway, at: int) -> None:
    """One attempt, an error for the client, and no object."""
    gateway.backend.answer(Answer(reset_at=at))
    try:
        reply = await gateway.send(gateway.signed("PUT", "/alpha/k", body=bytes(MIB)))
    except NoReply:
        pass
    else:
        check_refusal(reply, (502, 503), ("InternalError", "ServiceUnavailable"))
    assert len(gateway.backend.requests) == 1
    assert gateway.backend.body_of("t1--alpha", "k") is None
    await gateway.alive()


async def test_a_refused_body_breaks_the_connection_off(gateway: Gateway) -> None:
    """The backend was told a length that never comes; that connection is of no use to others."""
    request = gateway.signed("PUT", "/alpha/k", body=bytes(MIB), payload=wire.sha256(b"other"))
    check_refusal(await gateway.send(request), 400, "XAmzContentSHA256Mismatch")
    await gateway.backend.until(lambda: gateway.backend.links[0].closed, "the connection to end")
    assert len(gateway.backend.requests[0].body) < MIB
    await gateway.alive()
    assert len(gateway.backend.links) == 2
    assert KA.id not in repr(gateway.backend.requests[0].headers)
