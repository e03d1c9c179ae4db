"""The backend's side: a lean HTTP/1.1 client with a keep-alive pool.

Ours and not aiohttp's, because what was signed must be what is sent: no re-quoting, no added header, no redirect, no
hidden retry (S-T16 to S-T21), and because it costs a third (H3). llhttp, through httptools, reads the answers.

Who closes what: a connection belongs to one exchange from `acquire` until its answer is complete and its request
was sent to the end; only then it goes back. In every other case it is closed and never used again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

import httptools

HIGH_WATER = 256 * 1024  # bytes of an answer held for a slow client before we stop reading
LOW_WATER = 64 * 1024
WRITE_BUFFER = 256 * 1024
IDLE_SECONDS = 20.0  # a kept connection older than this is not used again; stores close theirs later
TICK = 0.5
MAX_HEAD = 256 * 1024


class UpstreamError(Exception):
    """The backend could not be asked, or its answer cannot be trusted.

    `reason` is one of connect, timeout, tls, reset, protocol, busy; `sent` tells whether a byte may have arrived.
    """

    def __init__(self, reason: str, detail: str = "", *, sent: bool = True) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Times in seconds, none of them for the whole transfer; counts of connections."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    connections: int = 256
    idle_connections: int = 64


class UpstreamReply:
    """An answer: status and headers (names lower-case, wire text), and the body as it comes."""

    __slots__ = ("_buffered", "_complete", "_connection", "_error", "_pieces", "_waiter", "headers", "status")

    def __init__(self, connection: _Connection, status: int, headers: list[tuple[str, str]]) -> None:
        self.status = status
        self.headers = headers
        self._connection: _Connection | None = connection
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._complete = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: str) -> str | None:
        """The first value of `name` (lower-case)."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def complete(self) -> bool:
        """Whether the whole body is here already."""
        return self._complete

    async def read(self) -> bytes:
        """The next bytes of the body; b"" after the last one.

        Raises:
            UpstreamError: if the body broke off, after the bytes that came before.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._complete:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        if self._buffered < LOW_WATER and self._connection is not None:
            self._connection.resume()
        return piece

    async def read_all(self, limit: int) -> bytes:
        """At most `limit` bytes of the body; the rest is given up together with the connection."""
        parts = []
        size = 0
        while size < limit and (piece := await self.read()):
            parts.append(piece)
            size += len(piece)
        return b"".join(parts)[:limit]

    def close(self) -> None:
        """Give up what has not been read. Harmless after the end."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def feed(self, piece: bytes) -> int:
        """Take body bytes from the connection; returns how many are waiting."""
        self._pieces.append(piece)
        self._buffered += len(piece)
        self._wake()
        return self._buffered

    def end(self, error: UpstreamError | None = None) -> None:
        """The body is complete, or broke off with `error`. The connection may serve others from now on."""
        self._complete = error is None
        self._error = error
        self._connection = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection to the backend; serves one exchange at a time."""

    def __init__(self, pool: Upstream) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._paused_reading = False
        self._drained: asyncio.Future[None] | None = None
        self._paused_writing = False
        self._head_only = False
        self._keep = False
        self._sent_all = False
        self._cut_short = False
        self._headers: list[tuple[str, str]] = []
        self._head_size = 0
        self._reply: UpstreamReply | None = None
        self._answer: asyncio.Future[UpstreamReply] | None = None
        self.deadline: float | None = None
        self.idle_since = 0.0
        self.used = False

    # --- one exchange ----------------------------------------------------------------------------------

    def begin(self, *, head_only: bool) -> asyncio.Future[UpstreamReply]:
        """Expect an answer; `head_only` for HEAD, whose answer announces a body that does not come."""
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = head_only
        self._keep = False
        self._sent_all = False
        self._reply = None
        self._answer = self._loop.create_future()
        return self._answer

    def write(self, data: bytes | memoryview) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self, seconds: float) -> None:
        """Wait until the backend takes more; a stall of `seconds` ends the connection."""
        if self._paused_writing:
            self.deadline = self._loop.time() + seconds
            self._drained = self._loop.create_future()
            await self._drained
            self.deadline = None

    def sent(self, *, whole: bool) -> None:
        """No more of the request will be written; unless it was the whole, the connection is not used again."""
        self._sent_all = True
        self._cut_short = not whole
        self._settle()

    def abort(self) -> None:
        """Break off, so that the backend keeps nothing of an unfinished request."""
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        if self._paused_reading and self._transport is not None:
            self._paused_reading = False
            self.deadline = self._loop.time() + self._pool.limits.idle
            self._transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Whether an idle connection may be used for another request."""
        return self._transport is not None and not self._transport.is_closing()

    def _settle(self) -> None:
        """Return to the pool once both directions are done, or close."""
        if self._parser is not None or self._reply is not None or not self._sent_all:
            return
        self.resume()  # an answer's last bytes may have paused the reading, and the next exchange needs it
        self.deadline = None
        if self._keep and not self._cut_short and self.usable and not self._paused_writing:
            self._pool.release(self)
        else:
            self.abort()

    def _fail(self, error: UpstreamError) -> None:
        self._parser = None
        self._keep = False
        if self._reply is not None:
            reply, self._reply = self._reply, None
            reply.end(error)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # it may be that nobody waits any more; that is no error of its own
        if self._transport is not None:
            self._transport.abort()

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = None
        self._fail(UpstreamError("timeout"))

    # --- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(UpstreamError("reset", type(exc).__name__ if exc else "closed by the backend"))
        self.resume_writing()
        self._pool.forget(self)

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            self.abort()  # bytes that nobody asked for
            return
        if self.deadline is not None:
            self.deadline = self._loop.time() + self._pool.limits.idle
        if self._reply is None:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._fail(UpstreamError("protocol", "the answer's head is too long"))
                return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            self._fail(UpstreamError("protocol", type(error).__name__))
            return
        # Only now, so that whoever waits for the head of a small answer finds its body there too.
        if self._reply is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._reply)
        if self._parser is None and self._reply is not None:
            reply, self._reply = self._reply, None
            reply.end()
            self._settle()

    # --- httptools callbacks ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._headers = []
        self._head_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None or self._reply is not None:
            raise ValueError("an answer behind the answer")
        status = parser.get_status_code()
        if status < 200:
            return
        framed = self._head_only or status in (204, 304) or self._is_framed()
        if not framed:
            # Its end would be the connection's end, and a cut-off body would look like a whole one.
            raise ValueError("an answer without a length")
        self._keep = parser.should_keep_alive()
        self._reply = UpstreamReply(self, status, self._headers)
        if self._head_only:
            self._parser = None

    def _is_framed(self) -> bool:
        lengths = [value for name, value in self._headers if name == "content-length"]
        codings = [value for name, value in self._headers if name == "transfer-encoding"]
        if (lengths and codings) or len(lengths) > 1 or len(codings) > 1:
            raise ValueError("an answer with two lengths")
        if codings and codings[0].strip().lower() != "chunked":
            raise ValueError("an answer in a coding that has no end of its own")
        return bool(lengths or codings)

    def on_body(self, body: bytes) -> None:
        if self._parser is None or self._reply is None:
            raise ValueError("a body that should not be")
        if self._reply.feed(body) > HIGH_WATER and not self._paused_reading and self._transport is not None:
            self._paused_reading = True
            self.deadline = None  # the client is slow, not the backend
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._reply is not None:
            self._parser = None


