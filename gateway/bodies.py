"""The client's body, checked while it passes.

One rule: the store must not be able to complete an object before the check is complete (K15). `CheckedBody` gives its
last piece out only when hash, chunk signatures, trailer, checksums and length are right; until then the backend,
which was told the exact length, waits. If the check fails an `S3Error` comes in place of that piece, and whoever
sends breaks the upstream request off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator

from gateway.errors import S3Error
from gateway.messages import Body, Headers
from gateway.s3.checksums import Digests, declared_trailers
from gateway.sigv4.chunked import ChunkedDecoder, ChunkSigner
from gateway.sigv4.payload import Mode
from gateway.sigv4.verify import Verified

SMALL = 128 * 1024  # bytes; up to this a body is read and checked before anything is sent upstream
MAX_OBJECT = 5 << 40  # bytes: 5 TiB
MAX_PART = 5 << 30

_LENGTH = re.compile(r"[0-9]{1,19}").fullmatch


class CheckedBody:
    """An object's bytes out of a request's body. `length` is the object's, known before the first byte."""

    def __init__(self, source: Body, verified: Verified, headers: Headers, *, limit: int = MAX_OBJECT) -> None:
        """Raises S3Error if the request's framing and checksums do not fit together; reads nothing."""
        claim = verified.claim
        mode = claim.payload.mode
        self._source = source
        self._mode = mode
        self._trailer_names = declared_trailers(headers) if mode.trailer else frozenset[str]()
        self.digests = Digests.expected(headers, self._trailer_names)
        self.length = _object_length(source, mode, headers, limit)
        self.trailers: dict[str, str] = {}
        self._received = 0
        self._decoder: ChunkedDecoder | None = None
        self._expected_sha256 = claim.payload.literal if mode is Mode.HASHED else None
        self._sha256 = hashlib.sha256() if mode is Mode.HASHED else None
        if mode.streaming:
            signer = (
                ChunkSigner(verified.signing_key, claim.timestamp, str(claim.scope), claim.signature)
                if mode.signed_chunks
                else None
            )
            self._decoder = ChunkedDecoder(
                decoded_length=self.length,
                trailers=self._trailer_names,
                signer=signer,
            )

    @property
    def only_trailer(self) -> str | None:
        """The name of the checksum trailer that will come, if one will (AWS allows one: K12)."""
        return next(iter(self._trailer_names)) if len(self._trailer_names) == 1 else None

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The object's bytes in order; the last piece only after everything was checked.

        Raises:
            S3Error: when the check fails, or what `Body.read` raises.
        """
        held: bytes | memoryview = b""
        while data := await self._source.read():
            if piece := self._take(data):
                if held:
                    yield held
                held = piece
        self._finish()
        if held:
            yield held

    async def read_all(self) -> bytes:
        """The whole object, checked; for lengths that the caller knows to be small."""
        return b"".join([piece async for piece in self.pieces()])

    def _take(self, data: bytes) -> bytes | memoryview:
        piece: bytes | memoryview = data
        if self._decoder is not None:
            views = self._decoder.feed(data)
            # Within a large chunk there is one, which is not copied; many small ones cost more to send than to join.
            piece = views[0] if len(views) == 1 else b"".join(views)
        self._received += len(piece)
        if self._sha256 is not None:
            self._sha256.update(piece)
        if self.digests.active:
            self.digests.update(piece)
        return piece

    def _finish(self) -> None:
        if self._decoder is not None:
            self.trailers = self._decoder.finish()
        elif self._received != self.length:
            raise S3Error(
                "IncompleteBody",
                reason="malformed_body",
                NumberBytesExpected=str(self.length),
                NumberBytesProvided=str(self._received),
            )
        if self._sha256 is not None and self._expected_sha256 is not None:
            computed = self._sha256.hexdigest()
            if computed != self._expected_sha256:
                raise S3Error(
                    "XAmzContentSHA256Mismatch",
                    reason="payload_mismatch",
                    ClientComputedContentSHA256=self._expected_sha256,
                    S3ComputedContentSHA256=computed,
                )
        if self.digests.active:
            self.digests.check(self.trailers)


def _object_length(source: Body, mode: Mode, headers: Headers, limit: int) -> int:
    """The object's length, which every store wants to know before the first byte (K9, K10, K18).

    A body of unknown length, as HTTP/2 clients make behind a proxy (D27), is refused and not collected: collecting
    would need memory without a bound.
    """
    if source.length is None and not source.chunked:
        raise S3Error("MissingContentLength", reason="malformed_body")
    if not mode.streaming:
        length = source.length
        if length is None:
            raise S3Error("MissingContentLength", reason="malformed_body")
    else:
        stated = headers.get("x-amz-decoded-content-length")
        if stated is None:
            raise S3Error("MissingContentLength", reason="malformed_body")
        if _LENGTH(stated) is None:
            raise S3Error(
                "InvalidArgument",
                "x-amz-decoded-content-length is not a number of bytes.",
                reason="malformed_header",
                ArgumentName="x-amz-decoded-content-length",
                ArgumentValue=stated[:64],
            )
        length = int(stated)
    if length > limit:
        raise S3Error("EntityTooLarge", reason="malformed_body", ProposedSize=str(length), MaxSizeAllowed=str(limit))
    return length


async def read_document(source: Body, verified: Verified, headers: Headers, *, limit: int) -> bytes:
    """A request's document (or the nothing that most requests carry), checked like any body.

    Raises:
        S3Error: InvalidRequest for an aws-chunked document (C21), MaxMessageLengthExceeded above `limit` bytes.
    """
    payload = verified.claim.payload
    if payload.mode.streaming:
        raise S3Error(
            "InvalidRequest",
            "The value of x-amz-content-sha256 header is invalid.",
            reason="malformed_header",
        )
    if source.length is not None and source.length > limit:
        raise S3Error("MaxMessageLengthExceeded", reason="malformed_body", MaxMessageLengthBytes=str(limit))
    data = b""
    if source.length or source.chunked:
        parts = []
        received = 0
        while piece := await source.read():
            received += len(piece)
            if received > limit:
                raise S3Error("MaxMessageLengthExceeded", reason="malformed_body", MaxMessageLengthBytes=str(limit))
            parts.append(piece)
        data = b"".join(parts)
    if payload.mode is Mode.HASHED and (computed := hashlib.sha256(data).hexdigest()) != payload.literal:
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            reason="payload_mismatch",
            ClientComputedContentSHA256=payload.literal,
            S3ComputedContentSHA256=computed,
        )
    return data
