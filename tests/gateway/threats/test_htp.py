"""Class HTP: HTTP/1.1 framing. Each test is named by the id of its public case.

The rule behind all of them: gateway and backend agree on how many requests there are, because the backend's are made
anew and what frames a request unclearly is refused with the connection.
"""

from __future__ import annotations

import asyncio

import pytest

from tests import wire
from tests.gateway.harness import KA, KAR, KB, SUFFIX, UNKNOWN, Gateway
from tests.gateway.threats.judging import accepted, check_refusal, not_committed, refused, saw_nothing
from tests.wire import NoReply, Request


def put(gateway: Gateway, *framing: tuple[str, str], body: bytes = b"hello") -> Request:
    """A valid upload whose framing is what the case says."""
    request = Request("PUT", "/alpha/k", [("Host", gateway.host)], body)
    wire.sign(KA, request, payload=wire.UNSIGNED)
    request.headers += framing
    return request


async def ends_unanswered(gateway: Gateway, request: bytes, statuses: tuple[int, ...]) -> None:
    """Refused; the connection is over, and what was pipelined behind it is not answered."""
    before = gateway.backend.received
    async with await wire.Client.open(gateway.port) as client:
        await client.try_send(request + gateway.signed("GET", "/alpha/control").wire())
        try:
            reply = await client.reply()
        except NoReply:
            pass
        else:
            check_refusal(reply, statuses, None)
            assert reply.get("connection") == "close"
        assert await client.ended()
    await saw_nothing(gateway, before)


@pytest.mark.parametrize(
    "framing",
    [
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "chunked"), ("Content-Length", "5")],
        [("Content-Length", "5"), ("Content-Length", "5")],
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Content-Length", "5, 5")],
        [("Content-Length", "+5")],
        [("Content-Length", "0x5")],
        [("Content-Length", "-1")],
        [("Content-Length", "5 5")],
        [("Content-Length", "")],
        [("Content-Length", str(2**64))],
        [("Content-Length", "5_0")],
        [("Content-Length", "5;")],
    ],
    ids=lambda framing: " + ".join(f"{name[0]}:{value}" for name, value in framing),
)
async def test_htp_217_lengths(gateway: Gateway, framing: list[tuple[str, str]]) -> None:
    await accepted(gateway, put(gateway, ("Content-Length", "5")))
    body = wire.http_chunks(b"hello") if len(framing) == 2 and framing[0][0] != framing[1][0] else b"hello"
    await ends_unanswered(gateway, put(gateway, *framing, body=body).wire(), (400, 411))


@pytest.mark.parametrize(
    "codings",
    [
        ["xchunked"],
        ["chunked, identity"],
        ["identity"],
        ["chunked, chunked"],
        ["chunked;q=1"],
        ["\x0bchunked"],
        ["chunked", "chunked"],
        ["identity", "chunked"],
        ["gzip, chunked"],
        ["gzip"],
        [""],
    ],
)
async def test_htp_218_codings(gateway: Gateway, codings: list[str]) -> None:
    """Any transfer coding but `chunked` alone."""
    request, _ = wire.upload(KA, gateway.request("PUT", "/alpha/k"), wire.UNSIGNED_TRAILER, b"hello", te=True)
    await accepted(gateway, request)
    request.drop("transfer-encoding")
    request.headers += [("Transfer-Encoding", coding) for coding in codings]
    await ends_unanswered(gateway, request.wire(), (400, 411, 501))


_SPELLINGS = {
    "space before the colon": b"X-A : 1\r\n",
    "tab before the colon": b"X-A\t: 1\r\n",
    "folded line": b"X-A: 1\r\n 2\r\n",
    "no colon": b"X-A\r\n",
    "empty name": b": 1\r\n",
    "NUL in a value": b"X-A: a\0b\r\n",
    "NUL in a name": b"X\0A: 1\r\n",
    "bare CR in a value": b"X-A: a\rb\r\n",
    "control in a value": b"X-A: a\x01b\r\n",
    "DEL in a name": b"X\x7fA: 1\r\n",
    "two colons in a name": b"X@A: 1\r\n",
}


@pytest.mark.parametrize("spelling", _SPELLINGS)
async def test_htp_220_header_lines(gateway: Gateway, spelling: str) -> None:
    await gateway.alive()
    head = gateway.signed("GET", "/alpha/control").head()
    await ends_unanswered(gateway, head[:-2] + _SPELLINGS[spelling] + b"\r\n", (400,))


async def test_htp_220_bare_line_feeds(gateway: Gateway) -> None:
    await gateway.alive()
    head = gateway.signed("GET", "/alpha/control").head()
    await ends_unanswered(gateway, head.replace(b"\r\n", b"\n"), (400,))


async def test_htp_220_a_blank_before_the_first_header(gateway: Gateway) -> None:
    await gateway.alive()
    head = gateway.signed("GET", "/alpha/control").head()
    await ends_unanswered(gateway, head.replace(b"\r\n", b"\r\n ", 1), (400,))


