"""Percent-encoding and the canonical forms of path and query (C1 to C13).

The wire text of a target is decoded exactly once and encoded again in the one way that AWS defines, because
clients differ in what they escape but all sign the canonical form (C4). Nothing is normalised: `//`, `/./` and
`/../` are part of a key (C3).
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gateway.errors import S3Error

_CANONICAL_PATH = re.compile(r"[A-Za-z0-9\-._~/]*").fullmatch
_CANONICAL_TEXT = re.compile(r"[A-Za-z0-9\-._~]*").fullmatch
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})").search


def encode(text: str, *, slash: bool = False) -> str:
    """UriEncode of wire text (C1): upper-case hex, blank as %20, `/` kept only if `slash`."""
    if (_CANONICAL_PATH if slash else _CANONICAL_TEXT)(text):
        return text
    return quote_from_bytes(text.encode("latin-1"), safe="/-._~" if slash else "-._~")


def decode(text: str) -> str:
    """Percent-decode wire text once, to wire text.

    Raises:
        S3Error: InvalidURI for a `%` that begins no escape. Servers disagree on what that means, so it means nothing.
    """
    if "%" not in text:
        return text
    if _BROKEN_ESCAPE(text):
        raise S3Error("InvalidURI", reason="malformed_target")
    return unquote_to_bytes(text.encode("latin-1")).decode("latin-1")


def canonical_path(path: str) -> str:
    """The canonical URI of a path as received (C2 to C6); S3 encodes once."""
    if _CANONICAL_PATH(path):
        return path or "/"
    return encode(decode(path), slash=True)


def parse_query(query: str) -> list[tuple[str, str]]:
    """Split a raw query into decoded (name, value) pairs in arrival order (C8, C10).

    Empty pieces are dropped; a name without `=` has an empty value; `+` is a blank, in meaning as in canonicalisation.
    """
    pairs = []
    for piece in query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            pairs.append((decode(name.replace("+", " ")), decode(value.replace("+", " "))))
    return pairs


def canonical_query(pairs: list[tuple[str, str]]) -> str:
    """The canonical query of decoded pairs: encoded, then sorted as pairs, not as joined text (C8, C9)."""
    if not pairs:
        return ""
    return "&".join([f"{n}={v}" for n, v in sorted((encode(name), encode(value)) for name, value in pairs)])
