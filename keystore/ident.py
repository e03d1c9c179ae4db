"""Identifiers and secrets: how they are made and how they look.

All randomness comes from `secrets`. The checksum at the end of a secret or token proves nothing; it lets a
person, a form or a secret scanner tell a mistyped or truncated one from a wrong one without asking anybody.
"""

from __future__ import annotations

import re
import secrets
import zlib

from keystore.model import Invalid, Secret

DEFAULT_PREFIX = "BWAK"
TOKEN_PREFIX = "bwop_"  # noqa: S105 - what a token starts with, not a token

# Base32 without 0 and 1; the whole id fits the AWS shape [A-Z0-9]{20} that secret scanners and SDKs know, and
# holds no "/" or "=", which would break a credential scope.
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
# No "/" and "+": both break hand-made URLs and shells.
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_CHECKSUM_LENGTH = 6  # 62**6 > 2**32: a CRC32 always fits
_SECRET_RANDOM_LENGTH = 34  # 34 * log2(62) = 202 random bits
_TOKEN_RANDOM_LENGTH = 30  # 178 random bits

_PREFIX = re.compile(r"[A-Z0-9]{4}", re.ASCII)
_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9]{16,128}", re.ASCII)
_TENANT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_IPV4_SHAPE = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", re.ASCII)
_RESERVED_BUCKET_PREFIXES = ("xn--",)
_RESERVED_BUCKET_SUFFIXES = ("-s3alias",)


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it may start an access key id (4 of `A-Z0-9`); raises `Invalid`."""
    if _PREFIX.fullmatch(prefix) is None:
        raise Invalid("access key prefix: exactly four characters of A-Z and 0-9")
    return prefix


def new_access_key_id(prefix: str = DEFAULT_PREFIX) -> str:
    """A fresh access key id: the 4-letter prefix and 16 random characters of `A-Z2-7` (80 bits)."""
    return check_prefix(prefix) + _random(_BASE32, 16)


def new_secret() -> Secret:
    """A fresh secret access key: 40 base62 characters, 202 random bits, the last 6 a checksum."""
    return Secret(_with_checksum(_random(_BASE62, _SECRET_RANDOM_LENGTH)))


def new_token() -> str:
    """A fresh operator token: `bwop_` and 36 base62 characters, the last 6 a checksum."""
    return TOKEN_PREFIX + _with_checksum(_random(_BASE62, _TOKEN_RANDOM_LENGTH))


def is_secret(text: str) -> bool:
    """Whether `text` has the shape and the checksum of a secret made by `new_secret`."""
    return _checksum_holds(text, _SECRET_RANDOM_LENGTH)


def is_token(text: str) -> bool:
    """Whether `text` has the shape and the checksum of a token made by `new_token`."""
    return text.startswith(TOKEN_PREFIX) and _checksum_holds(text[len(TOKEN_PREFIX) :], _TOKEN_RANDOM_LENGTH)


def is_access_key_id(text: str) -> bool:
    """Whether `text` can be an access key id at all: 16 to 128 of `A-Za-z0-9`, ours or an imported one."""
    return _ACCESS_KEY_ID.fullmatch(text) is not None


def check_tenant_name(name: str) -> str:
    """Return `name` if it may name a tenant (1-63 of `a-z0-9-`, no hyphen at an end); raises `Invalid`."""
    if _TENANT_NAME.fullmatch(name) is None:
        raise Invalid("tenant name: 1 to 63 characters of a-z, 0-9 and -, starting and ending with a-z or 0-9")
    return name


def is_bucket_name(name: str) -> bool:
    """Whether `name` obeys the S3 rules for general purpose buckets.

    AWS, "General purpose bucket naming rules": 3-63 of `a-z0-9.-`, a letter or digit at both ends, no two
    dots in a row, not shaped like an IPv4 address, no `xn--` in front and no `-s3alias` at the end.
    """
    return (
        _BUCKET_NAME.fullmatch(name) is not None
        and ".." not in name
        and _IPV4_SHAPE.fullmatch(name) is None
        and not name.startswith(_RESERVED_BUCKET_PREFIXES)
        and not name.endswith(_RESERVED_BUCKET_SUFFIXES)
    )


def check_bucket_name(name: str) -> str:
    """Return `name` if `is_bucket_name` says so; raises `Invalid`."""
    if not is_bucket_name(name):
        raise Invalid(
            "bucket name: 3 to 63 characters of a-z, 0-9, . and -, starting and ending with a letter or "
            "digit; no '..', no IP address, no xn-- in front, no -s3alias at the end"
        )
    return name


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _with_checksum(text: str) -> str:
    number = zlib.crc32(text.encode("ascii"))
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return text + "".join(reversed(digits))


def _checksum_holds(text: str, random_length: int) -> bool:
    if len(text) != random_length + _CHECKSUM_LENGTH or not text.isascii() or not text.isalnum():
        return False
    # The checksum is no secret and opens nothing, so an ordinary comparison is safe here.
    return _with_checksum(text[:random_length]) == text