@pytest.mark.parametrize("second", ["another key", "nobody", "a wrong signature"])
@pytest.mark.parametrize("order", ["valid first", "valid last"])
async def test_htp_222_pipelined_requests_are_authenticated_alone(gateway: Gateway, second: str, order: str) -> None:
    valid = gateway.signed("GET", "/alpha/control").wire()
    other = {
        "another key": gateway.signed("GET", "/alpha/control", key=KB),
        "nobody": gateway.request("GET", "/alpha/control"),
        "a wrong signature": wire.with_signature(gateway.signed("GET", "/alpha/control"), "0" * 64),
    }[second].wire()
    seen = len(gateway.backend.requests)
    async with await wire.Client.open(gateway.port) as client:
        await client.send(valid + other if order == "valid first" else other + valid)
        statuses = [(await client.reply()).status for _ in range(2)]
    assert statuses == ([200, 403] if order == "valid first" else [403, 200])
    assert len(gateway.backend.requests) == seen + 1


async def test_htp_222_pipelined_uploads_keep_their_bodies(gateway: Gateway) -> None:
    first = gateway.signed("PUT", "/alpha/one", body=b"1" * 1000).wire()
    second = gateway.signed("PUT", "/alpha/two", body=b"2" * 2000).wire()
    async with await wire.Client.open(gateway.port) as client:
        await client.send(first + second)
        assert [(await client.reply()).status for _ in range(2)] == [200, 200]
    assert gateway.backend.body_of("t1--alpha", "one") == b"1" * 1000
    assert gateway.backend.body_of("t1--alpha", "two") == b"2" * 2000


async def test_htp_223_nothing_carries_over_on_a_kept_connection(gateway: Gateway) -> None:
    async with await wire.Client.open(gateway.port) as client:
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        assert (await client.reply()).status == 200
        before = gateway.backend.received
        await client.send(gateway.request("GET", "/alpha/control").wire())
        reply = await client.reply()
        check_refusal(reply, 403, "AccessDenied")
        assert gateway.backend.received == before


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "PATCH", "FOO", "M-SEARCH", "get", "OPTIONS", "LOCK"])
async def test_htp_225_methods(gateway: Gateway, method: str, signed: bool) -> None:
    await gateway.alive()
    make = gateway.signed if signed else gateway.request
    reply = await refused(gateway, make(method, "/alpha/control"), (400, 403, 405, 501))
    assert b"Authorization" not in reply.body


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT 10.0.0.1:9000 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT backend.internal:9000 HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"GET /alpha/control HTTP/9.9",
        b"GET /alpha/control",
        b"GET  /alpha/control HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_htp_225_request_lines(gateway: Gateway, line: bytes) -> None:
    """No tunnel, no echo, no other protocol."""
    await gateway.alive()
    before = gateway.backend.received
    async with await wire.Client.open(gateway.port) as client:
        await client.send(line + f"\r\nHost: {gateway.host}\r\n\r\n".encode())
        client.half_close()
        try:
            reply = await client.reply()
        except NoReply:
            pass
        else:
            assert reply.status in (400, 403, 405, 501, 505)
    await saw_nothing(gateway, before)


