"""The store behind, as the pipeline knows it: what it can do, and how a request reaches it signed as ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.s3.address import EVERY_FOLD, Fold
from gateway.s3.rewrite import OutboundRequest
from gateway.sigv4.sign import Credential, sign
from gateway.upstream import Upstream, UpstreamReply

UNSIGNED = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@dataclass(frozen=True, slots=True)
class Traits:
    """What differs between stores (docs/backends.md has the table).

    Args:
        name: minio, rgw, seaweedfs or unknown.
        trailers: takes a body with an unsigned trailer and keeps its checksum (K16).
        folds: what it makes other keys of.
        guesses_type: gives an object without a Content-Type one by its bytes, where S3 says binary/octet-stream.
    """

    name: str = "unknown"
    trailers: bool = False
    folds: frozenset[Fold] = EVERY_FOLD
    guesses_type: bool = False


class Backend:
    """One backend: its address, its traits and the credential we sign with."""

    def __init__(
        self,
        upstream: Upstream,
        host: str,
        traits: Traits,
        credential: Callable[[], Credential],
        now: Callable[[], datetime],
    ) -> None:
        """`host` is the Host header; `credential` returns the one that is valid now."""
        self._upstream = upstream
        self._host = host
        self.traits = traits
        self._credential = credential
        self._now = now
        self._second: datetime | None = None
        self._timestamp = ""

    async def send(
        self,
        request: OutboundRequest,
        body: bytes | AsyncGenerator[bytes | memoryview, None] = b"",
        *,
        length: int | None = None,
        payload: str = UNSIGNED,
        first_byte: float | None = None,
    ) -> UpstreamReply:
        """Sign and send.

        Args:
            body: whole, or a generator whose exceptions break the request off.
            length: Content-Length of a generator's body.
            payload: the literal of x-amz-content-sha256.
            first_byte: seconds to wait for the answer, if not the usual.

        Raises:
            UpstreamError: if there is no answer that can be trusted.
        """
        size = len(body) if isinstance(body, bytes) else length
        headers = [("host", self._host), ("accept-encoding", "identity"), *request.headers]
        if size or request.method in ("PUT", "POST"):
            headers.append(("content-length", str(size)))
        target, fields = sign(
            self._credential(),
            method=request.method,
            path=request.path,
            parameters=request.parameters,
            headers=headers,
            payload=payload,
            timestamp=self._amz_date(),
        )
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
        return await self._upstream.exchange(
            f"{request.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"),
            body,
            head_only=request.method == "HEAD",
            repeatable=request.method in ("GET", "HEAD"),
            first_byte=first_byte,
        )

    def _amz_date(self) -> str:
        """The time for `x-amz-date`, written once a second."""
        now = self._now().replace(microsecond=0)
        if now != self._second:
            self._second, self._timestamp = now, f"{now:%Y%m%dT%H%M%SZ}"
        return self._timestamp
