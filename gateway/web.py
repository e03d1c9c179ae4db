"""The S3 listener: bytes into `RequestHead` and `Body`, `Reply` or `S3Error` into bytes.

aiohttp's low-level server reads HTTP/1.1 (hardened parser, keep-alive, TLS, drain); answers are written straight to the
transport, because what we send is decided byte for byte and because it is three times cheaper (H3). What leans on
aiohttp 3.14's inside is all in `Connection` and `_Sent`; tests/gateway/test_web.py fails when that changes.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any, cast

import structlog
from aiohttp import ClientConnectionError, HttpVersion10, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong, TransferEncodingError
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from gateway.errors import S3Error
from gateway.events import Observer, Trace
from gateway.messages import Headers, Reply, RequestHead
from gateway.s3.xml import render_error

DRAIN_LIMIT = 64 * 1024  # bytes of an unread body that a refused client may still send on a kept connection
LINGER_SECONDS = 3.0
_END_OF_HEAD = b"\r\n\r\n"
MAX_LINE = 32 * 1024
MAX_HEADERS = 256
TICK = 0.5

_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    206: "Partial Content",
    303: "See Other",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

# After these the place where a next request begins is in doubt, and so is all else on the connection.
_CLOSING_REASONS = frozenset({"malformed_http", "malformed_body", "client_gone", "client_stalled", "internal_error"})

Serve = Callable[[RequestHead, "FrontBody", Trace], Awaitable[Reply]]

log = structlog.get_logger()


class FrontBody:
    """`messages.Body` over aiohttp's payload stream."""

    def __init__(self, request: BaseRequest, head: RequestHead, trace: Trace, connection: Connection) -> None:
        self._content: StreamReader = request.content
        self._connection = connection
        self._trace = trace
        self.length = request.content_length
        self.chunked = "transfer-encoding" in head.headers
        self._wants_continue = not head.http10 and (head.headers.get("expect") or "").lower() == "100-continue"

    @property
    def waits_for_continue(self) -> bool:
        """Whether the client holds its body back for a "100 Continue" that it did not get."""
        return self._wants_continue and not self._content.is_eof()

    async def read(self) -> bytes:
        if self._wants_continue:
            # Only now: whoever reads has authenticated and authorized the request (HTP-227).
            self._wants_continue = False
            if not self._content.is_eof() and self._connection.transport is not None:
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._connection.expect_bytes()
        try:
            data = await self._content.readany()
        except TransferEncodingError:
            raise S3Error("IncompleteBody", "The request body is not well-formed.", reason="malformed_body") from None
        except (ClientConnectionError, HttpProcessingError, web.RequestPayloadError) as error:
            self._trace.disconnected = "request"
            raise S3Error(
                "IncompleteBody", reason="client_gone", detail=f"the body broke off: {type(error).__name__}"
            ) from None
        finally:
            self._connection.expect_nothing()
        self._trace.bytes_in += len(data)
        return data

    @property
    def unread(self) -> bool:
        """Whether bytes of the body are still to come."""
        return not self._content.at_eof()


