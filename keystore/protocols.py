"""The key store's doors: a narrow one for the data path, a wide one for operators.

The split is the point: code that serves S3 requests is handed a `KeyReader` (and, for CreateBucket and
DeleteBucket, a `BucketKeeper`); it has no way to make or change a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from keystore.model import Access, AccessKey, Bucket, Grant, KeyInfo, Permission, Propagation, Secret, Tenant


class KeyReader(Protocol):
    """What the data path asks. Every method raises `KeyStoreUnavailable` within 2 s rather than guess."""

    async def find_key(self, access_key_id: str) -> AccessKey | None:
        """The key with this id, whatever its status; None when there is certainly none."""

    async def find_bucket(self, tenant_id: UUID, name: str) -> Bucket | None:
        """The tenant's bucket of this name; None when there is certainly none."""

    async def list_buckets(self, tenant_id: UUID) -> Sequence[Bucket]:
        """All buckets of a tenant, sorted by name."""

    def watch(self, callback: Callable[[str], None]) -> None:
        """Call `callback(access_key_id)` when a key was made, revoked or deleted."""


class BucketKeeper(Protocol):
    """The two changes that S3 itself can make."""

    async def add_bucket(self, tenant_id: UUID, name: str, backend_name: str, *, actor: str = "s3") -> Bucket:
        """Record a bucket. Raises `Conflict` if the tenant has the name or the backend name is taken."""

    async def remove_bucket(self, bucket_id: UUID, *, actor: str = "s3") -> None:
        """Forget a bucket and every grant on it. Raises `NotFound`."""


class KeyAdmin(BucketKeeper, Protocol):
    """What operators do. Raises `NotFound`, `Conflict`, `Invalid` and `KeyStoreUnavailable`."""

    async def create_key(
        self,
        *,
        tenant: str,
        access: Access,
        permission: Permission,
        grants: Sequence[Grant],
        label: str | None,
        expires_at: datetime | None,
        actor: str,
    ) -> tuple[KeyInfo, Secret]:
        """Make a key. The secret is in this answer and nowhere else ever again."""

    async def list_keys(
        self,
        *,
        tenant: str | None = None,
        bucket: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> tuple[Sequence[KeyInfo], str | None]:
        """A page of keys, oldest first, and the opaque token of the next page (None at the end)."""

    async def get_key(self, ident: str) -> KeyInfo:
        """A key by access key id or UUID text."""

    async def revoke_key(self, ident: str, *, reason: str | None, actor: str) -> tuple[KeyInfo, Propagation]:
        """Revoke for good. Repeating it is not an error: it writes again and waits again."""

    async def delete_key(self, ident: str, *, actor: str) -> Propagation:
        """Remove a key from the lists; its id is never given out again."""

    async def create_tenant(self, name: str, *, actor: str = "operator") -> Tenant: ...

    async def list_tenants(self) -> Sequence[Tenant]: ...

    async def get_tenant(self, name: str) -> Tenant: ...

    async def buckets_of(self, tenant: str | None) -> Sequence[tuple[str, Bucket]]:
        """(tenant name, bucket) of one tenant or of all, sorted."""

    async def create_token(self, *, name: str, actor: str) -> str:
        """Make an operator token and return its text; only the SHA-256 of it is stored."""

    async def bootstrap_token(self, *, name: str, actor: str) -> str:
        """Make the first operator token and return its text. Raises `Conflict` if there is one already."""

    async def find_token(self, token: str) -> str | None:
        """The name of the operator token with this text, or None."""
