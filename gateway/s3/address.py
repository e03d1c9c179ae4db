"""Which bucket and key does a request name? Decided once, on decoded text (O1, O4, C7).

The decision is made from the Host header and the path as received and then used everywhere: what is authorized,
what is signed upstream and what is logged come from the same `Address`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from gateway.errors import S3Error
from gateway.sigv4.encoding import decode
from keystore.ident import is_bucket_name

MAX_KEY_BYTES = 1024

_PORT = re.compile(r":[0-9]{1,5}$")


@dataclass(frozen=True, slots=True)
class Address:
    """`bucket` is None for the service, `key` is None for a bucket; both are decoded wire text."""

    bucket: str | None = None
    key: str | None = None


def locate(host: str, path: str, suffixes: tuple[str, ...]) -> Address:
    """The address of a request.

    Args:
        host: the Host header as received.
        path: the path as received, before any "?".
        suffixes: the domains below which a first label is a bucket, lower-case, e.g. "s3.example.com".

    Raises:
        S3Error: InvalidBucketName, KeyTooLongError, or InvalidURI for keys that no two stores agree on.
    """
    if not path.startswith("/"):
        raise S3Error("InvalidURI", reason="malformed_target")
    name = _PORT.sub("", host).lower()
    for suffix in suffixes:
        if name.endswith("." + suffix):
            return Address(_checked_bucket(name[: -len(suffix) - 1]), checked_key(decode(path[1:])))
    if path == "/":
        return Address()
    bucket, _, key = decode(path[1:]).partition("/")
    return Address(_checked_bucket(bucket), checked_key(key))


def _checked_bucket(name: str) -> str:
    if not is_bucket_name(name):
        raise S3Error("InvalidBucketName", reason="malformed_target", BucketName=name[:128])
    return name


def checked_key(key: str) -> str | None:
    """Keys are UTF-8, 1 to 1024 bytes (C7); NUL ends a name in some stores. None for no key. Raises S3Error."""
    if not key:
        return None
    if len(key) > MAX_KEY_BYTES:
        raise S3Error("KeyTooLongError", reason="malformed_target", Size=str(len(key)), MaxSizeAllowed="1024")
    if not key.isascii():
        try:
            key.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            raise S3Error("InvalidURI", reason="malformed_target") from None
    if "\0" in key:
        raise S3Error("InvalidURI", reason="malformed_target")
    return key


def printable(text: str) -> str:
    """Wire text as people read it: its bytes taken as UTF-8."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


class Fold(Enum):
    """A way in which some store makes one key of two, or of an object something else (C7, PTH-108)."""

    SEGMENTS = "empty, '.' and '..' path segments"
    BACKSLASH = "backslashes"
    DIRECTORY = "data in an object whose key ends with a slash"


EVERY_FOLD = frozenset(Fold)


def refuse_folded(key: str, folds: frozenset[Fold]) -> None:
    """Refuse a key that the store would fold into another one.

    Raises:
        S3Error: InvalidArgument.
    """
    segments = key.split("/")
    if Fold.SEGMENTS in folds and ("" in segments[:-1] or "." in segments or ".." in segments):
        raise unsupported_key(Fold.SEGMENTS)
    if Fold.BACKSLASH in folds and "\\" in key:
        raise unsupported_key(Fold.BACKSLASH)


def unsupported_key(fold: Fold) -> S3Error:
    """The refusal of a key for the sake of what the store would make of it."""
    message = f"The store behind this endpoint cannot hold {fold.value}."
    return S3Error("InvalidArgument", message, reason="unsupported_key", ArgumentName="key")


@dataclass(frozen=True, slots=True)
class CopySource:
    """The object named by x-amz-copy-source."""

    bucket: str
    key: str
    version_id: str | None = None


def parse_copy_source(text: str) -> CopySource:
    """Read `x-amz-copy-source` (W3).

    The version is split off at the last literal `?versionId=` before anything is decoded, because a key may hold
    the escaped text. Access point ARNs, URLs and Ceph's `tenant:bucket` are no bucket names and fall out as such.
    A bare `+` is a blank, as AWS reads it (aws/aws-cli#614) and s5cmd writes it; the store is told `%20` either way.

    Raises:
        S3Error: InvalidArgument for anything but `[/]bucket/key[?versionId=v]`.
    """
    located, separator, version = text.rpartition("?versionId=")
    if not separator:
        located, version = text, ""
    try:
        bucket, _, key = decode(located.replace("+", "%20")).removeprefix("/").partition("/")
        checked = checked_key(key)
    except S3Error:
        checked = None
    if checked is None or not is_bucket_name(bucket) or "?" in located or (separator and not version):
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            reason="malformed_header",
            ArgumentName="x-amz-copy-source",
        )
    return CopySource(bucket, checked, decode(version) if separator else None)
