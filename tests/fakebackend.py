"""A backend that writes down every byte it is sent, and answers as a test tells it.

It reads HTTP by itself and shares no code with the gateway. Without a script it is a tiny object store in memory,
so that a test can first show that the honest request works. `committed` is what matters most: a request counts only
when its last byte arrived, which is when a store would keep what it was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes
from xml.sax.saxutils import escape

PATIENCE = 5.0  # seconds that `until` waits before it says what did not happen


@dataclass
class Seen:
    """One request as it arrived. `complete` is set when its last byte has."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    raw_head: bytes
    connection: Link
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    size: int = 0  # bytes on the wire, head and framing included

    def get(self, name: str) -> str | None:
        """The first value of a header, by lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def key_bytes(self) -> bytes:
        """The object key as a store decodes it."""
        return unquote_to_bytes(self.path.lstrip("/").partition("/")[2])


@dataclass
class Answer:
    """What to send, and how to spoil it.

    Args:
        raw: the answer's bytes, instead of everything above it.
        early: answer when the head of the request is there, and read no more of it.
        gate: wait for this event before the first byte.
        interim: bytes before the answer, such as a 100.
        cut_at: end the connection after that many bytes of the answer's body.
        reset: end connections with RST.
        reset_at: end the connection with RST when that many bytes of the request's body have come; no answer.
        drip: send the answer in pieces of one byte.
        close: end the connection after the answer.
    """

    status: int = 200
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    raw: bytes | None = None
    early: bool = False
    gate: asyncio.Event | None = None
    interim: bytes = b""
    cut_at: int | None = None
    reset: bool = False
    reset_at: int | None = None
    drip: bool = False
    close: bool = False

    def encode(self, *, head_only: bool) -> bytes:
        if self.raw is not None:
            return self.raw
        names = {name.lower() for name, _ in self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers)]
        if not names & {"content-length", "transfer-encoding"} and self.status not in (204, 304):
            lines.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head if head_only else head + self.body


Script = Callable[[Seen], Answer | None]


class FakeBackend:
    """Listens on a free port of 127.0.0.1 from `start` to `stop`."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.requests: list[Seen] = []
        self.received = 0  # bytes, over all connections
        self.script: Script | None = None
        self.buckets: dict[str, dict[bytes, Stored]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.port = 0
        self._server: asyncio.Server | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for link in self.links:
            link.end(reset=True)
        await self.until(lambda: not self.open, "connections to close")

    @property
    def open(self) -> list[Link]:
        return [link for link in self.links if not link.closed]

    @property
    def committed(self) -> list[Seen]:
        """The requests whose last byte arrived."""
        return [seen for seen in self.requests if seen.complete]

    def answer(self, *answers: Answer | None) -> None:
        """Answer the next requests so, in this order, and those after them as a store; None is the store's answer."""
        left = list(answers)
        self.script = lambda _: left.pop(0) if left else None

    def always(self, answer: Answer) -> None:
        self.script = lambda _: answer

    def notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, happened: Callable[[], object], what: str = "it") -> None:
        """Wait until `happened()`, looked at after every byte and every end of a connection."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not happened():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            raise AssertionError(f"the backend waited in vain for {what}") from None

    def put(self, bucket: str, key: str, body: bytes, **headers: str) -> None:
        """Lay an object into the store by hand; header names with `_` for `-`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.buckets.setdefault(bucket, {})[key.encode()] = Stored(body, fields)

    def body_of(self, bucket: str, key: str) -> bytes | None:
        """An object's bytes, or None."""
        stored = self.buckets.get(bucket, {}).get(key.encode())
        return None if stored is None else stored.body


