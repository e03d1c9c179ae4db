"""The S3 listener: 100-continue, keep-alive, pipelining, limits, closing; and what of aiohttp it leans on."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from aiohttp import StreamReader, web, web_protocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from gateway.connection import Connection, Sent
from tests import wire
from tests.fakebackend import Answer
from tests.gateway.harness import KA, Gateway, open_gateway
from tests.gateway.threats.judging import check_refusal
from tests.wire import Client, NoReply, Request

# --- Expect: 100-continue ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", wire.MODES)
@pytest.mark.parametrize("size", [100, 300_000])
async def test_100_continue_comes_once_and_after_authorization(gateway: Gateway, mode: str, size: int) -> None:
    request = gateway.request("PUT", "/alpha/k", ("Expect", "100-continue"))
    request, _ = wire.upload(KA, request.drop("content-length"), mode, bytes(size))
    async with await Client.open(gateway.port) as client:
        await client.send(request.head())
        assert await client.more() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert len(gateway.keys.asked) == 1
        await client.send(request.body)
        reply = await client.reply()
        assert (reply.status, reply.interim) == (200, [])
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        assert (await client.reply()).body == b"control"


async def test_a_client_that_does_not_wait_for_100_is_served(gateway: Gateway) -> None:
    request = gateway.signed("PUT", "/alpha/k", ("Expect", "100-continue"), body=b"x" * 1000)
    async with await Client.open(gateway.port) as client:
        await client.send(request.wire())
        assert (await client.reply()).status == 200
        await client.send(gateway.signed("GET", "/alpha/k").wire())
        assert (await client.reply()).body == b"x" * 1000


async def test_a_get_with_expect_is_answered(gateway: Gateway) -> None:
    reply = await gateway.send(gateway.signed("GET", "/alpha/control", ("Expect", "100-continue")))
    assert reply.body == b"control"


# --- keep-alive -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, 60_000])
async def test_a_refusal_with_a_small_body_keeps_the_connection(gateway: Gateway, size: int) -> None:
    """What is left of the body is read and forgotten, and the next request is understood."""
    async with await Client.open(gateway.port) as client:
        await client.send(gateway.request("PUT", "/alpha/k", body=bytes(size)).wire())
        reply = await client.reply()
        check_refusal(reply, 403, "AccessDenied")
        assert reply.get("connection") is None
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        assert (await client.reply()).body == b"control"


async def test_a_refusal_with_a_large_body_says_close_and_closes(gateway: Gateway) -> None:
    async with await Client.open(gateway.port) as client:
        request = gateway.request("PUT", "/alpha/k", body=bytes(1 << 20))
        await client.send(request.head() + request.body[:1000])
        reply = await client.reply()
        check_refusal(reply, 403, "AccessDenied")
        assert reply.get("connection") == "close"
        assert await client.ended()


@pytest.mark.parametrize("size", [1 << 20, 32 << 20])
async def test_a_refusal_reaches_a_client_that_is_still_sending(gateway: Gateway, size: int) -> None:
    """Closing with unread bytes would reset the refusal away from it."""
    async with await Client.open(gateway.port) as client:
        request = gateway.request("PUT", "/alpha/k", body=bytes(size))
        await client.try_send(request.wire())
        check_refusal(await client.reply(), 403, "AccessDenied")


async def test_a_body_that_fails_its_check_ends_the_connection_or_leaves_it_clean(gateway: Gateway) -> None:
    async with await Client.open(gateway.port) as client:
        await client.send(gateway.signed("PUT", "/alpha/k", body=b"x", payload=wire.sha256(b"y")).wire())
        reply = await client.reply()
        check_refusal(reply, 400, "XAmzContentSHA256Mismatch")
        if reply.get("connection") == "close":
            assert await client.ended()
        else:
            await client.send(gateway.signed("GET", "/alpha/control").wire())
            assert (await client.reply()).body == b"control"


async def test_ten_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    for number in range(10):
        gateway.backend.put("t1--alpha", f"n{number}", b"%d" % number)
    async with await Client.open(gateway.port) as client:
        await client.send(b"".join(gateway.signed("GET", f"/alpha/n{number}").wire() for number in range(10)))
        assert [(await client.reply()).body for _ in range(10)] == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("keep", [True, False])
async def test_connection_close_is_obeyed_and_said(gateway: Gateway, keep: bool) -> None:
    request = gateway.signed("GET", "/alpha/control")
    if not keep:
        request.add("Connection", "close")
    async with await Client.open(gateway.port) as client:
        await client.send(request.wire())
        reply = await client.reply()
        assert reply.body == b"control"
        assert reply.get("connection") == (None if keep else "close")
        if not keep:
            assert await client.ended()


# --- HTTP/1.0 ---------------------------------------------------------------------------------------------


async def test_http_10_gets_a_close(gateway: Gateway) -> None:
    request = gateway.signed("GET", "/alpha/control")
    request.version = "HTTP/1.0"
    async with await Client.open(gateway.port) as client:
        await client.send(request.wire())
        reply = await client.reply()
        assert (reply.status, reply.body, reply.get("connection")) == (200, b"control", "close")
        assert await client.ended()


async def test_http_10_keep_alive(gateway: Gateway) -> None:
    request = gateway.signed("GET", "/alpha/control").add("Connection", "keep-alive")
    request.version = "HTTP/1.0"
    async with await Client.open(gateway.port) as client:
        for _ in range(2):
            await client.send(request.wire())
            reply = await client.reply()
            assert (reply.body, reply.get("connection")) == (b"control", "keep-alive")


async def test_http_10_is_never_answered_in_chunks(gateway: Gateway) -> None:
    """A listing of unknown length ends with the connection there."""
    for number in range(5000):
        gateway.backend.put("t1--alpha", f"key-{number}", b"")
    request = gateway.signed("GET", "/alpha")
    request.version = "HTTP/1.0"
    async with await Client.open(gateway.port) as client:
        await client.send(request.add("Connection", "keep-alive").wire())
        reply = await client.reply()
    assert reply.get("transfer-encoding") is None
    assert reply.body.endswith(b"</ListBucketResult>")


async def test_http_10_put_without_a_length_is_refused(gateway: Gateway) -> None:
    request = gateway.signed("PUT", "/alpha/k").drop("content-length")
    request.version = "HTTP/1.0"
    check_refusal(await gateway.send(request), 411, "MissingContentLength")


# --- limits -----------------------------------------------------------------------------------------------


async def test_what_s3_needs_fits(gateway: Gateway) -> None:
    """A target of 30 KiB and 250 header lines."""
    query = "&".join(f"x-amz-meta-{number}=v" for number in range(100))
    target = f"/alpha/{'%C3%A9' * 500}?{query}&X-Amz-Meta-Long={'v' * 20}"
    assert (await gateway.send(gateway.presigned("PUT", target, body=b"x"))).status == 200
    headers = [(f"x-amz-meta-{number}", "v") for number in range(240)]
    assert (await gateway.send(gateway.signed("PUT", "/alpha/k", *headers, body=b"x"))).status == 200
    long_target = f"/alpha?prefix={'p' * 30_000}"
    assert (await gateway.send(gateway.signed("GET", long_target))).status == 200


@pytest.mark.parametrize(
    ("request_bytes", "codes"),
    [
        (b"GET /alpha?prefix=" + b"p" * 40_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: 1\r\n" * 300 + b"\r\n", "RequestHeaderSectionTooLarge"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", "RequestHeaderSectionTooLarge"),
    ],
    ids=["target", "count", "field"],
)
async def test_beyond_the_limits_is_an_s3_error(gateway: Gateway, request_bytes: bytes, codes: str | None) -> None:
    reply = await gateway.send(request_bytes)
    check_refusal(reply, 400, codes)
    assert reply.get("connection") == "close"
    await gateway.alive()


async def test_a_kept_connection_that_is_idle_is_closed() -> None:
    async with open_gateway(keepalive_timeout=0.3) as gateway, await Client.open(gateway.port) as client:
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        assert (await client.reply()).status == 200
        assert await client.ended()


async def test_a_connection_without_a_word_is_closed() -> None:
    async with open_gateway(head_timeout=0.2) as gateway, await Client.open(gateway.port) as client:
        assert await client.ended()


async def test_a_slow_body_that_keeps_coming_is_no_stall() -> None:
    """The limit is between two pieces, not on the whole."""
    async with open_gateway(body_idle_timeout=0.6) as gateway:
        request = gateway.signed("PUT", "/alpha/k", body=b"x" * 10)
        async with await Client.open(gateway.port) as client:
            await client.send(request.head())
            for _ in range(10):
                await client.send(b"x")
                await asyncio.sleep(0.12)
            assert (await client.reply()).status == 200


# --- answers ----------------------------------------------------------------------------------------------


async def test_date_is_always_there_and_in_form(gateway: Gateway) -> None:
    """SDKs correct their clocks by it."""
    reply = await gateway.send(gateway.request("GET", "/alpha"))
    assert (reply.get("date") or "").endswith(" GMT")
    assert len([name for name, _ in reply.headers if name.lower() == "date"]) == 1


async def test_head_tells_the_length_and_sends_nothing(gateway: Gateway) -> None:
    async with await Client.open(gateway.port) as client:
        await client.send(gateway.signed("HEAD", "/alpha/control").wire())
        reply = await client.reply(head_only=True)
        assert (reply.status, reply.get("content-length")) == (200, "7")
        await client.send(gateway.signed("HEAD", "/alpha/missing").wire())
        assert (await client.reply(head_only=True)).status == 404
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        assert (await client.reply()).body == b"control"


async def test_a_body_longer_than_announced_never_goes_on(gateway: Gateway) -> None:
    """A backend that sends more than it said cannot put an answer of its own into the client's connection."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: e\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    gateway.backend.answer(Answer(raw=evil))
    async with await Client.open(gateway.port) as client:
        await client.send(gateway.signed("GET", "/alpha/k").wire())
        try:
            reply = await client.reply()
            assert reply.body == b"ok" or reply.status == 502
            await client.send(gateway.signed("GET", "/alpha/control").wire())
            assert (await client.reply()).body == b"control"
        except NoReply:
            pass
    await gateway.alive()


