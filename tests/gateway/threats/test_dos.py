"""Classes DOS, KEY and LOG as far as the data path answers for them. Named by the ids of the public cases."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from tests import wire
from tests.gateway.harness import KA, KAR, KB, KE, KR, UNKNOWN, Gateway, open_gateway
from tests.gateway.threats.judging import accepted, check_refusal, refused
from tests.wire import NoReply, Request


async def test_dos_241_a_head_that_never_ends() -> None:
    """A connection that does not finish its head is closed in time; others are not disturbed."""
    async with open_gateway(head_timeout=0.3) as gateway:
        slow = [await gateway.connect() for _ in range(50)]
        for client in slow:
            await client.send(b"GET /alpha/control HTTP/1.1\r\nHost:")
        await gateway.alive()
        started = asyncio.get_running_loop().time()
        assert all([await client.ended() for client in slow])
        assert asyncio.get_running_loop().time() - started < 2.0
        await gateway.alive()


async def test_dos_241_the_second_head_has_a_limit_too() -> None:
    async with open_gateway(head_timeout=0.3) as gateway:
        client = await gateway.connect()
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        assert (await client.reply()).status == 200
        await client.send(b"GET ")
        assert await client.ended()


async def test_dos_242_a_body_that_stops() -> None:
    """The sender is told, the backend keeps nothing, the connection goes."""
    async with open_gateway(body_idle_timeout=0.3) as gateway:
        for size in (1000, 1 << 20):
            request = gateway.signed("PUT", "/alpha/k", body=bytes(size))
            client = await gateway.connect()
            await client.send(request.wire()[:-10])
            check_refusal(await client.reply(), 400, "RequestTimeout")
            assert await client.ended()
            await gateway.alive()
            assert gateway.backend.body_of("t1--alpha", "k") is None


async def test_dos_243_a_reader_that_stops() -> None:
    """The backend is not read on, and after the idle time the connection is cut."""
    async with open_gateway(body_idle_timeout=0.3) as gateway:
        gateway.backend.put("t1--alpha", "large", bytes(64 << 20))
        client = await gateway.connect(receive_buffer=16384)
        await client.send(gateway.signed("GET", "/alpha/large").wire())
        trace = await gateway.traces.until(1)
        assert trace.disconnected == "response"
        await gateway.backend.until(lambda: gateway.backend.requests[-1].connection.closed, "upstream to be closed")
        await gateway.alive()


_HEADS = {
    "300 headers": b"".join(b"X-%d: 1\r\n" % number for number in range(300)),
    "a 100 kB header": b"X-A: " + b"x" * 100_000 + b"\r\n",
    "a 1 MB name": b"X" * (1 << 20) + b": 1\r\n",
}


@pytest.mark.parametrize("kind", _HEADS)
async def test_dos_245_large_heads(gateway: Gateway, kind: str) -> None:
    await gateway.alive()
    head = gateway.signed("GET", "/alpha/control").head()[:-2]
    await refused(gateway, head + _HEADS[kind] + b"\r\n", 400, "RequestHeaderSectionTooLarge")


async def test_dos_245_a_head_that_goes_on_and_on(gateway: Gateway) -> None:
    """Many lines, each within bounds: the head as a whole has a limit."""
    await gateway.alive()
    head = gateway.signed("GET", "/alpha/control").head()[:-2]
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 30_000) for number in range(100))
    await refused(gateway, head + lines + b"\r\n", 400)


async def test_dos_245_an_honest_head_of_a_reasonable_size(gateway: Gateway) -> None:
    """Presigned URLs with long keys, and 200 headers, are no attack."""
    headers = [(f"x-amz-meta-{number}", "v") for number in range(200)]
    await accepted(gateway, gateway.signed("PUT", f"/alpha/{'k' * 1000}", *headers, body=b"x"))
    value = "v" * 20_000
    await accepted(gateway, gateway.signed("GET", "/alpha/control", ("X-Long", value)))


async def test_dos_245_a_head_in_single_bytes(gateway: Gateway) -> None:
    async with await wire.Client.open(gateway.port) as client:
        for byte in gateway.signed("GET", "/alpha/control").wire():
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.reply()).body == b"control"


@pytest.mark.parametrize("what", ["an object", "a document"])
async def test_dos_247_tiny_http_chunks(gateway: Gateway, what: str) -> None:
    """A body in chunks of one byte costs time in proportion to its bytes."""
    count = 100_000
    if what == "an object":
        request, _ = wire.upload(KA, gateway.request("PUT", "/alpha/k"), wire.UNSIGNED_TRAILER, b"x" * count)
    else:
        body = b"<Delete><Object><Key>k</Key></Object>" + b" " * count + b"</Delete>"
        request = gateway.signed("POST", "/alpha?delete", ("Content-MD5", wire.md5(body)), body=body)
    request.drop("content-length").add("Transfer-Encoding", "chunked")
    request.body = b"".join(b"1\r\n%c\r\n" % byte for byte in request.body) + b"0\r\n\r\n"
    started = time.process_time()
    assert (await gateway.send(request)).status == 200
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("who", ["nobody", "an unknown key", "no right", "a foreign bucket"])
async def test_dos_249_a_large_body_of_nobody(gateway: Gateway, who: str) -> None:
    """Refused at the head; what was sent meanwhile is read for a moment and not kept."""
    request = Request("PUT", "/beta/k" if who == "a foreign bucket" else "/alpha/k", [("Host", gateway.host)])
    keys = {"an unknown key": UNKNOWN, "no right": KAR, "a foreign bucket": KA}
    if who in keys:
        wire.sign(keys[who], request, payload=wire.UNSIGNED)
    request.add("Content-Length", str(10 << 30))
    before = gateway.backend.received
    async with await wire.Client.open(gateway.port) as client:
        await client.try_send(request.head() + bytes(1 << 20))
        reply = await client.reply()
        check_refusal(reply, 403, None)
        assert reply.get("connection") == "close"
    assert gateway.traces.finished[-1].bytes_in == 0
    await gateway.alive()
    assert gateway.backend.received == before + gateway.backend.requests[-1].size


async def test_key_258_an_unknown_key_costs_the_same_look_up(gateway: Gateway) -> None:
    """Both are looked up once, and the one answer tells nothing of the key's state."""
    wrong = wire.with_signature(gateway.signed("GET", "/alpha/control", key=KR), "0" * 64)
    await refused(gateway, wrong, 403, "SignatureDoesNotMatch")
    asked = len(gateway.keys.asked)
    await gateway.send(gateway.signed("GET", "/alpha/control", key=UNKNOWN))
    assert len(gateway.keys.asked) == asked + 1


