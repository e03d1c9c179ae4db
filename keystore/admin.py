"""The operators' door: every change is one transaction that also audits, numbers and announces it.

    write, audit, draw the change's number, notify, commit     all or nothing
    wait until every gateway has applied it                    (`Settlement`)

A call that raises `KeyStoreUnavailable` may have made its change nevertheless: the commit's answer was lost.
It means "unknown", never "not done"; repeating it is safe for revocation and deletion (F5).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import asyncpg

from keystore import changes, ident, keys
from keystore.changes import Kind, Settlement, bucket_target
from keystore.connections import HeldConnections, Link, answering
from keystore.model import (
    Access,
    Bucket,
    Conflict,
    Grant,
    Invalid,
    KeyInfo,
    NotFound,
    Permission,
    Propagation,
    Secret,
    Tenant,
)
from keystore.rows import bucket_of, tenant_of
from keystore.sealing import Sealer

_MAX_TEXT = 256
_MAX_GRANTS = 1000
_MAX_BACKEND_NAME = 255

_AUDIT = "INSERT INTO audit_events (actor, action, target, detail) VALUES ($1, $2, $3, $4::jsonb)"
_INSERT_TENANT = "INSERT INTO tenants (name) VALUES ($1) RETURNING *"
_TENANT = "SELECT * FROM tenants WHERE name = $1"
_TENANTS = "SELECT * FROM tenants ORDER BY name"
_INSERT_BUCKET = "INSERT INTO buckets (tenant_id, name, backend_name) VALUES ($1, $2, $3) RETURNING *"
# Waits for those who are granting this bucket to a key; the next statement then sees their grants.
_LOCK_BUCKET = "SELECT * FROM buckets WHERE id = $1 FOR UPDATE"
_KEYS_GRANTED = """
    SELECT k.access_key_id FROM access_keys k JOIN key_grants g ON g.key_id = k.id
     WHERE g.bucket_id = $1 ORDER BY k.access_key_id
"""
_DELETE_BUCKET = "DELETE FROM buckets WHERE id = $1"
_BUCKETS = """
    SELECT t.name AS tenant, b.* FROM buckets b JOIN tenants t ON t.id = b.tenant_id
     WHERE $1::text IS NULL OR t.name = $1 ORDER BY t.name, b.name