class Link(asyncio.Protocol):
    """One connection from the gateway. `log` holds its bytes in order (its first 4 MiB), `received` counts them all."""

    LOG_LIMIT = 4 << 20

    def __init__(self, backend: FakeBackend) -> None:
        self.log = bytearray()
        self.received = 0
        self.closed = False
        self.lost: Exception | None = None
        self._backend = backend
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._seen: Seen | None = None
        self._left: int | None = 0  # of a body with a length; None for one in chunks
        self._answer: Answer | None = None
        self._deaf = False
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # --- the connection ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        self._backend.links.append(self)
        self._backend.notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.lost = exc
        if self._task is not None:
            self._task.cancel()
        self._backend.notify()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def end(self, *, reset: bool = False) -> None:
        """End the connection: FIN, or RST."""
        if self._transport is None or self.closed:
            return
        if reset:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._backend.received += len(data)
        if len(self.log) < self.LOG_LIMIT:
            self.log += data
        if not self._deaf:
            self._buffer += data
            self._advance()
        self._backend.notify()

    # --- requests ---------------------------------------------------------------------------------------

    def _advance(self) -> None:
        while not self._deaf and self._task is None:
            if self._seen is None:
                if not self._read_head():
                    return
            elif not (self._read_sized() if self._left is not None else self._read_chunk()):
                return

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        raw = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        seen = Seen(method, target, headers, raw, self, size=len(raw))
        self._seen = seen
        self._left = None if seen.get("transfer-encoding") else int(seen.get("content-length") or 0)
        self._backend.requests.append(seen)
        self._answer = self._backend.script(seen) if self._backend.script else None
        if self._answer is not None and self._answer.early:
            self._deaf = True
            self._reply(seen, self._answer)
        elif self._left == 0:
            self._complete()
        return True

    def _read_sized(self) -> bool:
        seen, left = self._seen, self._left
        if seen is None or left is None or not self._buffer:
            return False
        piece = bytes(self._buffer[:left])
        del self._buffer[: len(piece)]
        seen.body += piece
        seen.size += len(piece)
        self._left = left - len(piece)
        if self._cut_short(seen):
            return False
        if self._left == 0:
            self._complete()
        return True

    def _read_chunk(self) -> bool:
        seen = self._seen
        end = self._buffer.find(b"\r\n")
        if seen is None or end < 0:
            return False
        size = int(self._buffer[:end].split(b";")[0], 16)
        if len(self._buffer) < end + 2 + size + 2:
            return False
        seen.body += self._buffer[end + 2 : end + 2 + size]
        seen.size += end + 4 + size
        del self._buffer[: end + 4 + size]
        if self._cut_short(seen):
            return False
        if size == 0:
            self._complete()
        return True

    def _cut_short(self, seen: Seen) -> bool:
        if self._answer is None or self._answer.reset_at is None or len(seen.body) < self._answer.reset_at:
            return False
        self._deaf = True
        self.end(reset=True)
        return True

    def _complete(self) -> None:
        seen = self._seen
        if seen is None:
            return
        answer = self._answer
        if answer is not None and answer.reset_at is not None:
            self.end(reset=True)
            return
        seen.complete = True
        self._seen = None
        self._reply(seen, answer or serve(self._backend, seen))

    # --- answers ----------------------------------------------------------------------------------------

    def _reply(self, seen: Seen, answer: Answer) -> None:
        self._task = asyncio.get_running_loop().create_task(self._send(seen, answer))

    async def _send(self, seen: Seen, answer: Answer) -> None:
        data = answer.encode(head_only=seen.method == "HEAD")
        if answer.interim:
            self._write(answer.interim)
        if answer.gate is not None:
            await answer.gate.wait()
        if answer.cut_at is not None:
            data = data[: data.index(b"\r\n\r\n") + 4 + answer.cut_at]
        if answer.drip:
            for at in range(len(data)):
                self._write(data[at : at + 1])
                await asyncio.sleep(0)
        else:
            view = memoryview(data)
            for at in range(0, len(view), 1 << 18):
                self._write(view[at : at + (1 << 18)])
                await self._writable.wait()
        self._task = None
        if answer.cut_at is not None or answer.close:
            await self._writable.wait()  # an end must not overtake what was sent before it
            self.end(reset=answer.reset)
        elif not self._deaf:
            self._advance()

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


# --- the store --------------------------------------------------------------------------------------------


@dataclass
class Stored:
    """An object: its bytes and the headers it was stored with."""

    body: bytes
    headers: dict[str, str]

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'

    def fields(self) -> list[tuple[str, str]]:
        return [
            ("ETag", self.etag),
            ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"),
            ("Accept-Ranges", "bytes"),
            *(self.headers or {"content-type": "binary/octet-stream"}).items(),
        ]


_KEPT = ("content-type", "content-encoding", "content-language", "content-disposition", "cache-control", "expires")
_XML = [("Content-Type", "application/xml")]


def _error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>m</Message><RequestId>backend-id</RequestId></Error>"
    return Answer(status, _XML, body.encode())


def _document(root: str, inner: str) -> Answer:
    body = f'<?xml version="1.0"?><{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'
    return Answer(200, _XML, body.encode())


def serve(backend: FakeBackend, seen: Seen) -> Answer:
    """The store's answer to a complete request."""
    bucket_name = unquote_to_bytes(seen.path).decode("latin-1").lstrip("/").partition("/")[0]
    key = seen.key_bytes
    if seen.path == "/":
        names = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in backend.buckets)
        return _document("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>")
    if not key:
        return _serve_bucket(backend, seen, bucket_name)
    bucket = backend.buckets.get(bucket_name)
    if bucket is None:
        return _error(404, "NoSuchBucket")
    if "uploadId" in seen.query or "uploads" in seen.query:
        return _serve_upload(backend, seen, bucket_name, bucket, key)
    if seen.method == "PUT":
        return _serve_put(backend, seen, bucket, key)
    if seen.method == "DELETE":
        bucket.pop(key, None)
        return Answer(204)
    stored = bucket.get(key)
    if stored is None:
        return _error(404, "NoSuchKey")
    return _serve_get(seen, stored)


