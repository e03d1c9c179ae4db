"""Opening the backend: its address, TLS, credential, and what kind of store it is."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from gateway.backend import Backend, Traits
from gateway.config import BackendSection
from gateway.credentials import BackendCredential
from gateway.s3.address import Fold
from gateway.s3.rewrite import OutboundRequest
from gateway.upstream import Upstream, UpstreamError, UpstreamLimits, UpstreamReply

PROBE_SECONDS = 5.0
LONGEST_PAUSE = 60.0

log = structlog.get_logger()

# What is known of each store was measured (docs/backends.md). A store that we do not know is treated as the one that
# can least: a lost checksum is a pity, a key folded into another is a leak.
TRAITS = {
    "minio": Traits("minio", trailers=True, folds=frozenset({Fold.SEGMENTS})),
    "rgw": Traits("rgw", folds=frozenset()),
    "seaweedfs": Traits("seaweedfs", trailers=True, guesses_type=True),
    "unknown": Traits(),
}
_RGW_ID = re.compile(r"tx[0-9a-f]{21}-").match


class BackendConnection:
    """A backend and what belongs to it. `close` it at the end."""

    def __init__(self, backend: Backend, upstream: Upstream, credential: BackendCredential) -> None:
        self.backend = backend
        self.upstream = upstream
        self.credential = credential

    async def close(self) -> None:
        await self.credential.stop()
        await self.upstream.close()


async def open_backend(config: BackendSection, now: Callable[[], datetime]) -> BackendConnection:
    """Prepare connections to `config.endpoint`; connects only when asked something.

    Raises:
        NoCredentialError: there is none to be found.
        OSError, ssl.SSLError: `ca_file` cannot be read.
    """
    parts = urlsplit(config.endpoint or "")
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context(cafile=None if config.ca_file is None else str(config.ca_file))
    port = parts.port or (443 if tls else 80)
    host = parts.hostname or ""
    upstream = Upstream(
        host,
        port,
        tls,
        UpstreamLimits(
            connect=config.connect_timeout,
            first_byte=config.first_byte_timeout,
            idle=config.idle_timeout,
            connections=config.max_connections,
            idle_connections=config.max_idle_connections,
        ),
    )
    credential = await BackendCredential.find(config)
    backend = Backend(upstream, parts.netloc, TRAITS["unknown"], credential.current, now)
    return BackendConnection(backend, upstream, credential)


async def probe_until_known(backend: Backend, upload_mode: str) -> None:
    """Probe again while the store is not recognised; as long it is treated as one that can the least."""
    pause = PROBE_SECONDS
    while backend.traits.name == "unknown":
        await asyncio.sleep(pause)
        if await probe(backend, upload_mode) is None:
            return  # it answers, and is none of those that we know
        pause = min(2 * pause, LONGEST_PAUSE)


async def probe(backend: Backend, upload_mode: str) -> str | None:
    """Learn which store it is by one signed ListBuckets; writes nothing. Sets `backend.traits`.

    Returns:
        What is wrong, for the operator; None if the store took our credential.
    """
    problem = None
    name = "unknown"
    try:
        answer = await backend.send(OutboundRequest("GET", "/", [], []))
        name = _recognise(answer)
        if answer.status != 200:
            problem = f"the backend answered {answer.status} to ListBuckets with our credential"
        answer.close()
    except UpstreamError as error:
        problem = f"the backend cannot be reached: {error}"
    traits = TRAITS[name]
    if upload_mode != "auto":
        traits = replace(traits, trailers=upload_mode == "trailer")
    backend.traits = traits
    log.info(
        "backend",
        store=name,
        trailers=traits.trailers,
        refused_keys=sorted(fold.value for fold in traits.folds),
        problem=problem,
    )
    return problem


def _recognise(answer: UpstreamReply) -> str:
    server = (answer.header("server") or "").lower()
    if "minio" in server:
        return "minio"
    if "seaweedfs" in server:
        return "seaweedfs"
    if _RGW_ID(answer.header("x-amz-request-id") or ""):
        return "rgw"
    return "unknown"
