"""The aws-chunked body, taken apart and verified while it passes (K1 to K9, K12).

    body    = *( chunk ) last [ trailer ] CRLF
    chunk   = size [ ";chunk-signature=" 64HEX ] CRLF data CRLF
    last    = "0"  [ ";chunk-signature=" 64HEX ] CRLF
    trailer = 1*( name ":" value [LF] CRLF ) [ "x-amz-trailer-signature:" 64HEX CRLF ]

Nothing is collected but the line that is being read, and lines are bounded; a size is only counted down.
What `feed` returns is therefore *not yet vouched for*: a chunk's signature can be checked at its end, the
trailer at the end of the body. Whoever passes the bytes on must hold back at least the last one until
`finish` has returned (K15).
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum, auto

from gateway.errors import S3Error
from gateway.sigv4.compare import same_signature
from gateway.sigv4.payload import EMPTY_SHA256
from gateway.sigv4.scope import hex_signature

MINIMUM_CHUNK = 8192  # bytes, of all chunks but the last; AWS asks it of unsigned streams too (K7)
TRAILER_SIGNATURE = "x-amz-trailer-signature"

# The longest header that the grammar allows: 16 digits, the extension's name, 64 digits (K8).
_HEADER_LIMIT = 16 + len(";chunk-signature=") + 64
_TRAILER_LIMIT = 1024  # bytes, all trailer lines together (K8); a SHA-512 with its signature needs 212

_UNSIGNED_HEADER = re.compile(rb"([0-9A-Fa-f]{1,16})").fullmatch
_SIGNED_HEADER = re.compile(rb"([0-9A-Fa-f]{1,16});chunk-signature=(.*)", re.DOTALL).fullmatch
# The LF that minio-go writes after the value (K2) is the only one allowed, and is in no signature.
_TRAILER_LINE = re.compile(rb"([A-Za-z0-9-]+)[ \t]*:[ \t]*([\x21-\x7e]*)[ \t]*\n?").fullmatch


class ChunkSigner:
    """The chain of signatures over one body: each link signs the one before it (K3 to K6).

    Args:
        signing_key: 32 bytes, of the seed's date, region and service.
        timestamp: the request's x-amz-date, YYYYMMDDTHHMMSSZ.
        scope: `day/region/service/aws4_request`, wire text.
        seed: the request's own signature, verified before.
    """

    __slots__ = ("_key", "_place", "_previous")

    def __init__(self, signing_key: bytes, timestamp: str, scope: str, seed: str) -> None:
        self._key = signing_key
        self._place = f"{timestamp}\n{scope}"
        self._previous = seed

    def chunk(self, data_sha256: str) -> str:
        """The signature of the next chunk, given the hex SHA-256 of its data; the chain moves on (K4)."""
        return self._link("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_SHA256}\n{data_sha256}")

    def trailer(self, trailer_sha256: str) -> str:
        """The signature of the trailer, given the hex SHA-256 of its canonical form (K5)."""
        return self._link("AWS4-HMAC-SHA256-TRAILER", trailer_sha256)

    def _link(self, algorithm: str, hashes: str) -> str:
        string_to_sign = f"{algorithm}\n{self._place}\n{self._previous}\n{hashes}"
        self._previous = hex_signature(self._key, string_to_sign)
        return self._previous


def canonical_trailer(trailers: dict[str, str]) -> bytes:
    """What the trailer's signature is over: `name:value` and LF, never CRLF, sorted by name (K5)."""
    return "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items())).encode("latin-1")


class _Expect(Enum):
    """What comes next when it is not chunk data."""

    HEADER = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    NOTHING = auto()


