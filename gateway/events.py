"""What can be observed of a request. The data path fills a `Trace`; metrics and the access line only read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Trace:
    """One request, as far as it got. Bytes are of bodies; times are monotonic seconds.

    Everything here may be logged: no secret, no signature, no query string is ever put in (P11).
    """

    request_id: str
    method: str
    host: str
    peer: str
    user_agent: str
    started: float
    operation: str = "Unknown"
    auth_type: str = "anonymous"
    access_key_id: str | None = None
    tenant: str | None = None
    bucket: str | None = None
    key: str | None = None
    status: int = 0
    error_code: str | None = None
    reason: str | None = None
    detail: str | None = None
    likely_cause: str | None = None
    upstream_status: int | None = None
    upstream_error: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: float | None = None
    finished: float = 0.0
    disconnected: str | None = None


class Observer(Protocol):
    """Whoever wants to know of requests. Called on the data path: it must be quick and must not raise."""

    def request_started(self) -> None: ...

    def request_finished(self, trace: Trace) -> None: ...
