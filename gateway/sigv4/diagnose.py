"""Why does a signature not match? Tries the mistakes that clients and proxies are known for.

The answer is for the operator's log and metric ("why 403"), never for the client: it is derived from the right
secret. It costs a few dozen hashes and only runs after a refusal.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.messages import RequestHead
from gateway.sigv4.claim import Claim, string_to_sign
from gateway.sigv4.compare import same_signature
from gateway.sigv4.encoding import encode
from gateway.sigv4.payload import EMPTY_SHA256
from gateway.sigv4.scope import cached_signing_key, hex_signature

UNKNOWN = "wrong_secret_or_altered_request"

# Every cause that can be named; the metric's label takes no other value.
CAUSES = (
    "host_changed_by_proxy",
    "host_port_differs",
    "path_not_encoded",
    "path_encoded_twice",
    "path_normalised",
    "plus_for_blank_in_path",
    "plus_not_blank_in_query",
    "query_not_sorted",
    "other_payload_hash",
    "method_changed",
    "header_changed_in_transit",
    UNKNOWN,
)


def likely_cause(claim: Claim, head: RequestHead, secret: str, public_url: str) -> str:
    """The first known mistake that makes `claim.signature` right for `secret`, or `UNKNOWN`.

    `public_url` is what clients are told to call us; a proxy that loses their Host is found by it.
    """
    if not claim.canonical_request:
        return UNKNOWN  # a form's policy is signed as it is; there is nothing to get wrong but the secret
    key = cached_signing_key(secret, claim.scope)
    for cause, canonical in _variants(claim, head, public_url):
        text = string_to_sign(claim.timestamp, claim.scope, canonical)
        if same_signature(claim.signature, hex_signature(key, text)):
            return cause
    return UNKNOWN


def _variants(claim: Claim, head: RequestHead, public_url: str) -> Iterator[tuple[str, str]]:
    """(cause, canonical request as the client may have made it)."""
    lines = claim.canonical_request.split("\n")
    method, path, query = lines[:3]

    def changed(**parts: str) -> str:
        copy = [parts.get("method", method), parts.get("path", path), parts.get("query", query), *lines[3:]]
        if "payload" in parts:
            copy[-1] = parts["payload"]
        return "\n".join(copy)

    host = head.headers.get("host") or ""
    for other in _other_hosts(head, host, public_url):
        cause = "host_port_differs" if other.partition(":")[0] == host.partition(":")[0] else "host_changed_by_proxy"
        yield cause, "\n".join([f"host:{other}" if line.startswith("host:") else line for line in lines])
    yield "path_not_encoded", changed(path=head.path)
    yield "path_encoded_twice", changed(path=encode(path, slash=True))
    normal = posixpath.normpath(path) + ("/" if path.endswith("/") and path != "/" else "")
    yield "path_normalised", changed(path="/" + normal.lstrip("/"))
    yield "plus_for_blank_in_path", changed(path=path.replace("%2B", "%20"))
    yield "plus_not_blank_in_query", changed(query=query.replace("%20", "%2B"))
    yield "query_not_sorted", changed(query=head.query)
    for payload in (EMPTY_SHA256, "UNSIGNED-PAYLOAD"):
        yield "other_payload_hash", changed(payload=payload)
    for other in ("GET", "HEAD", "PUT", "POST"):
        yield "method_changed", changed(method=other)
    # What proxies and CDNs are known to rewrite although clients sign it (C19).
    for name, values in (
        ("accept-encoding", ("identity", "gzip", "gzip, deflate", "")),
        ("connection", ("keep-alive",)),
    ):
        for value in values:
            yield (
                "header_changed_in_transit",
                "\n".join([f"{name}:{value}" if line.startswith(f"{name}:") else line for line in lines]),
            )


def _other_hosts(head: RequestHead, host: str, public_url: str) -> Iterator[str]:
    name, _, port = host.partition(":")
    if port:
        yield name
    for standard in ("80", "443", "9000", "8080"):
        yield f"{name}:{standard}"
    yield urlsplit(public_url).netloc
    for field in ("x-forwarded-host", "x-original-host"):
        if forwarded := head.headers.get(field):
            yield forwarded
            if head.headers.get("x-forwarded-port"):
                yield f"{forwarded}:{head.headers.get('x-forwarded-port')}"
