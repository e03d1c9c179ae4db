"""Signing as a client: the backend must know the request as ours (W1, W2).

Everything that is sent upstream is signed, except what the connection itself adds. The body is declared
UNSIGNED-PAYLOAD or as an unsigned-trailer stream: it was checked here, and RGW refuses hashed bodies on many
operations (K17).
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sigv4.claim import canonical_value, string_to_sign
from gateway.sigv4.encoding import canonical_query, encode
from gateway.sigv4.scope import ALGORITHM, Scope, cached_signing_key, hex_signature


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential to sign with; `repr` shows only the id."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    region: str

    def __repr__(self) -> str:
        return f"Credential({self.access_key_id})"


def sign(
    credential: Credential,
    *,
    method: str,
    path: str,
    parameters: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    payload: str,
    timestamp: str,
) -> tuple[str, list[tuple[str, str]]]:
    """Sign a request.

    Args:
        path: decoded wire text; encoded here, so what is signed is what is sent.
        parameters: decoded query.
        headers: lower-cased names, each once, `host` among them.
        payload: the literal of x-amz-content-sha256.
        timestamp: YYYYMMDDTHHMMSSZ.

    Returns:
        The request target and all header fields to send.
    """
    canonical_path = encode(path, slash=True)
    query = canonical_query(parameters)
    fields = [*headers, ("x-amz-content-sha256", payload), ("x-amz-date", timestamp)]
    if credential.session_token is not None:
        fields.append(("x-amz-security-token", credential.session_token))
    fields.sort()
    names = ";".join([name for name, _ in fields])
    lines = "\n".join([f"{name}:{canonical_value(value)}" for name, value in fields])
    scope = Scope(timestamp[:8], credential.region)
    canonical = f"{method}\n{canonical_path}\n{query}\n{lines}\n\n{names}\n{payload}"
    key = cached_signing_key(credential.secret_access_key, scope)
    signature = hex_signature(key, string_to_sign(timestamp, scope, canonical))
    fields.append(
        (
            "authorization",
            f"{ALGORITHM} Credential={credential.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}",
        )
    )
    return (f"{canonical_path}?{query}" if query else canonical_path), fields