@pytest.mark.parametrize(
    "fields",
    [
        [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")],
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")],
    ],
    ids=["websocket", "h2c"],
)
async def test_htp_226_upgrades(gateway: Gateway, fields: list[tuple[str, str]]) -> None:
    """A signed request stays plain HTTP/1.1, and nothing of the wish goes on."""
    request = gateway.signed("GET", "/alpha/control")
    request.headers += fields
    reply = await gateway.send(request)
    assert reply.status in (200, 400)
    assert reply.get("upgrade") is None
    names = {name.lower() for seen in gateway.backend.requests for name, _ in seen.headers}
    assert not names & {"upgrade", "http2-settings", "connection", "sec-websocket-key"}
    await gateway.alive()


@pytest.mark.parametrize("who", ["a wrong signature", "an unknown key", "nobody", "no right", "a foreign bucket"])
async def test_htp_227_no_continue_before_the_decision(gateway: Gateway, who: str) -> None:
    """A client that asks first is answered finally, before it has sent five gigabytes; then we hang up."""
    allowed = gateway.signed("PUT", "/alpha/k", ("Expect", "100-continue"), body=b"x")
    async with await wire.Client.open(gateway.port) as client:
        await client.send(allowed.head())
        assert b"100 Continue" in await client.more()
        await client.send(allowed.body)
        assert (await client.reply()).status == 200

    request = Request("PUT", "/alpha/k", [("Host", gateway.host)])
    match who:
        case "a wrong signature":
            wire.with_signature(wire.sign(KA, request, payload=wire.UNSIGNED), "0" * 64)
        case "an unknown key":
            wire.sign(UNKNOWN, request, payload=wire.UNSIGNED)
        case "no right":
            wire.sign(KAR, request, payload=wire.UNSIGNED)
        case "a foreign bucket":
            request.target = "/beta/k"
            wire.sign(KA, request, payload=wire.UNSIGNED)
    request.add("Expect", "100-continue").add("Content-Length", str(5 << 30))
    before = gateway.backend.received
    async with await wire.Client.open(gateway.port) as client:
        await client.send(request.head())
        reply = await client.reply()
        assert reply.interim == []
        check_refusal(reply, 403, None)
        assert reply.get("connection") == "close"
        assert await client.ended()
    await saw_nothing(gateway, before)


@pytest.mark.parametrize("length", [2**63 - 1, (5 << 40) + 1, (5 << 40) + 2**20])
async def test_htp_231_an_object_too_large(gateway: Gateway, length: int) -> None:
    """Refused for what it announces, before a byte of it is read."""
    await accepted(gateway, put(gateway, ("Content-Length", "5")))
    await refused(gateway, put(gateway, ("Content-Length", str(length))).head(), 400, "EntityTooLarge")


async def test_htp_231_a_part_too_large(gateway: Gateway) -> None:
    request = Request("PUT", "/alpha/k?partNumber=1&uploadId=u", [("Host", gateway.host)])
    wire.sign(KA, request, payload=wire.UNSIGNED).add("Content-Length", str((5 << 30) + 1))
    await refused(gateway, request.head(), 400, "EntityTooLarge")


async def test_htp_a_body_shorter_than_announced(gateway: Gateway) -> None:
    """Half a body and the end of the connection: an answer, no object."""
    for size in (10, 1 << 20):
        await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"before"))
        committed = len(gateway.backend.committed)
        request = gateway.signed("PUT", "/alpha/k", body=bytes(size), payload=wire.UNSIGNED)
        async with await wire.Client.open(gateway.port) as client:
            await client.send(request.wire()[:-3])
            client.half_close()
            check_refusal(await client.reply(), 400, "IncompleteBody")
        assert len(gateway.backend.committed) == committed
        assert gateway.backend.body_of("t1--alpha", "k") == b"before"


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhello",
        b"x\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_htp_broken_http_chunks(gateway: Gateway, body: bytes) -> None:
    """A transfer coding that is broken inside: the signed request is answered, the object is not made."""
    request, _ = wire.upload(KA, gateway.request("PUT", "/alpha/k"), wire.UNSIGNED_TRAILER, b"hello", te=True)
    await accepted(gateway, request)
    committed = len(gateway.backend.committed)
    request.body = body
    async with await wire.Client.open(gateway.port) as client:
        await client.send(request.wire())
        client.half_close()
        check_refusal(await client.reply(), 400, ("IncompleteBody", "BadRequest"))
        assert await client.ended()
    await gateway.alive()
    assert len(gateway.backend.committed) == committed + 1


async def test_htp_an_absolute_target_must_name_the_host(gateway: Gateway) -> None:
    """HAProxy passes absolute targets on; one that names another authority is refused (D21, PTH-118)."""
    good = gateway.signed("GET", "/alpha/control")
    good.target = f"http://{gateway.host}/alpha/control"
    line = good.wire()
    reply = await gateway.send(line)
    assert reply.status == 200
    for target in (f"http://beta.{SUFFIX}/control", "http://169.254.169.254/alpha/control", "gopher://x/alpha/control"):
        request = gateway.signed("GET", "/alpha/control")
        request.target = target
        await refused(gateway, request, (400, 403))


async def test_htp_connection_tokens_remove_nothing(gateway: Gateway) -> None:
    """Naming a header in Connection takes none of ours away (HDR-097)."""
    request = gateway.signed("PUT", "/alpha/k", body=b"x")
    request.add("Connection", "x-amz-date, AUTHORIZATION, Host, content-length, X-Amz-Content-Sha256")
    reply = await gateway.send(request)
    assert reply.status in (200, 400)
    if reply.status == 200:
        seen = gateway.backend.requests[-1]
        for name in ("authorization", "host", "x-amz-date", "x-amz-content-sha256", "content-length"):
            assert len(seen.all(name)) == 1


async def test_htp_many_connections_at_once(gateway: Gateway) -> None:
    """Answers go to whom they belong."""
    for number in range(20):
        gateway.backend.put("t1--alpha", f"n{number}", f"body {number}".encode() * 50)

    async def ask(number: int) -> bytes:
        return (await gateway.send(gateway.signed("GET", f"/alpha/n{number}"))).body

    bodies = await asyncio.gather(*(ask(number) for number in range(20)))
    assert bodies == [f"body {number}".encode() * 50 for number in range(20)]
    await not_committed(gateway, gateway.signed("PUT", "/alpha/n1", body=b"x", payload=wire.sha256(b"y")), 400)
