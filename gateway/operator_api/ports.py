"""What the operator API needs from others, beside the key store's `KeyAdmin`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class BackendError(Exception):
    """The backend did not do what was asked; the text is for operators and holds no credential."""


class BackendBuckets(Protocol):
    """Buckets at the store behind, reached with our credential. Both raise `BackendError`."""

    async def create(self, name: str) -> None:
        """Make a bucket. One that is already ours is not an error."""

    async def exists(self, name: str) -> bool:
        """Whether the store has a bucket of this name that our credential can use."""


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """One answered request, for log and metrics.

    `route` is the template (`/api/v1/keys/{id}`) or `unmatched`; `actor` is `token:NAME`, None without one.
    """

    request_id: str
    actor: str | None
    route: str
    method: str
    code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OperatorAuthFailure:
    """A request without a valid token. `reason`: missing_token, malformed_token or unknown_token."""

    reason: str


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A change that was made. `action`: create, revoke or delete; `lagging` gateways had not confirmed it."""

    action: str
    lagging: int = 0


OperatorEvent = OperatorRequest | OperatorAuthFailure | KeyChange
Observer = Callable[[OperatorEvent], None]


def ignore(_: OperatorEvent) -> None:
    """The observer of those who do not observe."""
