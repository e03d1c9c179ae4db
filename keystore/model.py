"""What the key store knows: tenants, buckets and access keys, as plain frozen values.

Nothing here does I/O. `keystore.protocols` names the two doors through which these values are reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NoReturn
from uuid import UUID


class Secret:
    """A secret access key that does not print.

    `repr`, `str` and f-strings show `Secret(****)`; pickling is refused. The text comes out only through
    `reveal()`, so every place that handles a secret in the clear can be found by searching for that word.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret access key in the clear."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(****)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled")


class Permission(StrEnum):
    """What a key may do in a bucket it was given."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read_write"


class Access(StrEnum):
    """Which buckets a key reaches: all of its tenant's, also future ones, or those in its grants."""

    ALL_BUCKETS = "all_buckets"
    BUCKETS = "buckets"


class KeyStatus(StrEnum):
    """A key's state at a moment; `expired` is computed from `expires_at`, no job has to run for it."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


def _status(revoked_at: datetime | None, expires_at: datetime | None, now: datetime) -> KeyStatus:
    if revoked_at is not None:
        return KeyStatus.REVOKED
    if expires_at is not None and now >= expires_at:
        return KeyStatus.EXPIRED
    return KeyStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of buckets and keys. Bucket names are unique within a tenant, access key ids everywhere."""

    id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket as its tenant sees it (`name`) and as the backend stores it (`backend_name`)."""

    id: UUID
    tenant_id: UUID
    name: str
    backend_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission on one bucket, by the name that its tenant uses."""

    bucket: str
    permission: Permission


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One access key, opened: what the data path needs to verify and to authorize.

    `permission` counts when `access` is `all_buckets`; otherwise `grants` does. Times are timezone-aware UTC.
    """

    id: UUID
    access_key_id: str
    secret: Secret
    tenant_id: UUID
    tenant: str
    access: Access
    permission: Permission
    grants: tuple[Grant, ...]
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def status(self, now: datetime) -> KeyStatus:
        """The key's state at `now` (timezone-aware). An expiry in the same instant counts as expired."""
        return _status(self.revoked_at, self.expires_at, now)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One access key as an operator sees it: everything but the secret."""

    id: UUID
    access_key_id: str
    label: str | None
    tenant: str
    access: Access
    permission: Permission
    grants: tuple[Grant, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    revoke_reason: str | None

    def status(self, now: datetime) -> KeyStatus:
        """The key's state at `now` (timezone-aware)."""
        return _status(self.revoked_at, self.expires_at, now)


@dataclass(frozen=True, slots=True)
class Propagation:
    """How far a change has come: gateways expected, those that acknowledged it, and the names of the rest.

    A lagging gateway stops trusting its cache at the latest `certain_in` seconds after the call returned.
    """

    expected: int
    acknowledged: int
    lagging: tuple[str, ...] = ()
    certain_in: float = 0.0


class KeyStoreError(Exception):
    """Base of what the key store raises."""


class KeyStoreUnavailable(KeyStoreError):
    """The database did not answer in time, or the answer cannot be trusted. Never means "no such key"."""


class NotFound(KeyStoreError):
    """No such tenant, bucket, key or token."""


class Conflict(KeyStoreError):
    """A name is taken, or the change does not fit the present state."""


class Invalid(KeyStoreError):
    """An argument breaks a rule of the key store; the text names the argument and the rule."""