async def test_key_260_revocation_on_open_connections(gateway: Gateway) -> None:
    clients = [await gateway.connect() for _ in range(20)]
    data = gateway.signed("GET", "/alpha/control").wire()
    for client in clients:
        await client.send(data)
        assert (await client.reply()).status == 200
    gateway.keys.revoke(KA)
    before = gateway.backend.received
    for client in clients:
        await client.send(data)
        check_refusal(await client.reply(), 403, "InvalidAccessKeyId")
    assert gateway.backend.received == before


async def test_key_260_revocation_cuts_what_is_in_flight(gateway: Gateway) -> None:
    """An upload in the middle of its body ends, and nothing is committed."""
    request = gateway.signed("PUT", "/alpha/k", body=bytes(4 << 20))
    client = await gateway.connect()
    await client.send(request.wire()[: 1 << 20])
    await gateway.backend.until(lambda: gateway.backend.requests, "the upload to begin")
    gateway.keys.revoke(KA)
    check_refusal(await client.reply(), 403, "InvalidAccessKeyId")
    await gateway.backend.until(lambda: gateway.backend.requests[0].connection.closed, "upstream to be broken off")
    assert not gateway.backend.committed


async def test_key_260_revocation_cuts_a_download(gateway: Gateway) -> None:
    gateway.backend.put("t1--alpha", "large", bytes(64 << 20))
    client = await gateway.connect(receive_buffer=16384)
    await client.send(gateway.signed("GET", "/alpha/large").wire())
    assert await client.more()
    gateway.keys.revoke(KA)
    while await client.more():
        pass
    assert client.received < 64 << 20
    await gateway.backend.until(lambda: gateway.backend.requests[0].connection.closed, "upstream to be broken off")