class ChunkedDecoder:
    """Takes one aws-chunked body in pieces of any size and gives back the object's bytes.

    Args:
        decoded_length: x-amz-decoded-content-length; None if the request has none (K9: botocore, over TLS).
        trailers: the lower-case names in x-amz-trailer; empty means that no trailer may come.
        signer: the chain of a signed body, which then signs its trailer too; None for an unsigned one.
        minimum_chunk: bytes that every chunk but the last must have (K7).

    Every method raises S3Error; the decoder is of no use afterwards.
    """

    def __init__(
        self,
        *,
        decoded_length: int | None,
        trailers: frozenset[str],
        signer: ChunkSigner | None,
        minimum_chunk: int = MINIMUM_CHUNK,
    ) -> None:
        self.decoded = 0  # object bytes given out so far
        self._decoded_length = decoded_length
        self._declared = trailers
        self._signer = signer
        self._minimum_chunk = minimum_chunk
        self._expect = _Expect.HEADER
        self._line = b""  # the beginning of a line whose end has not come
        self._chunk_number = 0
        self._chunk_size = minimum_chunk  # of the chunk before the next header
        self._left = 0  # bytes of chunk data still to come
        self._sha256 = hashlib.sha256()
        self._signature = ""  # of the chunk being read, as received
        self._trailer_room = _TRAILER_LIMIT
        self._trailers: dict[str, str] = {}
        self._trailer_signature: str | None = None

    def feed(self, data: bytes) -> list[memoryview]:
        """Take the next bytes of the body; returns the object's bytes among them, as views of `data`.

        Raises:
            S3Error: SignatureDoesNotMatch for a chunk or the trailer; IncompleteBody for broken
                framing, a missing trailer or another length than announced;
                InvalidChunkSizeError; MalformedTrailerError.
        """
        pieces = []
        view = memoryview(data)
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                at = self._read_line(data, at)
                continue
            piece = view[at : at + self._left]
            at += len(piece)
            self.decoded += len(piece)
            self._left -= len(piece)
            pieces.append(piece)
            if self._signer is not None:
                self._sha256.update(piece)
                if not self._left:
                    self._check_chunk(self._signer)
        return pieces

    def finish(self) -> dict[str, str]:
        """Say that the body has ended; returns the declared trailers, lower-case name to value.

        Raises:
            S3Error: IncompleteBody if the body ended early.
        """
        if self._expect is not _Expect.NOTHING:
            raise _broken("ended early")
        return self._trailers

    def _read_line(self, data: bytes, at: int) -> int:
        """Read up to the next CRLF, or keep what there is of the line; returns where reading goes on."""
        room = self._line_limit() + 2
        line = self._line + data[at : at + room - len(self._line)]
        end = line.find(b"\r\n")
        if end < 0:
            if len(line) >= room:
                raise _broken("line too long")
            self._line = line
            return len(data)
        at += end + 2 - len(self._line)
        self._line = b""
        self._take_line(line[:end])
        return at

    def _line_limit(self) -> int:
        match self._expect:
            case _Expect.HEADER:
                return _HEADER_LIMIT
            case _Expect.CHUNK_END:
                return 0
            case _Expect.TRAILER:
                return self._trailer_room
            case _Expect.NOTHING:
                raise _broken("goes on after its end")

    def _take_line(self, line: bytes) -> None:
        match self._expect:
            case _Expect.HEADER:
                self._begin_chunk(line)
            case _Expect.CHUNK_END:
                self._expect = _Expect.HEADER
            case _Expect.TRAILER if line:
                self._trailer_room -= len(line)
                self._take_trailer(line)
            case _:
                self._check_trailer()
                self._expect = _Expect.NOTHING

    def _begin_chunk(self, header: bytes) -> None:
        match = _UNSIGNED_HEADER(header) if self._signer is None else _SIGNED_HEADER(header)
        if match is None:
            raise _broken("chunk header")
        size = int(match[1], 16)
        self._chunk_number += 1
        # Only the next header shows that a small chunk was not the last, and AWS gives that one's number.
        if size and self._chunk_size < self._minimum_chunk:
            raise S3Error(
                "InvalidChunkSizeError",
                reason="malformed_body",
                Chunk=str(self._chunk_number),
                BadChunkSize=str(self._chunk_size),
            )
        self._check_length(self.decoded + size, last=not size)
        self._chunk_size = self._left = size
        self._expect = _Expect.CHUNK_END if size else _Expect.TRAILER
        if self._signer is not None:
            self._signature = match[2].decode("latin-1")
            self._sha256 = hashlib.sha256()
            if not size:
                self._check_chunk(self._signer)

    def _check_length(self, provided: int, *, last: bool) -> None:
        expected = self._decoded_length
        if expected is not None and (provided > expected or (last and provided != expected)):
            raise S3Error(
                "IncompleteBody",
                reason="malformed_body",
                NumberBytesExpected=str(expected),
                NumberBytesProvided=str(provided),
            )

    def _check_chunk(self, signer: ChunkSigner) -> None:
        if not same_signature(self._signature, signer.chunk(self._sha256.hexdigest())):
            raise S3Error("SignatureDoesNotMatch", reason="chunk_signature_mismatch")

    def _take_trailer(self, line: bytes) -> None:
        match = _TRAILER_LINE(line)
        if match is None or self._trailer_signature is not None:  # the signature is the last line
            raise S3Error("MalformedTrailerError", reason="malformed_body")
        name, value = match[1].decode().lower(), match[2].decode()
        if name == TRAILER_SIGNATURE and self._signer is not None and self._declared:
            self._trailer_signature = value
        elif name in self._declared and name not in self._trailers:
            self._trailers[name] = value
        else:
            raise S3Error("MalformedTrailerError", reason="malformed_body")

    def _check_trailer(self) -> None:
        if self._trailers.keys() != self._declared:
            raise _broken("declared trailer missing")
        if self._signer is None or not self._declared:
            return
        if self._trailer_signature is None:
            raise S3Error("MalformedTrailerError", reason="malformed_body")
        expected = self._signer.trailer(hashlib.sha256(canonical_trailer(self._trailers)).hexdigest())
        if not same_signature(self._trailer_signature, expected):
            raise S3Error("SignatureDoesNotMatch", reason="chunk_signature_mismatch")


def _broken(what: str) -> S3Error:
    return S3Error(
        "IncompleteBody",
        "The request body terminated unexpectedly",  # what AWS says of any broken framing
        reason="malformed_body",
        detail=f"aws-chunked: {what}",
    )