class Connection(RequestHandler):
    """aiohttp's connection with our time limits and our words for its refusals."""

    __slots__ = (
        "_body_deadline",
        "_head_deadline",
        "_lingering",
        "_listener",
        "_write_deadline",
        "half_closed",
        "trace",
    )

    def __init__(self, listener: S3Listener, server: web.Server, **kwargs: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **kwargs)
        self._listener = listener
        self._head_deadline: float | None = None
        self._body_deadline: float | None = None
        self._write_deadline: float | None = None
        self._lingering: asyncio.Future[None] | None = None
        self.half_closed = False
        self.trace: Trace | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_deadline = self._loop.time() + self._listener.head_timeout
        self._listener.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._listener.connections.discard(self)
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for a bool, aiohttp never answers
        """The client will send no more. It may still wait for its answer, so the connection is not closed yet."""
        self.half_closed = True
        if self._current_request is None and not self._messages:
            return False
        payloads = [payload for _, payload in self._messages]
        if self._current_request is not None:
            payloads.append(self._current_request.content)
        for payload in payloads:
            if not payload.is_eof():
                payload.set_exception(ClientConnectionError("the body ends early"))
        return True

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            return
        idle = self._waiter is not None and not self._messages
        if idle:
            # A head by itself first: if what follows it is no HTTP, the parser would drop the head with it, and its
            # sender would not learn what is wrong with it (STR-063).
            end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            if len(_END_OF_HEAD) <= end < len(data):
                super().data_received(data[:end])
                data = data[end:]
        super().data_received(data)
        if self._messages:
            self._head_deadline = None
        elif idle and self._head_deadline is None and data:
            # The first bytes of a head on a kept connection: the rest has to follow soon (DOS-241).
            self._head_deadline = self._loop.time() + self._listener.head_timeout

    async def wait_writable(self) -> None:
        """Wait until the client takes more; it has the idle time for it (DOS-243)."""
        self._write_deadline = self._loop.time() + self._listener.body_idle_timeout
        try:
            await self._drain_helper()
        finally:
            self._write_deadline = None

    async def linger(self) -> None:
        """Read on for a moment after a last answer: a close with unread bytes would reset it away from the client."""
        if self.transport is None:
            return
        self._lingering = self._loop.create_future()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._lingering

    def expect_bytes(self) -> None:
        """Someone waits for body bytes; the idle limit runs."""
        self._body_deadline = self._loop.time() + self._listener.body_idle_timeout

    def expect_nothing(self) -> None:
        """Nobody waits for the client."""
        self._body_deadline = None

    def cut(self, access_key_id: str) -> bool:
        """End the request in flight if it was made with this key: 403 while its body comes, else the connection."""
        trace, request = self.trace, self._current_request
        if trace is None or request is None or trace.access_key_id != access_key_id:
            return False
        trace.reason = "revoked"
        if trace.first_byte is None and not request.content.is_eof():
            request.content.set_exception(S3Error("InvalidAccessKeyId", reason="revoked", AWSAccessKeyId=access_key_id))
        elif self.transport is not None:
            self.transport.abort()
        return True

    def check_deadlines(self, now: float) -> None:
        """Called twice a second for every connection: one timer for all costs nothing per request (H5)."""
        if self._head_deadline is not None and now >= self._head_deadline:
            self.force_close()
        elif self._write_deadline is not None and now >= self._write_deadline and self.transport is not None:
            self.transport.abort()
        elif self._body_deadline is not None and now >= self._body_deadline and self._current_request is not None:
            self._body_deadline = None
            self._current_request.content.set_exception(
                S3Error("RequestTimeout", reason="client_stalled", detail="no body bytes within the idle time")
            )

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser or a bug of ours refuses, in S3's words and echoing nothing (S-T12, LOG-296)."""
        if status >= 500:
            log.error("unhandled", error=type(exc).__name__ if exc else None, exc_info=exc)
            error = S3Error("InternalError", reason="internal_error")
        elif isinstance(exc, LineTooLong):
            in_target = bytes(exc.args[0])[:1] == b"/"
            error = S3Error("InvalidURI" if in_target else "RequestHeaderSectionTooLarge", reason="malformed_http")
        elif "too many" in (message or "").lower():
            error = S3Error("RequestHeaderSectionTooLarge", reason="malformed_http")
        else:
            error = S3Error("BadRequest", reason="malformed_http", detail=type(exc).__name__ if exc else None)
        self._listener.refuse_unparsed(self, error)
        return _Sent(keep_alive=False, then=self.linger)