class Upstream:
    """A pool of connections to one backend.

    Last in, first out: the fewest connections stay warm, the rest age and are closed.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, limits: UpstreamLimits) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self.limits = limits
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.opened = 0

    async def exchange(
        self,
        head: bytes,
        body: bytes | AsyncGenerator[bytes | memoryview, None] = b"",
        *,
        head_only: bool = False,
        repeatable: bool = False,
        first_byte: float | None = None,
    ) -> UpstreamReply:
        """Send one request and return its answer as soon as the head of that is there.

        Args:
            head: request line and header fields, with the empty line.
            body: whole, or an iterator; if the iterator raises, the request is broken off and the exception goes on.
            head_only: the method is HEAD.
            repeatable: may be sent once more if a kept connection turns out dead before any byte of an answer.
            first_byte: seconds to wait for the head of the answer, counted from the end of the request.

        Raises:
            UpstreamError: and then the backend holds nothing that was not complete.
        """
        patience = self.limits.first_byte if first_byte is None else first_byte
        if not isinstance(body, bytes):
            async with aclosing(body) as pieces:
                # SeaweedFS keeps an empty part of an upload that breaks off behind its head. So nothing is sent, and
                # no connection is held, before there is something to send.
                first = await anext(pieces, b"")
                connection = await self._acquire()
                return await self._stream_on(connection, head, first, pieces, head_only, patience)
        connection = await self._acquire()
        try:
            return await self._send_on(connection, head + body, head_only, patience)
        except UpstreamError as error:
            dead_when_used = connection.used and error.reason == "reset"
            if not (repeatable and dead_when_used):
                raise
        connection = await self._open()
        return await self._send_on(connection, head + body, head_only, patience)

    async def _send_on(
        self, connection: _Connection, request: bytes, head_only: bool, patience: float
    ) -> UpstreamReply:
        answer = connection.begin(head_only=head_only)
        try:
            connection.write(request)
            connection.sent(whole=True)
            connection.deadline = asyncio.get_running_loop().time() + patience
            return await answer
        except BaseException:
            connection.abort()
            raise

    async def _stream_on(
        self,
        connection: _Connection,
        head: bytes,
        first: bytes | memoryview,
        rest: AsyncGenerator[bytes | memoryview, None],
        head_only: bool,
        patience: float,
    ) -> UpstreamReply:
        answer = connection.begin(head_only=head_only)
        try:
            connection.write(head)
            connection.write(first)
            whole = True
            async for piece in rest:
                if answer.done():
                    whole = False  # the backend has made up its mind; it will not read the rest
                    break
                connection.write(piece)
                await connection.drain(self.limits.idle)
            connection.sent(whole=whole)
            connection.deadline = asyncio.get_running_loop().time() + patience
            return await answer
        except BaseException:
            connection.abort()
            raise

    # --- the pool --------------------------------------------------------------------------------------

    async def _acquire(self) -> _Connection:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    connection.used = True
                    return connection
            if len(self._all) + self._opening < self.limits.connections:
                return await self._open()
            await self._wait_for_place()

    async def _wait_for_place(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self.limits.connect):
                await place
        except TimeoutError:
            raise UpstreamError("busy", "every connection is in use", sent=False) from None

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        self._opening += 1
        try:
            async with asyncio.timeout(self.limits.connect):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self), self._host, self._port, ssl=self._tls
                )
        except ssl.SSLError as error:
            raise UpstreamError("tls", error.reason or "", sent=False) from None
        except (OSError, TimeoutError) as error:
            raise UpstreamError("connect", type(error).__name__, sent=False) from None
        finally:
            self._opening -= 1
        self.opened += 1
        self._all.add(connection)
        if self._timer is None:
            self._timer = loop.call_later(TICK, self._tick)
        return connection

    def release(self, connection: _Connection) -> None:
        """Take a connection back whose exchange is over in both directions."""
        connection.idle_since = asyncio.get_running_loop().time()
        if len(self._idle) < self.limits.idle_connections:
            self._idle.append(connection)
        else:
            connection.abort()
        self._admit()

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _tick(self) -> None:
        """One coarse timer for every deadline: a timer per request costs more than the rest of it (H5)."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._all):
            if connection.deadline is not None and now >= connection.deadline:
                connection.expire()
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.pop(0).abort()
        self._timer = loop.call_later(TICK, self._tick) if self._all else None

    async def close(self) -> None:
        """Close every connection, also those in use."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._all):
            connection.abort()
