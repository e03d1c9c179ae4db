"""aiohttp's connection, with our time limits and our words for its refusals.

Everything that leans on the inside of aiohttp 3.14 is in this file; tests/gateway/test_web.py fails when that changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import structlog
from aiohttp import ClientConnectionError, StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from gateway.errors import S3Error
from gateway.events import Trace

LINGER_SECONDS = 3.0
_END_OF_HEAD = b"\r\n\r\n"

log = structlog.get_logger()


class Owner(Protocol):
    """What a connection asks of its listener. Times in seconds, `header_limit` in bytes of a whole head."""

    header_limit: int
    head_timeout: float
    body_idle_timeout: float
    connections: set[Connection]

    def refuse_unparsed(self, connection: Connection, error: S3Error) -> None:
        """Answer a request that never became one."""


class Connection(RequestHandler):
    """aiohttp's connection with our time limits and our words for its refusals."""

    __slots__ = (
        "_body_deadline",
        "_head_bytes",
        "_head_deadline",
        "_lingering",
        "_owner",
        "_write_deadline",
        "closed",
        "half_closed",
        "trace",
    )

    def __init__(self, owner: Owner, server: web.Server, **kwargs: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **kwargs)
        self._owner = owner
        self._head_deadline: float | None = None
        self._body_deadline: float | None = None
        self._write_deadline: float | None = None
        self._lingering: asyncio.Future[None] | None = None
        self.half_closed = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._head_bytes = 0  # of a head that is not complete
        self.trace: Trace | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_deadline = self._loop.time() + self._owner.head_timeout
        self._owner.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._owner.connections.discard(self)
        self.closed.set_result(None)
        self._stop_lingering()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for a bool, aiohttp never answers
        """The client will send no more. It may still wait for its answer, so the connection is not closed yet."""
        self.half_closed = True
        self._stop_lingering()
        if self._is_idle:
            return False
        for _, payload in self._messages:
            end_early(payload)
        # A request that was taken from the queue and whose task has not begun is in neither; see `S3Listener._handle`.
        if self._current_request is not None:
            end_early(self._current_request.content)
        return self.ssl_context is None  # TLS has no half-close to honour

    @property
    def _is_idle(self) -> bool:
        """Whether aiohttp waits for a request, and none has come."""
        return self._waiter is not None and not self._messages

    def close_if_idle(self) -> None:
        """Close unless a request is being served; while the listener drains that one is the connection's last."""
        if self._is_idle:
            self.force_close()

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            return
        idle = self._is_idle
        if idle:
            # A head by itself first: if what follows it is no HTTP, the parser would drop the head with it, and its
            # sender would not learn what is wrong with it (STR-063).
            end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            if end > self._owner.header_limit:
                self._refuse_head()
                return
            if len(_END_OF_HEAD) <= end < len(data):
                super().data_received(data[:end])
                data = data[end:]
        super().data_received(data)
        if self._messages:
            self._head_deadline = None
            self._head_bytes = 0
        elif idle and data:
            self._head_bytes += len(data)
            if self._head_bytes > self._owner.header_limit:
                self._refuse_head()
            elif self._head_deadline is None:
                # The first bytes of a head on a kept connection: the rest has to follow soon (DOS-241).
                self._head_deadline = self._loop.time() + self._owner.head_timeout

    def _refuse_head(self) -> None:
        """The parser limits every line and their number; this limits the whole (DOS-245)."""
        self._owner.refuse_unparsed(self, S3Error("RequestHeaderSectionTooLarge", reason="malformed_http"))
        self._lingering = self._loop.create_future()
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self.force_close)

    async def wait_writable(self) -> None:
        """Wait until the client takes more; it has the idle time for it (DOS-243)."""
        self._write_deadline = self._loop.time() + self._owner.body_idle_timeout
        try:
            await self._drain_helper()
        finally:
            self._write_deadline = None

    async def linger(self) -> None:
        """Read on for a moment after a last answer: a close with unread bytes would reset it away from the client."""
        # aiohttp's own lingering finds the exception that ended the body, and logs it as a bug.
        self._lingering_time = 0.0
        if self.transport is None or self.half_closed:
            return
        self._lingering = self._loop.create_future()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if not self.transport.is_reading():  # what nobody reads any more may have filled aiohttp's buffer
            self.transport.resume_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._lingering
        self.force_close()

    def _stop_lingering(self) -> None:
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    def expect_bytes(self) -> None:
        """Someone waits for body bytes; the idle limit runs."""
        self._body_deadline = self._loop.time() + self._owner.body_idle_timeout

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
        self._owner.refuse_unparsed(self, error)
        return Sent(keep_alive=False, then=self.linger)


class Sent(web.StreamResponse):
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


def end_early(payload: StreamReader) -> None:
    """The client will send no more: what has not come of this body will not come."""
    if not payload.is_eof():
        payload.set_exception(ClientConnectionError("the body ends early"))
