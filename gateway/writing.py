"""Answers as they go onto a connection, written straight to its transport.

What we send is decided here byte for byte, and it costs a third of aiohttp's way (H3). A small answer is one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, cast

from gateway.connection import Connection
from gateway.events import Trace
from gateway.messages import Reply

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


class ReplyWriter:
    """Writes replies. `process` is told to clients as the host that answered (x-amz-id-2)."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._date = ("", 0)

    async def write(self, connection: Connection, reply: Reply, trace: Trace, *, http10: bool, keep: bool) -> bool:
        """Send a reply, piece by piece as the client takes it.

        Returns:
            Whether the connection can take another request.

        Raises:
            ConnectionError: the client is gone.
            Exception: whatever the iterator of the body raised, after a part of the answer was sent.
        """
        transport = connection.transport
        if transport is None:
            raise ConnectionResetError
        trace.status = reply.status
        trace.first_byte = asyncio.get_running_loop().time()
        body = reply.body
        length = len(body) if isinstance(body, bytes) and reply.length is None else reply.length
        chunked = length is None and not http10
        keep = keep and (length is not None or chunked)  # else the end of the connection is the end of the answer
        head = self._head(reply, length, trace.request_id, http10=http10, keep=keep)
        if isinstance(body, bytes):
            trace.bytes_out += len(body)
            transport.write(head + body)
            return keep
        transport.write(head)
        await self._stream(connection, body, trace, chunked=chunked)
        if length is not None and trace.bytes_out != length:
            raise EOFError("the backend's body has another length than it announced")
        return keep

    def whole(self, reply: Reply, trace: Trace) -> bytes:
        """A last answer with its body, for a request that could not be read."""
        trace.status = reply.status
        body = reply.body if isinstance(reply.body, bytes) else b""
        return self._head(reply, len(body), trace.request_id, http10=False, keep=False) + body

    def _head(self, reply: Reply, length: int | None, request_id: str, *, http10: bool, keep: bool) -> bytes:
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if reply.status not in (204, 304):
            if length is not None:
                lines.append(f"content-length: {length}")
            elif not http10:
                lines.append("transfer-encoding: chunked")
        lines.append(f"date: {self._http_date()}")
        lines.append("server: Bucketwarden")
        lines.append(f"x-amz-request-id: {request_id}")
        lines.append(f"x-amz-id-2: {self._process}")
        if not keep:
            lines.append("connection: close")
        elif http10:
            lines.append("connection: keep-alive")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")

    async def _stream(self, connection: Connection, body: AsyncIterator[bytes], trace: Trace, *, chunked: bool) -> None:
        async with aclosing(cast(Any, body)) as pieces:
            async for piece in pieces:
                transport = connection.transport
                if transport is None:
                    raise ConnectionResetError
                transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                trace.bytes_out += len(piece)
                if connection.writing_paused:
                    await connection.wait_writable()
        if chunked and connection.transport is not None:
            connection.transport.write(b"0\r\n\r\n")

    def _http_date(self) -> str:
        """The time for `Date`, made once a second; SDKs correct their clocks by it (C26)."""
        second = int(asyncio.get_running_loop().time())
        if self._date[1] != second or not self._date[0]:
            self._date = (f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT", second)
        return self._date[0]
