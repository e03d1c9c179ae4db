"""The least a store can do: takes objects, throws them away, and answers as S3 does; serves objects of zeros.

    python -m bench.stub PORT

The last segment of a path is the size of its object.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE).search
_SIZE = re.compile(rb"[A-Z]+ /[^/ ]+/([0-9]+)[ ?]").match
_STORED = b'HTTP/1.1 200 OK\r\nserver: stub\r\netag: "0123456789abcdef0123456789abcdef"\r\ncontent-length: 0\r\n\r\n'


class Stub(asyncio.BufferedProtocol):
    """One connection; one request after the other, no pipelining."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(1 << 20)
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self._take(nbytes)
            return
        self._head += self._buffer[:nbytes]
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head, rest = self._head[:end], len(self._head) - end
        self._head = b""
        if head.startswith(b"PUT "):
            length = _LENGTH(head)
            self._left = int(length[1]) if length is not None else 0
            self._take(rest)
        else:
            self._serve(head)

    def _take(self, received: int) -> None:
        self._left -= received
        if self._left <= 0 and self._transport is not None:
            self._left = 0
            self._transport.write(_STORED)

    def _serve(self, head: bytes) -> None:
        if self._transport is None:
            return
        size = _SIZE(head)
        if size is None:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        data = bytes(int(size[1]))
        start = b"HTTP/1.1 200 OK\r\ncontent-type: binary/octet-stream\r\ncontent-length: %d\r\n\r\n" % len(data)
        self._transport.write(start + data)


async def _serve_forever(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve_forever(int(sys.argv[1])))