"""
_INSERT_TOKEN = "INSERT INTO operator_tokens (name, token_sha256, created_by) VALUES ($1, $2, $3)"  # noqa: S105
_LOCK_TOKENS = "LOCK TABLE operator_tokens IN SHARE ROW EXCLUSIVE MODE"
_ANY_TOKEN = "SELECT EXISTS (SELECT FROM operator_tokens)"  # noqa: S105 - a question
_FIND_TOKEN = "SELECT name FROM operator_tokens WHERE token_sha256 = $1"  # noqa: S105 - a question

T = TypeVar("T")


class PostgresAdmin:
    """The `KeyAdmin` over Postgres."""

    def __init__(self, connections: HeldConnections, sealer: Sealer, settlement: Settlement, *, prefix: str) -> None:
        self._connections = connections
        self._sealer = sealer
        self._settlement = settlement
        self._prefix = prefix

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
        _check_scope(access, grants)
        _check_text("label", label)
        _check_text("actor", actor)
        if expires_at is not None and expires_at.tzinfo is None:
            raise Invalid("expires_at: must have a time zone")
        access_key_id = ident.new_access_key_id(self._prefix)
        secret = ident.new_secret()

        async def work(connection: asyncpg.Connection) -> tuple[KeyInfo, int]:
            tenant_id = (await _tenant(connection, tenant)).id
            key = await keys.insert(
                connection,
                access_key_id=access_key_id,
                tenant_id=tenant_id,
                # Sealed before it travels: no log of the server's statements can hold the secret.
                sealed=self._sealer.seal(secret, access_key_id, tenant_id),
                access=access,
                permission=permission,
                grants=grants,
                label=label,
                expires_at=expires_at,
                actor=actor,
            )
            await _audit(connection, actor, "key.create", access_key_id, tenant=tenant, access=access.value)
            return key, await changes.record(connection, [(Kind.KEY, access_key_id)])

        key, number = await self._transaction("create key", work)
        # A gateway may hold "no such key" for this id, if somebody tried it before it existed.
        await self._settlement.of(number)
        return key, secret

    async def list_keys(
        self,
        *,
        tenant: str | None = None,
        bucket: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> tuple[Sequence[KeyInfo], str | None]:
        """A page of keys, oldest first, and the opaque token of the next page (None at the end).

        `bucket` selects the keys that reach a bucket of this name, by a grant or by reaching all buckets.
        """
        if not 1 <= limit <= keys.MAX_PAGE:
            raise Invalid(f"limit: must be between 1 and {keys.MAX_PAGE}")

        async def work(connection: asyncpg.Connection) -> tuple[Sequence[KeyInfo], str | None]:
            if tenant is not None:
                await _tenant(connection, tenant)
            if bucket is not None and not ident.is_bucket_name(bucket):
                return [], None
            return await keys.page(connection, tenant=tenant, bucket=bucket, limit=limit, after=after)

        return await self._transaction("list keys", work)

    async def get_key(self, ident: str) -> KeyInfo:
        """A key by access key id or UUID text."""

        async def work(connection: asyncpg.Connection) -> KeyInfo:
            return await _key(connection, ident)

        return await self._transaction("get key", work)

    async def revoke_key(self, ident: str, *, reason: str | None, actor: str) -> tuple[KeyInfo, Propagation]:
        """Revoke for good. Repeating it is not an error: it writes again and waits again."""
        _check_text("reason", reason)
        _check_text("actor", actor)

        async def work(connection: asyncpg.Connection) -> tuple[KeyInfo, int]:
            key = await _key(connection, ident)
            await keys.revoke(connection, key.id, reason=reason, actor=actor)
            await _audit(connection, actor, "key.revoke", key.access_key_id, reason=reason)
            revoked = await keys.info(connection, str(key.id))
            return revoked, await changes.record(connection, [(Kind.KEY, key.access_key_id)])

        key, number = await self._transaction("revoke key", work)
        return key, await self._settlement.of(number)

    async def delete_key(self, ident: str, *, actor: str) -> Propagation:
        """Remove a key from the lists; its id is never given out again."""
        _check_text("actor", actor)

        async def work(connection: asyncpg.Connection) -> tuple[None, int]:
            key = await _key(connection, ident)
            await keys.bury(connection, key.id, actor=actor)
            await _audit(connection, actor, "key.delete", key.access_key_id)
            return None, await changes.record(connection, [(Kind.KEY, key.access_key_id)])

        _, number = await self._transaction("delete key", work)
        return await self._settlement.of(number)

    async def create_tenant(self, name: str, *, actor: str = "operator") -> Tenant:
        """Make a tenant. Raises `Invalid` for the name, `Conflict` if it is taken."""
        ident.check_tenant_name(name)

        async def work(connection: asyncpg.Connection) -> Tenant:
            try:
                tenant = tenant_of(await connection.fetchrow(_INSERT_TENANT, name))
            except asyncpg.UniqueViolationError:
                raise Conflict(f"a tenant named {name} exists") from None
            await _audit(connection, actor, "tenant.create", name)
            return tenant

        return await self._transaction("create tenant", work)

    async def list_tenants(self) -> Sequence[Tenant]:
        """All tenants, sorted by name."""

        async def work(connection: asyncpg.Connection) -> Sequence[Tenant]:
            return [tenant_of(row) for row in await connection.fetch(_TENANTS)]

        return await self._transaction("list tenants", work)

    async def get_tenant(self, name: str) -> Tenant:
        """The tenant of this name."""

        async def work(connection: asyncpg.Connection) -> Tenant:
            return await _tenant(connection, name)

        return await self._transaction("get tenant", work)

    async def add_bucket(self, tenant_id: UUID, name: str, backend_name: str, *, actor: str = "s3") -> Bucket:
        """Record a bucket. Raises `Conflict` if the tenant has the name or the backend name is taken."""
        ident.check_bucket_name(name)
        if not 1 <= len(backend_name) <= _MAX_BACKEND_NAME or "/" in backend_name or not backend_name.isprintable():
            raise Invalid(f"backend name: 1 to {_MAX_BACKEND_NAME} printable characters, no '/'")

        async def work(connection: asyncpg.Connection) -> tuple[Bucket, int]:
            try:
                bucket = bucket_of(await connection.fetchrow(_INSERT_BUCKET, tenant_id, name, backend_name))
            except asyncpg.UniqueViolationError:
                raise Conflict(f"bucket {name} exists, or another one is stored as {backend_name}") from None
            except asyncpg.ForeignKeyViolationError:
                raise NotFound("no such tenant") from None
            await _audit(connection, actor, "bucket.create", bucket_target(tenant_id, name))
            return bucket, await changes.record(connection, [(Kind.BUCKET, bucket_target(tenant_id, name))])

        bucket, number = await self._transaction("add bucket", work)
        await self._settlement.of(number)
        return bucket

    async def remove_bucket(self, bucket_id: UUID, *, actor: str = "s3") -> None:
        """Forget a bucket and every grant on it. Raises `NotFound`."""

        async def work(connection: asyncpg.Connection) -> tuple[None, int]:
            row = await connection.fetchrow(_LOCK_BUCKET, bucket_id)
            if row is None:
                raise NotFound("no such bucket")
            narrowed = [row["access_key_id"] for row in await connection.fetch(_KEYS_GRANTED, bucket_id)]
            await connection.execute(_DELETE_BUCKET, bucket_id)
            target = bucket_target(row["tenant_id"], row["name"])
            await _audit(connection, actor, "bucket.delete", target, keys=narrowed)
            # Cached keys name buckets: without these a bucket made anew under the name would be theirs again.
            narrowings = [(Kind.GRANTS, access_key_id) for access_key_id in narrowed]
            return None, await changes.record(connection, [(Kind.BUCKET, target), *narrowings])

        _, number = await self._transaction("remove bucket", work)
        await self._settlement.of(number)

    async def buckets_of(self, tenant: str | None) -> Sequence[tuple[str, Bucket]]:
        """(tenant name, bucket) of one tenant or of all, sorted."""

        async def work(connection: asyncpg.Connection) -> Sequence[tuple[str, Bucket]]:
            if tenant is not None:
                await _tenant(connection, tenant)
            return [(row["tenant"], bucket_of(row)) for row in await connection.fetch(_BUCKETS, tenant)]

        return await self._transaction("list buckets", work)

    async def create_token(self, *, name: str, actor: str) -> str:
        """Make an operator token and return its text; only the SHA-256 of it is stored."""
        return await self._new_token(name, actor, only_first=False)

    async def bootstrap_token(self, *, name: str, actor: str) -> str:
        """Make the first operator token and return its text. Raises `Conflict` if there is one already."""
        return await self._new_token(name, actor, only_first=True)

    async def find_token(self, token: str) -> str | None:
        """The name of the operator token with this text, or None."""
        if not ident.is_token(token):
            return None

        async def work(connection: asyncpg.Connection) -> str | None:
            # Looked up by hash: how long the index search takes tells nothing about the token's text.
            name: str | None = await connection.fetchval(_FIND_TOKEN, _sha256(token))
            return name

        return await self._transaction("find token", work)

    async def _new_token(self, name: str, actor: str, *, only_first: bool) -> str:
        _check_text("name", name)
        _check_text("actor", actor)
        token = ident.new_token()

        async def work(connection: asyncpg.Connection) -> None:
            if only_first:
                await connection.execute(_LOCK_TOKENS)
                if await connection.fetchval(_ANY_TOKEN):
                    raise Conflict("an operator token exists already")
            try:
                await connection.execute(_INSERT_TOKEN, name, _sha256(token), actor)
            except asyncpg.UniqueViolationError:
                raise Conflict(f"an operator token named {name} exists") from None
            await _audit(connection, actor, "token.create", name)

        await self._transaction("create token", work)
        return token

    async def _transaction(self, what: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Await `work` in a transaction of its own."""

        async def in_transaction(link: Link) -> T:
            async with link.connection.transaction():
                return await work(link.connection)

        async with answering(what):
            return await self._connections.run(in_transaction)