class _Sent(web.StreamResponse):
    """Tells aiohttp that the answer is on its way already."""

    def __init__(self, *, keep_alive: bool, then: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__()
        self._keep = keep_alive
        self._then = then

    @property
    def keep_alive(self) -> bool | None:
        return self._keep

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        if self._then is not None:
            await self._then()


class S3Listener:
    """Serves S3 requests with `serve` and reports each to `observer`."""

    def __init__(
        self,
        serve: Serve,
        observer: Observer,
        *,
        header_limit: int = MAX_LINE,
        keepalive_timeout: float = 75.0,
        body_idle_timeout: float = 30.0,
        head_timeout: float = 15.0,
    ) -> None:
        self._serve = serve
        self._observer = observer
        self.body_idle_timeout = body_idle_timeout
        self.head_timeout = head_timeout
        self.connections: set[Connection] = set()
        self.draining = False
        self._process = secrets.token_hex(6).upper()
        self._ids = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._date = ("", 0)
        self._server = web.Server(self._handle, handler_cancellation=True)
        self._options: dict[str, Any] = {
            "auto_decompress": False,  # S-T7: what was signed is what is stored
            "access_log": None,
            "keepalive_timeout": keepalive_timeout,
            "lingering_time": LINGER_SECONDS,
            "max_line_size": MAX_LINE,
            "max_field_size": min(header_limit, MAX_LINE),
            "max_headers": MAX_HEADERS,
        }

    def __call__(self) -> Connection:
        """Protocol factory for `loop.create_server`."""
        if self._timer is None:
            self._tick()
        return Connection(self, self._server, **self._options)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.connections):
            connection.check_deadlines(now)
        self._timer = loop.call_later(TICK, self._tick)

    def cut(self, access_key_id: str) -> int:
        """Break off what is in flight with a key that was revoked; returns how many requests."""
        return sum(connection.cut(access_key_id) for connection in list(self.connections))

    async def shutdown(self, grace: float) -> None:
        """Let requests in flight finish for `grace` seconds, then break off the rest."""
        self.draining = True
        self._server.pre_shutdown()
        await self._server.shutdown(grace)
        if self._timer is not None:
            self._timer.cancel()

    # --- one request -----------------------------------------------------------------------------------

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        head = read_head(request)
        trace = self._trace(head)
        body = FrontBody(request, head, trace, connection)
        connection.trace = trace
        self._observer.request_started()
        keep = False
        try:
            reply = await self._reply(head, body, trace)
            keep = self._may_keep(request, body, trace)
            await self._write(connection, head, reply, trace, keep=keep)
        except asyncio.CancelledError:
            trace.disconnected = trace.disconnected or "response"
            raise
        except ConnectionError:
            keep = False
            trace.disconnected = "response"
        except Exception as error:  # noqa: BLE001  whatever it was, the client must see that this is no end
            # A half-written answer must not look like a whole one: break the connection (S-T10).
            keep = False
            if connection.transport is not None:
                connection.transport.abort()
            trace.reason = trace.reason or "backend_error"
            trace.detail = trace.detail or f"{type(error).__name__} while answering"
            log.warning("answer_broken_off", request_id=trace.request_id, error=f"{type(error).__name__}: {error}")
        finally:
            connection.trace = None
            trace.finished = asyncio.get_running_loop().time()
            self._observer.request_finished(trace)
        return _Sent(keep_alive=keep)

    async def _reply(self, head: RequestHead, body: FrontBody, trace: Trace) -> Reply:
        try:
            check_framing(head)
            return await self._serve(head, body, trace)
        except S3Error as error:
            return self._refusal(error, head, trace)
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("request_failed", request_id=trace.request_id)
            detail = f"a bug: {type(error).__name__}"
            return self._refusal(S3Error("InternalError", reason="internal_error", detail=detail), head, trace)

    def _trace(self, head: RequestHead) -> Trace:
        return Trace(
            request_id=f"{self._process}{next(self._ids):08X}",
            method=head.method,
            host=(head.headers.get("host") or "")[:256],
            peer=head.peer,
            user_agent=(head.headers.get("user-agent") or "")[:256],
            started=asyncio.get_running_loop().time(),
        )

    def _refusal(self, error: S3Error, head: RequestHead, trace: Trace) -> Reply:
        trace.error_code = error.code
        trace.reason = error.reason
        trace.detail = error.detail
        if error.status == 304:
            return Reply(304)
        document = render_error(error, head.path, trace.request_id, self._process)
        headers = [("content-type", "application/xml")]
        if error.code == "MethodNotAllowed":
            headers.append(("allow", "GET, HEAD, PUT, POST, DELETE"))
        if error.retry_after is not None:
            headers.append(("retry-after", str(error.retry_after)))
        return Reply(error.status, headers, b"" if head.method == "HEAD" else document, len(document))

    def _may_keep(self, request: BaseRequest, body: FrontBody, trace: Trace) -> bool:
        """Whether another request may follow: what is left of a body is drained if it is little, else we close."""
        if self.draining or not request.keep_alive or cast(Connection, request.protocol).half_closed:
            return False
        if trace.reason in _CLOSING_REASONS:
            return False
        if not body.unread:
            return True
        return body.length is not None and body.length <= DRAIN_LIMIT and not body.waits_for_continue

    async def _write(
        self, connection: Connection, head: RequestHead, reply: Reply, trace: Trace, *, keep: bool
    ) -> None:
        transport = connection.transport
        if transport is None:
            raise ConnectionResetError
        trace.status = reply.status
        trace.first_byte = asyncio.get_running_loop().time()
        chunked = reply.length is None and not isinstance(reply.body, bytes)
        if chunked and head.http10:
            keep = False
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if chunked:
            if not head.http10:
                lines.append("transfer-encoding: chunked")
        elif reply.status not in (204, 304):
            lines.append(f"content-length: {len(reply.body) if reply.length is None else reply.length}")  # type: ignore[arg-type]
        lines += [
            f"date: {self._http_date()}",
            "server: Bucketwarden",
            f"x-amz-request-id: {trace.request_id}",
            f"x-amz-id-2: {self._process}",
            f"connection: {'keep-alive' if keep else 'close'}" if head.http10 or not keep else "",
        ]
        start = "\r\n".join([line for line in lines if line]).encode("latin-1") + b"\r\n\r\n"
        if isinstance(reply.body, bytes):
            trace.bytes_out += len(reply.body)
            transport.write(start + reply.body)
            return
        transport.write(start)
        await self._stream(connection, reply.body, trace, reply.length, chunked=chunked and not head.http10)

    async def _stream(
        self,
        connection: Connection,
        body: AsyncIterator[bytes],
        trace: Trace,
        length: int | None,
        *,
        chunked: bool,
    ) -> None:
        async with aclosing(cast(Any, body)) as pieces:
            async for piece in pieces:
                transport = connection.transport
                if transport is None:
                    raise ConnectionResetError
                transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                trace.bytes_out += len(piece)
                if connection.writing_paused:
                    await connection.wait_writable()
        if length is not None and trace.bytes_out != length:
            raise EOFError("the backend's body has another length than it announced")
        if chunked and connection.transport is not None:
            connection.transport.write(b"0\r\n\r\n")

    def refuse_unparsed(self, connection: Connection, error: S3Error) -> None:
        """Answer a request that never became one."""
        trace = Trace(
            request_id=f"{self._process}{next(self._ids):08X}",
            method="",
            host="",
            peer=_peer(connection),
            user_agent="",
            started=asyncio.get_running_loop().time(),
        )
        head = RequestHead("", "", "", Headers(()))
        reply = self._refusal(error, head, trace)
        self._observer.request_started()
        if connection.transport is not None and isinstance(reply.body, bytes):
            start = (
                f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}\r\ncontent-type: application/xml\r\n"
                f"content-length: {len(reply.body)}\r\ndate: {self._http_date()}\r\nserver: Bucketwarden\r\n"
                f"x-amz-request-id: {trace.request_id}\r\nconnection: close\r\n\r\n"
            )
            connection.transport.write(start.encode("latin-1") + reply.body)
        trace.status = reply.status
        trace.finished = asyncio.get_running_loop().time()
        self._observer.request_finished(trace)

    def _http_date(self) -> str:
        """The time for `Date`, made once a second; SDKs correct their clocks by it (C26)."""
        second = int(asyncio.get_running_loop().time())
        if self._date[1] != second or not self._date[0]:
            self._date = (f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT", second)
        return self._date[0]


def check_framing(head: RequestHead) -> None:
    """Refuse what the parser lets through although it has two readings (class HTP).

    Raises:
        S3Error: MethodNotAllowed for CONNECT and TRACE, BadRequest for a transfer coding that is not plain chunked.
    """
    if head.method in ("CONNECT", "TRACE"):
        raise S3Error("MethodNotAllowed", reason="malformed_http", Method=head.method, ResourceType="SERVICE")
    codings = head.headers.all("transfer-encoding")
    if codings and (head.http10 or [coding.strip(" \t").lower() for coding in codings] != ["chunked"]):
        raise S3Error("BadRequest", "The transfer coding is not supported.", reason="malformed_http")


def _peer(connection: Connection) -> str:
    peer = connection.peername
    return str(peer[0]) if isinstance(peer, tuple) else str(peer or "")


def read_head(request: BaseRequest) -> RequestHead:
    """The request as received: raw target, raw header bytes (S-T1, S-T5).

    An absolute-form target, as HAProxy passes it on, is taken apart; its authority must be the Host (S-T2, D21).
    """
    target = request.raw_path
    headers = Headers(
        [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.raw_headers]
    )
    if not target.startswith("/") and "://" in target:
        authority, slash, rest = target.partition("://")[2].partition("/")
        if (
            target.lower().startswith(("http://", "https://"))
            and authority.lower() == (headers.get("host") or "").lower()
        ):
            target = slash + rest or "/"
    path, _, query = target.encode("utf-8", "surrogateescape").decode("latin-1").partition("?")
    return RequestHead(
        method=request.method,
        path=path,
        query=query,
        headers=headers,
        http10=request.version <= HttpVersion10,
        peer=_peer(cast(Connection, request.protocol)),
    )
