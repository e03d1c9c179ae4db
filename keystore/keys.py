"""The rows of access keys: the SQL behind what operators do with them, run in the caller's transaction."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from keystore.model import Access, Conflict, Grant, Invalid, KeyInfo, NotFound, Permission
from keystore.rows import GRANT_COLUMNS, key_info_of
from keystore.sealing import Sealed

MAX_PAGE = 1000

_INSERT = """
    INSERT INTO access_keys (access_key_id, tenant_id, seal_version, wrap_nonce, wrapped_key, seal_nonce,
                             sealed_secret, access, permission, label, expires_at, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    RETURNING id
"""
# The share lock holds off whoever is deleting one of these buckets until the grant is in.
_LOCK_BUCKETS = "SELECT id, name FROM buckets WHERE tenant_id = $1 AND name = ANY($2) FOR KEY SHARE"
_INSERT_GRANTS = """
    INSERT INTO key_grants (key_id, bucket_id, permission)
    SELECT $1, granted.bucket_id, granted.permission
      FROM unnest($2::uuid[], $3::text[]) AS granted (bucket_id, permission)
"""
_INFO = f"""
    SELECT k.id, k.access_key_id, k.label, t.name AS tenant, k.access, k.permission, k.created_at,
           k.created_by, k.expires_at, k.revoked_at, k.revoked_by, k.revoke_reason, k.position,
           {GRANT_COLUMNS}
      FROM access_keys k JOIN tenants t ON t.id = k.tenant_id
     WHERE k.deleted_at IS NULL
"""  # noqa: S608 - joined from constants
_INFO_BY_UUID = _INFO + " AND k.id = $1"
_INFO_BY_ACCESS_KEY_ID = _INFO + " AND k.access_key_id = $1"
# A key reaches a bucket by a grant on it, or by reaching all buckets of the tenant that has it.
_PAGE = f"""{_INFO}
       AND ($1::text IS NULL OR t.name = $1)
       AND ($2::text IS NULL OR EXISTS (
               SELECT FROM buckets b
                WHERE b.name = $2 AND b.tenant_id = k.tenant_id
                  AND (k.access = 'all_buckets' OR EXISTS (
                          SELECT FROM key_grants g WHERE g.key_id = k.id AND g.bucket_id = b.id))))
       AND k.position > $3
     ORDER BY k.position
     LIMIT $4
"""  # noqa: S608 - joined from constants
# Written also when already revoked: only a fresh write that was waited for tells that it is safe (F5).
_REVOKE = """
    UPDATE access_keys
       SET revoked_by = CASE WHEN revoked_at IS NULL THEN $2 ELSE revoked_by END,
           revoke_reason = CASE WHEN revoked_at IS NULL THEN $3 ELSE revoke_reason END,
           revoked_at = coalesce(revoked_at, now())
     WHERE id = $1 AND deleted_at IS NULL
    RETURNING id
"""
_BURY = """
    UPDATE access_keys
       SET deleted_at = now(), deleted_by = $2, revoked_at = coalesce(revoked_at, now()), label = NULL,
           seal_version = NULL, wrap_nonce = NULL, wrapped_key = NULL, seal_nonce = NULL, sealed_secret = NULL
     WHERE id = $1 AND deleted_at IS NULL
    RETURNING id
"""
_DROP_GRANTS = "DELETE FROM key_grants WHERE key_id = $1"


async def insert(
    connection: asyncpg.Connection,
    *,
    access_key_id: str,
    tenant_id: UUID,
    sealed: Sealed,
    access: Access,
    permission: Permission,
    grants: Sequence[Grant],
    label: str | None,
    expires_at: datetime | None,
    actor: str,
) -> KeyInfo:
    """Write a key and its grants. Raises `NotFound` naming the first bucket the tenant does not have."""
    bucket_ids = await _bucket_ids(connection, tenant_id, [grant.bucket for grant in grants])
    try:
        key_id = await connection.fetchval(
            _INSERT,
            access_key_id,
            tenant_id,
            sealed.version,
            sealed.wrap_nonce,
            sealed.wrapped_key,
            sealed.nonce,
            sealed.ciphertext,
            access.value,
            permission.value,
            label,
            expires_at,
            actor,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict("this access key id was issued before") from None
    await connection.execute(_INSERT_GRANTS, key_id, bucket_ids, [grant.permission.value for grant in grants])
    return await info(connection, str(key_id))


async def info(connection: asyncpg.Connection, ident: str) -> KeyInfo:
    """A key by its access key id or its UUID's text. Raises `NotFound`."""
    uuid = _uuid_of(ident)
    if uuid is not None:
        row = await connection.fetchrow(_INFO_BY_UUID, uuid)
    else:
        row = await connection.fetchrow(_INFO_BY_ACCESS_KEY_ID, ident)
    if row is None:
        raise NotFound("no such key")
    return key_info_of(row)


async def page(
    connection: asyncpg.Connection, *, tenant: str | None, bucket: str | None, limit: int, after: str | None
) -> tuple[Sequence[KeyInfo], str | None]:
    """Keys in the order of their creation, and the token of the next page."""
    position = 0 if after is None else _position_of(after)
    rows = await connection.fetch(_PAGE, tenant, bucket, position, limit + 1)
    shown = rows[:limit]
    following = _token_of(shown[-1]["position"]) if len(rows) > limit else None
    return [key_info_of(row) for row in shown], following


async def revoke(connection: asyncpg.Connection, key_id: UUID, *, reason: str | None, actor: str) -> None:
    """Mark a key revoked; who did so first and why stays. Raises `NotFound` if it was deleted meanwhile."""
    if await connection.fetchval(_REVOKE, key_id, actor, reason) is None:
        raise NotFound("no such key")


async def bury(connection: asyncpg.Connection, key_id: UUID, *, actor: str) -> None:
    """Turn a key into a tombstone: no secret, no grants, only the id that is never issued again."""
    if await connection.fetchval(_BURY, key_id, actor) is None:
        raise NotFound("no such key")
    await connection.execute(_DROP_GRANTS, key_id)


async def _bucket_ids(connection: asyncpg.Connection, tenant_id: UUID, names: Sequence[str]) -> list[UUID]:
    rows = await connection.fetch(_LOCK_BUCKETS, tenant_id, list(names))
    found = {row["name"]: row["id"] for row in rows}
    for name in names:
        if name not in found:
            raise NotFound(f"no such bucket: {name}")
    return [found[name] for name in names]


def _uuid_of(ident: str) -> UUID | None:
    # An access key id has 20 characters here; with 36 and hyphens it is the other kind of name.
    if len(ident) != 36:
        return None
    try:
        return UUID(ident)
    except ValueError:
        return None


def _token_of(position: int) -> str:
    return base64.urlsafe_b64encode(position.to_bytes(8, "big")).decode("ascii").rstrip("=")


def _position_of(token: str) -> int:
    try:
        position = int.from_bytes(base64.b64decode(token + "=", altchars=b"-_", validate=True), "big")
    except (binascii.Error, ValueError):
        raise Invalid("after: not a token that an earlier page gave") from None
    if position >= 2**63 or _token_of(position) != token:
        raise Invalid("after: not a token that an earlier page gave")
    return position
