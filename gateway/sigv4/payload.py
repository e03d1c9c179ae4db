"""What `x-amz-content-sha256` says about the body (the table of section 1, C21 to C23)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from gateway.errors import S3Error

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_HEX = re.compile(r"[0-9a-f]{64}").fullmatch
_UNSUPPORTED = frozenset(
    {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"}
)
_MESSAGE = (
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER "
    "or a valid sha256 value."
)


class Mode(Enum):
    """How the body is framed and what vouches for it; the value is the header's literal."""

    HASHED = "hex"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def streaming(self) -> bool:
        """Whether the body is aws-chunked. Decided here and never from Content-Encoding (K11)."""
        return self.value.startswith("STREAMING-")

    @property
    def signed_chunks(self) -> bool:
        """Whether every chunk carries a signature."""
        return self in (Mode.SIGNED_CHUNKS, Mode.SIGNED_CHUNKS_TRAILER)

    @property
    def trailer(self) -> bool:
        """Whether a trailer follows the last chunk."""
        return self in (Mode.SIGNED_CHUNKS_TRAILER, Mode.UNSIGNED_TRAILER)


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload line of a canonical request: the mode and the header's literal text."""

    mode: Mode
    literal: str


_BY_LITERAL = {mode.value: Payload(mode, mode.value) for mode in Mode if mode is not Mode.HASHED}
UNSIGNED = _BY_LITERAL["UNSIGNED-PAYLOAD"]


def parse_payload(text: str) -> Payload:
    """Read a payload line exactly: no case folding, no trimming, nothing guessed (STR-059).

    Raises:
        S3Error: NotImplemented for SigV4A streams, InvalidArgument for anything else unknown.
    """
    if known := _BY_LITERAL.get(text):
        return known
    if _HEX(text):
        return Payload(Mode.HASHED, text)
    if text in _UNSUPPORTED:
        raise S3Error("NotImplemented", reason="unsupported_algorithm", Header="x-amz-content-sha256")
    raise S3Error(
        "InvalidArgument",
        _MESSAGE,
        reason="malformed_header",
        ArgumentName="x-amz-content-sha256",
        ArgumentValue=text,
    )
