"""The checksums that a client declares for its body, computed as the bytes pass and checked at the end.

The hashes run in C over what came off the connection, without a copy. CRCs are big-endian, and every value is
base64 (K13).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from awscrt import checksums as crt

from gateway.errors import S3Error
from gateway.messages import Headers

_PREFIX = "x-amz-checksum-"
_NOT_VALUES = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})
_SDK_ALGORITHM = "x-amz-sdk-checksum-algorithm"


class _Hasher(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC function in the shape of a hashlib object."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[bytes | memoryview, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


# Algorithm: bytes of its digest, and how to begin one. The newer names that AWS knows (sha512, md5, xxhash*)
# are refused like any unknown one: the stores behind us could not keep them (K12).
_ALGORITHMS: Mapping[str, tuple[int, Callable[[], _Hasher]]] = {
    "crc32": (4, lambda: _Crc(zlib.crc32, 4)),
    "crc32c": (4, lambda: _Crc(crt.crc32c, 4)),
    "crc64nvme": (8, lambda: _Crc(crt.crc64nvme, 8)),
    "sha1": (20, lambda: hashlib.sha1(usedforsecurity=False)),
    "sha256": (32, hashlib.sha256),
}
_TRAILERS = frozenset(_PREFIX + algorithm for algorithm in _ALGORITHMS)


@dataclass(frozen=True, slots=True)
class _Check:
    """One value that the body must come to; `expected` is None while it is still to come in the trailer."""

    header: str
    algorithm: str
    hasher: _Hasher
    expected: bytes | None


class Digests:
    """What must be computed over one body, and what it must come to.

    Attributes:
        active: whether there is anything to compute; if not, `update` and `check` need not be called.
    """

    __slots__ = ("_checks", "active")

    def __init__(self, checks: list[_Check]) -> None:
        self._checks = checks
        self.active = bool(checks)

    @classmethod
    def expected(cls, headers: Headers, trailers: frozenset[str]) -> Digests:
        """Read what the request declares about the body that follows it.

        Not for CompleteMultipartUpload: there x-amz-checksum-* speaks of the object, not of the body.

        Args:
            trailers: `declared_trailers` of a request whose payload mode has a trailer; else empty.

        Raises:
            S3Error: InvalidDigest for a Content-MD5 that is none; InvalidRequest for any other declaration
                that is unknown, malformed, contradicts another or has no value (K12, K14).
        """
        checks = []
        md5 = headers.get("content-md5")
        if md5 is not None:
            expected = _decode(md5, 16)
            if expected is None:
                raise S3Error("InvalidDigest", reason="malformed_header")
            checks.append(_Check("content-md5", "md5", hashlib.md5(usedforsecurity=False), expected))
        checksum = _declared_checksum(headers, trailers)
        _check_sdk_algorithm(headers.get(_SDK_ALGORITHM), checksum)
        if checksum is not None:
            checks.append(checksum)
        return cls(checks)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next object bytes."""
        for check in self._checks:
            check.hasher.update(data)

    def check(self, trailers: Mapping[str, str]) -> None:
        """Compare, once all object bytes have been taken.

        Args:
            trailers: what the aws-chunked decoder returned at the end; those declared are in it.

        Raises:
            S3Error: BadDigest; InvalidRequest for a trailer's value that cannot be one.
        """
        for check in self._checks:
            expected = check.expected
            if expected is None:
                expected = _decode_checksum(check.algorithm, trailers[check.header], "trailing header")
            computed = check.hasher.digest()
            if computed != expected:
                raise _bad_digest(check.algorithm, expected, computed)


def declared_trailers(headers: Headers) -> frozenset[str]:
    """The lower-case names in x-amz-trailer, which is a comma list and may be repeated (K12)."""
    names = (headers.joined("x-amz-trailer") or "").split(",")
    return frozenset(name.strip(" \t").lower() for name in names) - {""}


def _declared_checksum(headers: Headers, trailers: frozenset[str]) -> _Check | None:
    """The one x-amz-checksum-* of the request, in a header or to come in the trailer."""
    if not trailers <= _TRAILERS:
        raise _invalid("The value specified in the x-amz-trailer header is not supported")
    in_header = [name for name in headers.names() if name.startswith(_PREFIX) and name not in _NOT_VALUES]
    names = [*in_header, *trailers]
    if not names:
        return None
    if len(names) > 1:
        raise _invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    header = names[0]
    algorithm = header.removeprefix(_PREFIX)
    if algorithm not in _ALGORITHMS:
        raise _invalid("The algorithm type you specified in x-amz-checksum- header is invalid.")
    expected = None
    if in_header:
        expected = _decode_checksum(algorithm, headers.get(header) or "", "header")
    return _Check(header, algorithm, _ALGORITHMS[algorithm][1](), expected)


def _check_sdk_algorithm(stated: str | None, checksum: _Check | None) -> None:
    """What the SDK says it will send must be what is sent (K14)."""
    if stated is None:
        return
    if checksum is None:
        raise _invalid(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
            "headers were found."
        )
    if stated.lower() != checksum.algorithm:
        raise _invalid("Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _decode_checksum(algorithm: str, text: str, place: str) -> bytes:
    value = _decode(text, _ALGORITHMS[algorithm][0])
    if value is None:
        raise _invalid(f"Value for {_PREFIX}{algorithm} {place} is invalid.")
    return value


def _decode(text: str, size: int) -> bytes | None:
    """The `size` bytes that `text` is the base64 of, or None. One spelling only: a store may compare text."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(value) != size or base64.b64encode(value).decode() != text:
        return None
    return value


def _bad_digest(algorithm: str, expected: bytes, computed: bytes) -> S3Error:
    if algorithm == "md5":
        return S3Error(
            "BadDigest",
            reason="payload_mismatch",
            ExpectedDigest=base64.b64encode(expected).decode(),
            CalculatedDigest=base64.b64encode(computed).decode(),
        )
    return S3Error(
        "BadDigest",
        f"The {algorithm.upper()} you specified did not match the calculated checksum.",
        reason="payload_mismatch",
    )


def _invalid(message: str) -> S3Error:
    return S3Error("InvalidRequest", message, reason="malformed_header")