async def _tenant(connection: asyncpg.Connection, name: str) -> Tenant:
    ident.check_tenant_name(name)
    row = await connection.fetchrow(_TENANT, name)
    if row is None:
        raise NotFound(f"no such tenant: {name}")
    return tenant_of(row)


async def _key(connection: asyncpg.Connection, text: str) -> KeyInfo:
    # Also keeps from the server what it would refuse as text (NUL) and answer with an error.
    if not text.replace("-", "").isascii() or not text.replace("-", "").isalnum():
        raise NotFound("no such key")
    return await keys.info(connection, text)


async def _audit(connection: asyncpg.Connection, actor: str, action: str, target: str, **detail: object) -> None:
    await connection.execute(_AUDIT, actor, action, target, json.dumps(detail))


def _check_scope(access: Access, grants: Sequence[Grant]) -> None:
    if access is Access.ALL_BUCKETS and grants:
        raise Invalid("grants: must be empty for a key that reaches all buckets")
    if len(grants) > _MAX_GRANTS:
        raise Invalid(f"grants: at most {_MAX_GRANTS}")
    names = [ident.check_bucket_name(grant.bucket) for grant in grants]
    if len(set(names)) != len(names):
        raise Invalid("grants: each bucket at most once")


def _check_text(field: str, text: str | None) -> None:
    if text is not None and not (1 <= len(text) <= _MAX_TEXT and text.isprintable()):
        raise Invalid(f"{field}: 1 to {_MAX_TEXT} printable characters")


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
