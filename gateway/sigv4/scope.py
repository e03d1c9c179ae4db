"""Credential scopes, signing keys and the dates that belong to them."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINAL = "aws4_request"
SERVICE = "s3"

_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z").fullmatch
_DAY = re.compile(r"[0-9]{8}").fullmatch


class Scope(NamedTuple):
    """`day/region/service/terminal` of a credential; `day` is YYYYMMDD.

    A tuple, because it is made and looked up twice for every request.
    """

    day: str
    region: str
    service: str = SERVICE
    terminal: str = TERMINAL

    def __str__(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/{self.terminal}"


def is_day(text: str) -> bool:
    """Whether `text` has the form of a scope's date."""
    return _DAY(text) is not None


def parse_timestamp(text: str) -> datetime | None:
    """The instant of an ISO 8601 basic timestamp `YYYYMMDDTHHMMSSZ`, or None (C24)."""
    if _TIMESTAMP(text) is None:
        return None
    try:
        # Slices, not strptime: this runs for every request and strptime costs as much as the whole signature.
        return datetime(
            int(text[0:4]),
            int(text[4:6]),
            int(text[6:8]),
            int(text[9:11]),
            int(text[11:13]),
            int(text[13:15]),
            tzinfo=UTC,
        )
    except ValueError:
        return None


def derive_signing_key(secret: str, scope: Scope) -> bytes:
    """The 32-byte signing key of a secret access key for a scope (section 1)."""
    key = b"AWS4" + secret.encode()
    for part in (scope.day, scope.region, scope.service, scope.terminal):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


# Four HMACs cost more than the rest of a verification. The cache holds keys that work for one day and one
# region; it is bounded, and a revoked key's entry is harmless: nobody is verified without a record first.
cached_signing_key = lru_cache(maxsize=4096)(derive_signing_key)


@lru_cache(maxsize=4096)
def _prepared(signing_key: bytes) -> hmac.HMAC:
    return hmac.new(signing_key, digestmod="sha256")


def hex_signature(signing_key: bytes, string_to_sign: str) -> str:
    """HMAC-SHA256 of wire text in lower-case hex.

    The key's part is hashed once and then copied: a third of what `hmac.digest` takes for so little text.
    """
    mac = _prepared(signing_key).copy()
    mac.update(string_to_sign.encode("latin-1"))
    return mac.hexdigest()
