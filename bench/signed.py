"""Requests that can be sent again and again: signed once, their bodies framed once and kept in files."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from awscrt.checksums import crc64nvme
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.sigv4.chunked import ChunkSigner
from gateway.sigv4.framing import TrailerFraming
from gateway.sigv4.scope import Scope, derive_signing_key
from gateway.sigv4.sign import Credential, sign

BUCKET = "bench"
SIGNED_CHUNK = 64 * 1024  # bytes; the smallest that clients use (minio-go), so the dearest to check
_WEEK = 604_800  # seconds


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it goes on the wire. `headers` lacks Host and Content-Length; `body` is a file, framing included."""

    host: str
    port: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: Path | None = None

    def head(self) -> bytes:
        """Request line and header fields, with the empty line."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body is not None:
            lines.append(f"content-length: {self.body.stat().st_size}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class Framing(Enum):
    """How a client sends its body; the value is how the table calls it."""

    UNSIGNED = "unsigned"
    HEX = "hex hash"
    SIGNED_CHUNKS = "streaming-signed, 64 KiB chunks"
    TRAILER_CRC32 = "unsigned trailer, crc32"
    TRAILER_CRC64NVME = "unsigned trailer, crc64nvme"


_LITERALS = {
    Framing.UNSIGNED: "UNSIGNED-PAYLOAD",
    Framing.SIGNED_CHUNKS: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    Framing.TRAILER_CRC32: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    Framing.TRAILER_CRC64NVME: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}


def object_path(size: int) -> str:
    """The path of the object with `size` bytes."""
    return f"/{BUCKET}/{size}"


def write_object(path: Path, size: int) -> Path:
    """A file of `size` bytes that are neither random nor all the same."""
    block = bytes(range(256)) * 4096
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
    return path


class Signer:
    """One key at one listener; makes requests for objects and uploads of the file `plain`."""

    def __init__(self, credential: Credential, host: str, port: int) -> None:
        self._credential = credential
        self._host = host
        self._port = port

    def get(self, size: int) -> Request:
        """Read an object; signed in the header, good for 15 minutes."""
        fields, _ = self._sign("GET", size, hashlib.sha256().hexdigest(), [])
        return Request(self._host, self._port, "GET", object_path(size), fields)

    def presigned(self, method: str, size: int, body: Path | None = None) -> Request:
        """The same by a URL that is good for a week; what it uploads is not signed."""
        url = f"http://{self._host}:{self._port}"
        request = AWSRequest(method, f"{url}{object_path(size)}")
        credential = self._credential
        S3SigV4QueryAuth(
            Credentials(credential.access_key_id, credential.secret_access_key), "s3", credential.region, _WEEK
        ).add_auth(request)
        return Request(self._host, self._port, method, request.url.removeprefix(url), body=body)

    def put(self, framing: Framing, plain: Path) -> Request:
        """Upload `plain`; good for 15 minutes. What framing adds goes into a file beside it."""
        size = plain.stat().st_size
        if framing is Framing.HEX:
            with plain.open("rb") as file:
                literal = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            literal = _LITERALS[framing]
        more = []
        if framing not in (Framing.UNSIGNED, Framing.HEX):
            more += [("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", str(size))]
        trailer = {
            Framing.TRAILER_CRC32: "x-amz-checksum-crc32",
            Framing.TRAILER_CRC64NVME: "x-amz-checksum-crc64nvme",
        }.get(framing)
        if trailer is not None:
            more.append(("x-amz-trailer", trailer))
        fields, timestamp = self._sign("PUT", size, literal, more)
        body = plain
        if framing is Framing.SIGNED_CHUNKS:
            body = _write(plain, f"{self._port}.signed", self._signed_chunks(plain, dict(fields), timestamp))
        elif trailer is not None:
            body = _write(plain, trailer, _with_trailer(plain, trailer))
        return Request(self._host, self._port, "PUT", object_path(size), fields, body)

    def _sign(
        self, method: str, size: int, literal: str, more: list[tuple[str, str]]
    ) -> tuple[tuple[tuple[str, str], ...], str]:
        timestamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        _, fields = sign(
            self._credential,
            method=method,
            path=object_path(size),
            parameters=[],
            headers=[("host", f"{self._host}:{self._port}"), *more],
            payload=literal,
            timestamp=timestamp,
        )
        return tuple(field for field in fields if field[0] != "host"), timestamp

    def _signed_chunks(self, plain: Path, fields: dict[str, str], timestamp: str) -> Iterator[bytes]:
        credential = self._credential
        scope = Scope(timestamp[:8], credential.region)
        seed = fields["authorization"].rpartition("=")[2]
        signer = ChunkSigner(derive_signing_key(credential.secret_access_key, scope), timestamp, str(scope), seed)
        with plain.open("rb") as file:
            while True:
                data = file.read(SIGNED_CHUNK)
                signature = signer.chunk(hashlib.sha256(data).hexdigest())
                yield b"%x;chunk-signature=%b\r\n%b\r\n" % (len(data), signature.encode(), data)
                if not data:
                    return


def _with_trailer(plain: Path, trailer: str) -> Iterator[bytes | memoryview]:
    """Chunks of 1 MiB, as botocore makes them."""
    function, width = (zlib.crc32, 4) if trailer.endswith("crc32") else (crc64nvme, 8)
    framing = TrailerFraming(plain.stat().st_size, trailer)
    value = 0
    with plain.open("rb") as file:
        while data := file.read(1 << 20):
            value = function(data, value)
            yield from framing.frame(data)
    yield framing.end(base64.b64encode(value.to_bytes(width, "big")).decode())


def _write(plain: Path, suffix: str, parts: Iterator[bytes | memoryview] | Iterator[bytes]) -> Path:
    path = plain.with_name(f"{plain.name}.{suffix}")
    with path.open("wb") as file:
        file.writelines(parts)
    return path