async def test_an_upload_without_a_reader_still_answers_half_closed_clients(gateway: Gateway) -> None:
    """A client that says it will send no more still gets its answer."""
    async with await Client.open(gateway.port) as client:
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        client.half_close()
        assert (await client.reply()).body == b"control"
        assert await client.ended()


async def test_draining_lets_requests_finish_and_says_close() -> None:
    gate = asyncio.Event()
    async with open_gateway() as gateway:
        gateway.backend.answer(Answer(200, [("ETag", '"e"')], b"late", gate=gate))
        client = await gateway.connect()
        await client.send(gateway.signed("GET", "/alpha/k").wire())
        await gateway.backend.until(lambda: gateway.backend.requests, "the request")
        shutdown = asyncio.create_task(gateway.listener.shutdown(5.0))
        await asyncio.sleep(0)
        gate.set()
        reply = await client.reply()
        assert (reply.body, reply.get("connection")) == (b"late", "close")
        assert await client.ended()
        await shutdown


async def test_every_request_is_reported_once(gateway: Gateway) -> None:
    for request in (
        gateway.signed("GET", "/alpha/control"),
        gateway.request("GET", "/alpha/control"),
        gateway.signed("GET", "/alpha/none"),
        Request("GET", "/ /", []),
    ):
        await gateway.send(request)
    assert gateway.traces.started == len(gateway.traces.finished) == 4
    assert [trace.status for trace in gateway.traces.finished] == [200, 403, 404, 400]
    assert len({trace.request_id for trace in gateway.traces.finished}) == 4


