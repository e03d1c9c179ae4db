"""The one place where a signature that someone sent is compared with the one it should be."""

from __future__ import annotations

import hmac
import re

_SIGNATURE = re.compile(r"[0-9a-f]{64}").fullmatch


def same_signature(given: str, expected: str) -> bool:
    """Whether `given`, as received, is the signature `expected`, 64 lower-case hex digits computed here.

    The form is looked at first (S11): it tells nothing of the right value, and it keeps text that
    `compare_digest` would choke on away from it. The comparison takes the same time wherever the two differ.
    """
    return _SIGNATURE(given) is not None and hmac.compare_digest(given, expected)