def _serve_get(seen: Seen, stored: Stored) -> Answer:
    fields = stored.fields()
    if seen.get("if-none-match") == stored.etag:
        return Answer(304, fields)
    if seen.get("if-match") not in (None, stored.etag):
        return _error(412, "PreconditionFailed")
    overrides = {n.removeprefix("response-"): v for n, v in seen.query.items() if n.startswith("response-")}
    fields = [(n, v) for n, v in fields if n.lower() not in overrides] + list(overrides.items())
    if (wanted := seen.get("range")) is not None and wanted.startswith("bytes="):
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(end or len(stored.body) - 1), len(stored.body) - 1)
        if first >= len(stored.body):
            return _error(416, "InvalidRange")
        fields.append(("Content-Range", f"bytes {first}-{last}/{len(stored.body)}"))
        return Answer(206, fields, stored.body[first : last + 1])
    if seen.method == "HEAD":
        return Answer(200, [*fields, ("Content-Length", str(len(stored.body)))])
    return Answer(200, fields, stored.body)


def _serve_put(backend: FakeBackend, seen: Seen, bucket: dict[bytes, Stored], key: bytes) -> Answer:
    if (source := seen.get("x-amz-copy-source")) is not None:
        name, _, source_key = unquote_to_bytes(source.partition("?")[0]).lstrip(b"/").partition(b"/")
        found = backend.buckets.get(name.decode(), {}).get(source_key)
        if found is None:
            return _error(404, "NoSuchKey")
        bucket[key] = Stored(found.body, dict(found.headers))
        return _document("CopyObjectResult", f"<ETag>{escape(found.etag)}</ETag>")
    if seen.get("if-none-match") == "*" and key in bucket:
        return _error(412, "PreconditionFailed")
    kept = {n.lower(): v for n, v in seen.headers if n.lower() in _KEPT or n.lower().startswith("x-amz-meta-")}
    bucket[key] = Stored(object_bytes(seen), kept)
    return Answer(200, [("ETag", bucket[key].etag)])


def object_bytes(seen: Seen) -> bytes:
    """The object in a body; takes an unsigned aws-chunked stream apart."""
    body = bytes(seen.body)
    if not (seen.get("x-amz-content-sha256") or "").startswith("STREAMING-"):
        return body
    parts = []
    while True:
        line, _, body = body.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[:size])
        body = body[size + 2 :]


def _serve_upload(
    backend: FakeBackend, seen: Seen, bucket_name: str, bucket: dict[bytes, Stored], key: bytes
) -> Answer:
    named = f"<Bucket>{bucket_name}</Bucket><Key>{escape(key.decode('utf-8', 'replace'))}</Key>"
    if "uploads" in seen.query:
        upload = f"upload-{len(backend.uploads) + 1}"
        backend.uploads[upload] = {}
        return _document("InitiateMultipartUploadResult", f"{named}<UploadId>{upload}</UploadId>")
    parts = backend.uploads.get(seen.query["uploadId"])
    if parts is None:
        return _error(404, "NoSuchUpload")
    if seen.method == "PUT":
        data = object_bytes(seen)
        parts[int(seen.query["partNumber"])] = data
        return Answer(200, [("ETag", Stored(data, {}).etag)])
    if seen.method == "POST":
        bucket[key] = Stored(b"".join(parts[number] for number in sorted(parts)), {})
        del backend.uploads[seen.query["uploadId"]]
        location = f"<Location>http://backend.internal/{bucket_name}/k</Location>"
        return _document("CompleteMultipartUploadResult", f"{location}{named}<ETag>&quot;x-1&quot;</ETag>")
    if seen.method == "DELETE":
        del backend.uploads[seen.query["uploadId"]]
        return Answer(204)
    owner = "<ID>backend-account</ID><DisplayName>backend-root</DisplayName>"
    listed = "".join(f"<Part><PartNumber>{number}</PartNumber></Part>" for number in sorted(parts))
    return _document("ListPartsResult", f"{named}<Owner>{owner}</Owner>{listed}")


def _serve_bucket(backend: FakeBackend, seen: Seen, name: str) -> Answer:
    bucket = backend.buckets.get(name)
    if seen.method == "PUT":
        backend.buckets.setdefault(name, {})
        return Answer(200, [("Location", f"/{name}")])
    if bucket is None:
        return _error(404, "NoSuchBucket")
    if seen.method == "HEAD":
        return Answer(200)
    if seen.method == "DELETE":
        if bucket:
            return _error(409, "BucketNotEmpty")
        del backend.buckets[name]
        return Answer(204)
    if seen.method == "POST":
        gone = [html.unescape(key) for key in re.findall(r"<Key>([^<]*)</Key>", seen.body.decode())]
        for key in gone:
            bucket.pop(key.encode(), None)
        return _document("DeleteResult", "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in gone))
    if "uploads" in seen.query:
        return _document("ListMultipartUploadsResult", f"<Bucket>{name}</Bucket>")
    prefix = seen.query.get("prefix", "").encode("utf-8")
    found = "".join(
        f"<Contents><Key>{quote_from_bytes(key, safe='/')}</Key><ETag>{escape(stored.etag)}</ETag>"
        f"<Size>{len(stored.body)}</Size><Owner><ID>backend-account</ID></Owner></Contents>"
        for key, stored in sorted(bucket.items())
        if key.startswith(prefix)
    )
    return _document("ListBucketResult", f"<Name>{name}</Name><EncodingType>url</EncodingType>{found}")