# --- aiohttp ----------------------------------------------------------------------------------------------


def test_what_the_listener_leans_on_in_aiohttp() -> None:
    """Private names of aiohttp that gateway/connection.py uses. If this fails after an update, read that file anew."""
    protocol = inspect.getsource(web_protocol)
    for name in ("_waiter", "_messages", "_current_request", "_drain_helper", "_lingering_time", "_force_close"):
        assert name in protocol or hasattr(RequestHandler, name), name
    options = inspect.signature(RequestHandler.__init__).parameters
    assert {
        "keepalive_timeout",
        "access_log",
        "max_line_size",
        "max_headers",
        "max_field_size",
        "lingering_time",
        "read_bufsize",
        "auto_decompress",
    } <= set(options)
    assert list(inspect.signature(RequestHandler.handle_error).parameters) == [
        "self",
        "request",
        "status",
        "exc",
        "message",
    ]
    for name in (
        "connection_made",
        "connection_lost",
        "data_received",
        "eof_received",
        "force_close",
        "writing_paused",
    ):
        assert hasattr(RequestHandler, name), name
    for name in ("is_eof", "at_eof", "readany", "set_exception", "exception", "total_bytes"):
        assert hasattr(StreamReader, name), name
    assert isinstance(Sent.prepared, property)
    assert isinstance(web.StreamResponse.prepared, property)
    assert isinstance(web.StreamResponse.keep_alive, property)
    assert Connection.__mro__[1] is RequestHandler
    assert isinstance(LineTooLong(b"line", 1).args[0], bytes)


def test_aiohttp_asks_the_answer_what_we_tell_it() -> None:
    """`Sent` stands for an answer that is on its way: prepare and write_eof are all that is called on it."""
    source = inspect.getsource(RequestHandler.finish_response)
    assert "await prepare_meth(request)" in source
    assert "await resp.write_eof()" in source
    assert "resp.keep_alive" in inspect.getsource(RequestHandler.start)
