"""The S3 listener: takes requests off connections, has them served, and sends the answers or refusals.

aiohttp's low-level server reads HTTP/1.1 (hardened parser, keep-alive, TLS, drain); no router and no middleware stand
between a connection and `serve`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.web_request import BaseRequest

from gateway.connection import LINGER_SECONDS, Connection, Sent, end_early
from gateway.errors import S3Error
from gateway.events import Observer, Trace
from gateway.messages import Headers, Reply, RequestHead
from gateway.reading import FrontBody, check_framing, peer_of, read_head
from gateway.s3.xml import render_error
from gateway.writing import ReplyWriter

DRAIN_LIMIT = 64 * 1024  # bytes of an unread body that a refused client may still send on a kept connection
MAX_LINE = 32 * 1024
MAX_HEADERS = 256
READ_BUFFER = 64 * 1024  # bytes; aiohttp holds up to twice this of a body that we do not take (and one read more)
CANCEL_SECONDS = 0.1  # what a handler gets to end that was cancelled when the grace was over
TICK = 0.5

# After these the place where a next request begins is in doubt, and so is all else on the connection.
_CLOSING_REASONS = frozenset({"malformed_http", "malformed_body", "client_gone", "client_stalled", "internal_error"})

Serve = Callable[[RequestHead, FrontBody, Trace], Awaitable[Reply]]

log = structlog.get_logger()


class S3Listener:
    """Serves S3 requests with `serve` and reports each to `observer`."""

    def __init__(
        self,
        serve: Serve,
        observer: Observer,
        *,
        header_limit: int = 2 * MAX_LINE,
        keepalive_timeout: float = 75.0,
        body_idle_timeout: float = 30.0,
        head_timeout: float = 15.0,
    ) -> None:
        self._serve = serve
        self._observer = observer
        self.body_idle_timeout = body_idle_timeout
        self.head_timeout = head_timeout
        self.header_limit = header_limit
        self.connections: set[Connection] = set()
        self.draining = False
        self._process = secrets.token_hex(6).upper()
        self._ids = itertools.count(1)
        self._writer = ReplyWriter(self._process)
        self._timer: asyncio.TimerHandle | None = None
        self._server = web.Server(self._handle, handler_cancellation=True)
        self._options: dict[str, Any] = {
            "auto_decompress": False,  # S-T7: what was signed is what is stored
            "access_log": None,
            "read_bufsize": READ_BUFFER,
            "keepalive_timeout": keepalive_timeout,
            "lingering_time": LINGER_SECONDS,
            "max_line_size": MAX_LINE,
            "max_field_size": MAX_LINE,
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
        """Let requests in flight finish for `grace` seconds, then break off the rest.

        Not aiohttp's way, which takes no more bytes from the first moment on: no upload in flight would ever finish.
        """
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            await asyncio.wait([connection.closed for connection in self.connections], timeout=grace)
        await self._server.shutdown(CANCEL_SECONDS)
        if self._timer is not None:
            self._timer.cancel()

    # --- one request -----------------------------------------------------------------------------------

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        head = read_head(request)
        trace = self._trace(head)
        body = FrontBody(request, head, trace, connection)
        if connection.half_closed:
            end_early(request.content)
        connection.trace = trace
        self._observer.request_started()
        keep = False
        try:
            reply = await self._reply(head, body, trace)
            may_keep = self._may_keep(request, body, trace)
            keep = await self._writer.write(connection, reply, trace, http10=head.http10, keep=may_keep)
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
        keep = keep and not connection.half_closed and request.content.exception() is None
        # Who is refused in the middle of a body is told the end at once, and its rest read for a moment.
        return Sent(keep_alive=keep, then=connection.linger if body.unread and not keep else None)

    async def _reply(self, head: RequestHead, body: FrontBody, trace: Trace) -> Reply:
        try:
            check_framing(head)
            return await self._serve(head, body, trace)
        except S3Error as error:
            return self._refusal(error, head.path, trace, bodiless=head.method == "HEAD")
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("request_failed", request_id=trace.request_id)
            bug = S3Error("InternalError", reason="internal_error", detail=f"a bug: {type(error).__name__}")
            return self._refusal(bug, head.path, trace, bodiless=head.method == "HEAD")

    def _trace(self, head: RequestHead) -> Trace:
        return Trace(
            request_id=f"{self._process}{next(self._ids):08X}",
            method=head.method,
            host=(head.headers.get("host") or "")[:256],
            peer=head.peer,
            user_agent=(head.headers.get("user-agent") or "")[:256],
            started=asyncio.get_running_loop().time(),
        )

    def _refusal(self, error: S3Error, resource: str, trace: Trace, *, bodiless: bool) -> Reply:
        trace.error_code = error.code
        trace.reason = error.reason
        trace.detail = error.detail
        if error.status == 304:
            return Reply(304)
        document = render_error(error, resource, trace.request_id, self._process)
        headers = [("content-type", "application/xml")]
        if error.code == "MethodNotAllowed":
            headers.append(("allow", "GET, HEAD, PUT, POST, DELETE"))
        if error.retry_after is not None:
            headers.append(("retry-after", str(error.retry_after)))
        return Reply(error.status, headers, b"" if bodiless else document, len(document))

    def _may_keep(self, request: BaseRequest, body: FrontBody, trace: Trace) -> bool:
        """Whether another request may follow: what is left of a body is drained if it is little, else we close."""
        if self.draining or not request.keep_alive or cast(Connection, request.protocol).half_closed:
            return False
        if trace.reason in _CLOSING_REASONS:
            return False
        if not body.unread:
            return True
        return body.length is not None and body.length <= DRAIN_LIMIT and not body.waits_for_continue

    def refuse_unparsed(self, connection: Connection, error: S3Error) -> None:
        """Answer a request that never became one."""
        trace = self._trace(RequestHead("", "", "", Headers(()), peer=peer_of(connection)))
        self._observer.request_started()
        if connection.transport is not None:
            reply = self._refusal(error, "", trace, bodiless=False)
            connection.transport.write(self._writer.whole(reply, trace))
        trace.finished = asyncio.get_running_loop().time()
        self._observer.request_finished(trace)