@pytest.mark.parametrize("key", [KR, KE, UNKNOWN], ids=["revoked", "expired", "unknown"])
async def test_key_261_keys_that_do_not_count(gateway: Gateway, key: wire.Key) -> None:
    await gateway.alive()
    await refused(gateway, gateway.signed("GET", "/alpha/control", key=key), 403, "InvalidAccessKeyId")
    await refused(gateway, gateway.presigned("GET", "/alpha/control", key=key), 403, "InvalidAccessKeyId")


async def test_key_261_a_key_expires_by_the_clock(gateway: Gateway) -> None:
    held = gateway.keys.keys[KA.id]
    gateway.keys.keys[KA.id] = replace(held, expires_at=wire.NOW)
    reply = await gateway.send(gateway.signed("GET", "/alpha/control"))
    assert (reply.status, reply.code) == (403, "InvalidAccessKeyId")
    gateway.keys.keys[KA.id] = replace(held, expires_at=wire.NOW.replace(second=1))
    assert (await gateway.send(gateway.signed("GET", "/alpha/control"))).status == 200


async def test_key_267_a_lost_database_is_no_refusal(gateway: Gateway) -> None:
    """503 with Retry-After for every key, known or not; never 403, never 200."""
    await gateway.alive()
    before = gateway.backend.received
    gateway.keys.down = True
    for key in (KA, KB, KR, UNKNOWN):
        reply = await gateway.send(gateway.signed("GET", "/alpha/control", key=key))
        check_refusal(reply, 503, "ServiceUnavailable")
        assert reply.get("retry-after") == "1"
    assert gateway.backend.received == before
    gateway.keys.down = False
    await gateway.alive()


async def test_key_273_a_narrowed_key_counts_at_once(gateway: Gateway) -> None:
    """The next request on the same connection is judged by what the key is then."""
    client = await gateway.connect()
    data = gateway.signed("PUT", "/alpha/k", body=b"x").wire()
    await client.send(data)
    assert (await client.reply()).status == 200
    gateway.keys.keys[KA.id] = replace(gateway.keys.keys[KA.id], grants=gateway.keys.keys[KAR.id].grants)
    await client.send(data)
    check_refusal(await client.reply(), 403, "AccessDenied")


async def test_log_295_answers_tell_no_versions(gateway: Gateway) -> None:
    for request in (
        gateway.signed("GET", "/alpha/control"),
        gateway.request("GET", "/alpha/control"),
        gateway.signed("GET", "/alpha/missing"),
    ):
        reply = await gateway.send(request)
        assert reply.get("server") == "Bucketwarden"
        assert reply.get("x-amz-request-id")
        assert b"aiohttp" not in reply.raw_head + reply.body


@pytest.mark.parametrize("garbage", [b"GET\r\n\r\n", b"G\xffT / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nc4n4ry\r\n\r\n"])
async def test_log_296_parser_refusals_are_xml_and_echo_nothing(gateway: Gateway, garbage: bytes) -> None:
    try:
        reply = await gateway.send(garbage)
    except NoReply:
        return
    check_refusal(reply, 400, "BadRequest")
    assert b"c4n4ry" not in reply.body


async def test_log_298_metrics_is_a_bucket_here(gateway: Gateway) -> None:
    for path in ("/metrics", "/livez", "/readyz", "/api/v1/keys"):
        reply = await gateway.send(gateway.request("GET", path))
        check_refusal(reply, 403, "AccessDenied")


async def test_log_301_request_ids_are_ours(gateway: Gateway) -> None:
    ids = set()
    for _ in range(3):
        request = gateway.signed("GET", "/alpha/control").add("X-Request-Id", "theirs").add("traceparent", "theirs")
        ids.add((await gateway.send(request)).get("x-amz-request-id"))
    assert len(ids) == 3
    assert "theirs" not in ids


async def test_log_traces_hold_no_secrets(gateway: Gateway) -> None:
    """What metrics and logs are made of: no secret, no signature, no query."""
    await gateway.send(gateway.presigned("GET", "/alpha/control"))
    await gateway.send(wire.with_signature(gateway.signed("GET", "/alpha/control?prefix=c4n4ry"), "ab" * 32))
    told = repr(gateway.traces.finished)
    for secret in (KA.secret, "X-Amz-Signature", "ab" * 32, "c4n4ry"):
        assert secret not in told
