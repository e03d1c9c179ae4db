"""HTTP and SigV4 by hand: a raw-socket client, and a signer with a knob for everything that can be wrong.

Written from the published rules and sharing no code with the gateway. A `Request` is what goes on the wire, line by
line, so a test can spoil one thing after everything else was signed correctly.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_from_bytes, unquote_to_bytes

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)  # the time in every test that does not set another
REGION = "us-east-1"
ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
MODES = ("hex", UNSIGNED, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER)
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
PATIENCE = 5.0


@dataclass(frozen=True)
class Key:
    """An access key as its holder has it."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Seal:
    """What a signature was made with; a chunked body goes on from it."""

    signing_key: bytes
    signature: str
    timestamp: str
    scope: str


@dataclass
class Request:
    """A request as it will stand on the wire. Text is latin-1: one character, one byte."""

    method: str
    target: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    version: str = "HTTP/1.1"
    seal: Seal | None = None

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def set(self, name: str, value: str) -> Request:
        """Put one value in the place of all of that name."""
        self.drop(name)
        self.headers.append((name, value))
        return self

    def add(self, name: str, value: str) -> Request:
        self.headers.append((name, value))
        return self

    def drop(self, name: str) -> Request:
        self.headers = [(key, value) for key, value in self.headers if key.lower() != name.lower()]
        return self

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def head(self) -> bytes:
        lines = [f"{self.method} {self.target} {self.version}", *(f"{n}: {v}" for n, v in self.headers)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def wire(self) -> bytes:
        return self.head() + self.body


# --- canonical forms --------------------------------------------------------------------------------------


def encode(text: str | bytes, safe: str = "") -> str:
    """AWS's UriEncode."""
    return quote_from_bytes(text.encode("latin-1") if isinstance(text, str) else text, safe="-._~" + safe)


def path_of(bucket: str, key: str = "") -> str:
    """A path-style path for a key of any text (UTF-8)."""
    return f"/{bucket}/{encode(key.encode(), '/')}" if key else f"/{bucket}"


def canonical_path(path: str) -> str:
    return encode(unquote_to_bytes(path.encode("latin-1")), "/") or "/"


def canonical_query(query: str, without: str = "") -> str:
    pairs = []
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if piece and name != without:
            name, value = (unquote_to_bytes(text.replace("+", " ").encode("latin-1")) for text in (name, value))  # type: ignore[assignment]
            pairs.append((encode(name), encode(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def fold(value: str) -> str:
    return re.sub(r"[ \t]+", " ", value.strip(" \t"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def md5(data: bytes) -> str:
    """Content-MD5's text."""
    return b64(hashlib.md5(data, usedforsecurity=False).digest())


def crc32(data: bytes) -> str:
    """The text of x-amz-checksum-crc32."""
    return b64(struct.pack(">I", zlib.crc32(data)))


def hmac256(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("latin-1"), hashlib.sha256).digest()


def derive(secret: str, scope: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac256(key, part)
    return key


def timestamp(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def http_date(moment: datetime) -> str:
    return f"{moment:%a, %d %b %Y %H:%M:%S} GMT"


# --- signing ----------------------------------------------------------------------------------------------

# Fields that the connection may change, or that come after the signature.
_LEFT_OUT = frozenset({"authorization", "connection", "content-length", "expect", "transfer-encoding", "user-agent"})


def _canonical_request(
    request: Request, names: Sequence[str], payload: str, *, without: str = "", path: str | None = None
) -> str:
    lines = [request.method, canonical_path(request.path) if path is None else path]
    lines.append(canonical_query(request.query, without))
    for name in names:
        values = [fold(value) for key, value in request.headers if key.lower() == name]
        lines.append(f"{name}:{','.join(values)}")
    return "\n".join([*lines, "", ";".join(names), payload])


def sign(
    key: Key,
    request: Request,
    *,
    payload: str | None = None,
    when: datetime = NOW,
    region: str = REGION,
    scope: str | None = None,
    names: Sequence[str] | None = None,
    unsigned: Iterable[str] = (),
    date: str | None = "x-amz-date",
    hash_header: bool = True,
    path: str | None = None,
    access_key_id: str | None = None,
) -> Request:
    """Sign in the Authorization header; every argument bends one thing.

    Args:
        payload: the text of x-amz-content-sha256; by default the hash of the body.
        scope: the whole scope, instead of the one of `when` and `region`.
        names: SignedHeaders, instead of all that may be signed but `unsigned`.
        date: which header to put the time in: x-amz-date, Date, or None.
        path: the canonical path to sign, instead of the right one.
        access_key_id: the id to show, instead of the key's.
    """
    stamp = timestamp(when)
    scope = f"{when:%Y%m%d}/{region}/s3/aws4_request" if scope is None else scope
    payload = sha256(request.body) if payload is None else payload
    if date == "x-amz-date":
        request.set(date, stamp)
    elif date is not None:
        request.set(date, http_date(when))
    if hash_header:
        request.set("x-amz-content-sha256", payload)
    if names is None:
        names = sorted({name.lower() for name, _ in request.headers} - _LEFT_OUT - set(unsigned))
    canonical = _canonical_request(request, names, payload, path=path)
    signing_key = derive(key.secret, scope)
    signature = hmac256(signing_key, "\n".join([ALGORITHM, stamp, scope, sha256(canonical.encode("latin-1"))])).hex()
    request.seal = Seal(signing_key, signature, stamp, scope)
    credential = f"{access_key_id or key.id}/{scope}"
    return request.add(
        "Authorization",
        f"{ALGORITHM} Credential={credential}, SignedHeaders={';'.join(names)}, Signature={signature}",
    )


def with_signature(request: Request, signature: str) -> Request:
    """The same request with another signature in its Authorization header."""
    value = request.get("authorization") or ""
    return request.set("Authorization", re.sub(r"Signature=.*", f"Signature={signature}", value))


def presign(
    key: Key,
    request: Request,
    *,
    expires: str | None = "300",
    when: datetime = NOW,
    region: str = REGION,
    payload: str = UNSIGNED,
    access_key_id: str | None = None,
    leave_out: Iterable[str] = (),
    names: Sequence[str] | None = None,
    query: str = "",
) -> Request:
    """Sign in the query: the headers that the request has now are signed, what is added later is not.

    Args:
        expires: X-Amz-Expires, already percent-encoded as it is to stand there; None for none.
        leave_out: names of authentication parameters that are left out.
        query: further parameters as they shall stand, before the others.
    """
    stamp = timestamp(when)
    scope = f"{when:%Y%m%d}/{region}/s3/aws4_request"
    if names is None:
        names = sorted({name.lower() for name, _ in request.headers} - _LEFT_OUT)
    parameters = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": encode(f"{access_key_id or key.id}/{scope}"),
        "X-Amz-Date": stamp,
        "X-Amz-Expires": expires,
        "X-Amz-SignedHeaders": encode(";".join(names)),
    }
    pieces = [piece for piece in (request.query, query) if piece]
    pieces += [f"{n}={v}" for n, v in parameters.items() if v is not None and n not in leave_out]
    request.target = f"{request.path}?{'&'.join(pieces)}"
    canonical = _canonical_request(request, names, payload)
    signing_key = derive(key.secret, scope)
    signature = hmac256(signing_key, "\n".join([ALGORITHM, stamp, scope, sha256(canonical.encode("latin-1"))])).hex()
    request.seal = Seal(signing_key, signature, stamp, scope)
    if "X-Amz-Signature" not in leave_out:
        request.target += f"&X-Amz-Signature={signature}"
    return request


# --- aws-chunked ------------------------------------------------------------------------------------------


@dataclass
class Chunk:
    """One chunk, with every piece of its text open to change."""

    data: bytes
    size: str
    signature: str | None = None
    extension: str = ";chunk-signature="
    line_end: bytes = b"\r\n"
    data_end: bytes = b"\r\n"

    def wire(self) -> bytes:
        head = self.size + (self.extension + self.signature if self.signature is not None else "")
        return head.encode("latin-1") + self.line_end + (self.data + self.data_end if self.data else b"")


@dataclass
class Chunked:
    """An aws-chunked body: its chunks (the empty last one among them), its trailers and their signature."""

    chunks: list[Chunk]
    trailers: list[tuple[str, str]] = field(default_factory=list)
    trailer_signature: str | None = None
    end: bytes = b"\r\n"

    def wire(self) -> bytes:
        lines = [f"{name}:{value}\r\n" for name, value in self.trailers]
        if self.trailer_signature is not None:
            lines.append(f"x-amz-trailer-signature:{self.trailer_signature}\r\n")
        return b"".join(chunk.wire() for chunk in self.chunks) + "".join(lines).encode("latin-1") + self.end


def chunked(seal: Seal, mode: str, pieces: Iterable[bytes], trailers: Iterable[tuple[str, str]] = ()) -> Chunked:
    """The right aws-chunked body for a sealed request."""
    body = Chunked([], list(trailers))
    previous = seal.signature
    signed = mode in (SIGNED_CHUNKS, SIGNED_TRAILER)
    for piece in [*pieces, b""]:
        signature = None
        if signed:
            text = ["AWS4-HMAC-SHA256-PAYLOAD", seal.timestamp, seal.scope, previous, EMPTY_SHA256, sha256(piece)]
            signature = previous = hmac256(seal.signing_key, "\n".join(text)).hex()
        body.chunks.append(Chunk(piece, f"{len(piece):x}", signature))
    if mode == SIGNED_TRAILER:
        body.trailer_signature = sign_trailer(seal, previous, body.trailers)
    return body


def sign_trailer(seal: Seal, previous: str, trailers: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"{name.lower()}:{value.strip()}\n" for name, value in sorted(trailers))
    text = ["AWS4-HMAC-SHA256-TRAILER", seal.timestamp, seal.scope, previous, sha256(lines.encode("latin-1"))]
    return hmac256(seal.signing_key, "\n".join(text)).hex()


def upload(
    key: Key,
    request: Request,
    mode: str,
    data: bytes,
    *,
    chunk: int = 64 * 1024,
    decoded_length: str | None = "",
    trailer: tuple[str, str] | str | None = "",
    te: bool = False,
    length: bool = True,
    presigned: bool = False,
    when: datetime = NOW,
) -> tuple[Request, Chunked | None]:
    """A signed upload of `data` in a mode; returns the request and, for streaming modes, its body to spoil.

    After changing the body call `reframe`. `decoded_length` and `trailer` are by default the right ones; None leaves
    them out.
    """
    if not mode.startswith("STREAMING-"):
        request.body = data
        payload = sha256(data) if mode == "hex" else mode
        if presigned:
            presign(key, request.set("x-amz-content-sha256", payload), payload=payload, when=when)
        else:
            sign(key, request, payload=payload, when=when)
        return reframe(request, None, te=te, length=length), None
    if decoded_length is not None:
        request.set("x-amz-decoded-content-length", decoded_length or str(len(data)))
    trailers: list[tuple[str, str]] = []
    if mode in (SIGNED_TRAILER, UNSIGNED_TRAILER) and trailer is not None:
        trailers = [("x-amz-checksum-crc32", crc32(data)) if isinstance(trailer, str) else trailer]
        request.set("x-amz-trailer", trailers[0][0])
    request.set("Content-Encoding", "aws-chunked")
    if presigned:
        request.set("x-amz-content-sha256", mode)
        presign(key, request, payload=mode, when=when)
    else:
        sign(key, request, payload=mode, when=when)
    assert request.seal is not None
    body = chunked(request.seal, mode, [data[at : at + chunk] for at in range(0, len(data), chunk)], trailers)
    return reframe(request, body, te=te, length=length), body


def reframe(request: Request, body: Chunked | None, *, te: bool = False, length: bool = True) -> Request:
    """Put the (changed) body into the request, with the framing that fits it."""
    if body is not None:
        request.body = body.wire()
    request.drop("content-length").drop("transfer-encoding")
    if te:
        request.set("Transfer-Encoding", "chunked")
        request.body = http_chunks(request.body)
    elif length:
        request.set("Content-Length", str(len(request.body)))
    return request


def http_chunks(data: bytes, size: int = 7000) -> bytes:
    """The HTTP/1.1 chunked coding of a body."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# --- browser forms ----------------------------------------------------------------------------------------


def policy(
    conditions: Sequence[object], expiration: str | None = f"{NOW + timedelta(hours=1):%Y-%m-%dT%H:%M:%S.000Z}"
) -> str:
    """A POST policy as it stands in the form: base64 of its JSON."""
    document: dict[str, object] = {"conditions": list(conditions)}
    if expiration is not None:
        document["expiration"] = expiration
    return b64(json.dumps(document).encode())


def form_fields(key: Key, policy_text: str, *, when: datetime = NOW, region: str = REGION) -> dict[str, str]:
    """The five authentication fields of a browser form."""
    scope = f"{when:%Y%m%d}/{region}/s3/aws4_request"
    return {
        "policy": policy_text,
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{key.id}/{scope}",
        "x-amz-date": timestamp(when),
        "x-amz-signature": hmac256(derive(key.secret, scope), policy_text).hex(),
    }


def form(
    target: str,
    fields: Iterable[tuple[str, str]],
    file: bytes | None,
    *,
    host: str,
    after: Iterable[tuple[str, str]] = (),
    filename: str = "name.txt",
    boundary: str = "BoUnDaRy",
    content_type: str | None = None,
    te: bool = False,
) -> Request:
    """A multipart/form-data request; `after` are fields behind the file."""

    def part(name: str, value: bytes, extra: str = "") -> bytes:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        return head.encode("latin-1") + value + b"\r\n"

    body = b"".join(part(name, value.encode("latin-1")) for name, value in fields)
    if file is not None:
        body += part("file", file, f'; filename="{filename}"\r\nContent-Type: text/plain')
    body += b"".join(part(name, value.encode("latin-1")) for name, value in after)
    body += f"--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}" if content_type is None else content_type
    request = Request("POST", target, [("Host", host), ("Content-Type", kind)], body)
    return reframe(request, None, te=te)


# --- the connection ---------------------------------------------------------------------------------------


@dataclass
class Reply:
    """An answer as it came. `complete` is false if the connection ended before it did."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = True
    interim: list[int] = field(default_factory=list)
    raw_head: bytes = b""

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def element(self, name: str) -> str | None:
        """The text of the first XML element of this name."""
        match = re.search(rb"<%b>(.*?)</%b>" % (name.encode(), name.encode()), self.body, re.DOTALL)
        return match[1].decode() if match else None

    @property
    def code(self) -> str | None:
        return self.element("Code")

    def __str__(self) -> str:
        return f"{self.status} {self.code or ''} {self.element('Message') or ''}".strip()


class NoReply(Exception):
    """The connection ended, or nothing came, where an answer was expected."""


class Client:
    """A socket that sends what it is told and reads one answer at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self.received = 0

    @classmethod
    async def open(cls, port: int, *, receive_buffer: int | None = None) -> Client:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(sock)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def try_send(self, data: bytes) -> bool:
        """Send; False if the other side had ended the connection before all was taken."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.send(data)
        except (OSError, TimeoutError):
            return False
        return True

    def half_close(self) -> None:
        """FIN: nothing more will be sent."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()

    async def more(self) -> bytes:
        """What comes next; b"" at the end of the connection, however it ended."""
        try:
            async with asyncio.timeout(PATIENCE):
                data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 18)
        except ConnectionError:
            data = b""
        except TimeoutError:
            raise NoReply("nothing came") from None
        self.received += len(data)
        return data

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            data = await self.more()
            if not data:
                raise NoReply(f"the connection ended after {self._buffer[:200]!r}")
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(mark)
        return head

    async def reply(self, *, head_only: bool = False) -> Reply:
        """The next final answer.

        Raises:
            NoReply: if there is none.
        """
        interim = []
        while True:
            raw = await self._until(b"\r\n\r\n")
            first, *lines = raw.decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            if status >= 200:
                break
            interim.append(status)
        headers = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]
        answer = Reply(status, headers, interim=interim, raw_head=raw)
        length, coding = answer.get("content-length"), answer.get("transfer-encoding")
        assert length is None or coding is None, "an answer with two lengths"
        if head_only or status in (204, 304):
            return answer
        try:
            if coding is not None:
                await self._read_chunks(answer)
            elif length is not None:
                await self._read_length(answer, int(length))
            else:
                while data := self._buffer or await self.more():
                    answer.body += data
                    self._buffer = b""
        except NoReply:
            answer.complete = False
        return answer

    async def _read_length(self, answer: Reply, length: int) -> None:
        while len(self._buffer) < length:
            data = await self.more()
            if not data:
                answer.body, self._buffer = self._buffer, b""
                raise NoReply
            self._buffer += data
        answer.body, self._buffer = self._buffer[:length], self._buffer[length:]

    async def _read_chunks(self, answer: Reply) -> None:
        while True:
            size = int(await self._until(b"\r\n"), 16)
            while len(self._buffer) < size + 2:
                data = await self.more()
                if not data:
                    raise NoReply
                self._buffer += data
            answer.body += self._buffer[:size]
            assert self._buffer[size : size + 2] == b"\r\n", "a broken chunk"
            self._buffer = self._buffer[size + 2 :]
            if size == 0:
                return

    async def ended(self) -> bool:
        """Whether the gateway ends the connection now, with nothing more said."""
        try:
            return not self._buffer and not await self.more()
        except NoReply:
            return False
