"""A TCP proxy that notes how each request in passing is signed and framed, and changes nothing.

It reads only request heads; bodies are counted, not kept. With a TLS context on either side it ends TLS and
begins it anew, so that what a client does over HTTPS can be seen too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

_MAX_HEAD = 128 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """One request head. `headers` has lower-cased names; of a repeated header the values are joined."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def presigned(self) -> bool:
        return "X-Amz-Signature=" in self.query

    @property
    def operation(self) -> str:
        """PutObject, UploadPart, or the bare method: as much as the table of modes needs."""
        if self.method != "PUT" or "x-amz-copy-source" in self.headers:
            return self.method
        return "UploadPart" if "partNumber=" in self.query else "PutObject"

    @property
    def payload(self) -> str:
        """The literal of x-amz-content-sha256, or `hex` for a hash, or `none`."""
        value = self.headers.get("x-amz-content-sha256", "none")
        return "hex" if len(value) == 64 and value.islower() else value

    @property
    def checksums(self) -> str:
        """The algorithms of the checksums sent: `crc32` in a header, `+crc32` in a trailer."""
        inline = [name.removeprefix("x-amz-checksum-") for name in self.headers if _is_checksum(name)]
        trailing = ["+" + name.strip().removeprefix("x-amz-checksum-") for name in self._list("x-amz-trailer")]
        digest = ["md5"] if "content-md5" in self.headers else []
        return " ".join(sorted(inline) + sorted(trailing) + digest)

    @property
    def framing(self) -> str:
        """How the end of the body is told: `length`, `chunked` or `none`."""
        if "transfer-encoding" in self.headers:
            return "chunked"
        return "length" if "content-length" in self.headers else "none"

    @property
    def expects_continue(self) -> bool:
        return self.headers.get("expect", "").lower() == "100-continue"

    def _list(self, name: str) -> list[str]:
        return [item for item in self.headers.get(name, "").split(",") if item]


def _is_checksum(name: str) -> bool:
    about = ("mode", "algorithm", "type")
    return name.startswith("x-amz-checksum-") and not name.endswith(about)


class Recorder:
    """Listens on 127.0.0.1:`port` and passes everything on to 127.0.0.1:`upstream`.

    `requests` grows while clients talk. `front` and `back` are the TLS contexts towards client and server.
    """

    def __init__(self, upstream: int, front: ssl.SSLContext | None = None, back: ssl.SSLContext | None = None) -> None:
        self.requests: list[Seen] = []
        self.port = 0
        self._upstream, self._front, self._back = upstream, front, back
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)

    def __enter__(self) -> Recorder:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._front)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        # A connection that was being accepted may begin its task while the others end.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.CancelledError):
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._upstream, ssl=self._back)
            try:
                watch = HeadReader(self.requests.append)
                await asyncio.gather(
                    _pump(reader, back_writer, watch.feed),
                    _pump(back_reader, writer, lambda _: None),
                )
            finally:
                back_writer.close()
                writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, watch: Callable[[bytes], None]) -> None:
    try:
        while data := await source.read(256 * 1024):
            watch(data)
            target.write(data)
            await target.drain()
    except (OSError, ssl.SSLError):
        target.close()
        return
    if target.can_write_eof():
        target.write_eof()
    else:
        target.close()  # TLS knows no half-closed connection


class HeadReader:
    """Finds the request heads in a stream that comes in any pieces, and hands each to `found`."""

    def __init__(self, found: Callable[[Seen], None]) -> None:
        self._found = found
        self._buffer = bytearray()
        self._step: Callable[[], bool] = self._head
        self._left = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and self._step():
            pass

    def _head(self) -> bool:
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            assert len(self._buffer) < _MAX_HEAD, "this is not HTTP"
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        method, target, _ = first.split(" ", 2)
        self._found(Seen(method, target, headers))
        if headers.get("transfer-encoding", "").lower() == "chunked":
            self._step = self._chunk_size
        elif self._begin_body(int(headers.get("content-length", "0"))):
            self._step = self._body
        return True

    def _begin_body(self, length: int) -> bool:
        self._left = length
        return length > 0

    def _body(self) -> bool:
        if self._skip():
            self._step = self._head
        return True

    def _chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = int(line.partition(b";")[0], 16)
        self._left = size + 2
        self._step = self._chunk if size else self._trailer
        return True

    def _chunk(self) -> bool:
        if self._skip():
            self._step = self._chunk_size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if not line:
            self._step = self._head
        return True

    def _skip(self) -> bool:
        taken = min(self._left, len(self._buffer))
        del self._buffer[:taken]
        self._left -= taken
        return self._left == 0

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line
