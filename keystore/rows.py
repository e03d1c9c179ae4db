"""Rows of the database as values of the model, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keystore.model import Access, AccessKey, Bucket, Grant, KeyInfo, Permission, Secret, Tenant
from keystore.sealing import Sealed

Row = Mapping[str, Any]
"""What asyncpg returns: column name to value, already converted by the driver."""

# The grants as two arrays in the same order: one row per key, whatever the number of grants.
GRANT_COLUMNS = """
    ARRAY(SELECT b.name FROM key_grants g JOIN buckets b ON b.id = g.bucket_id
           WHERE g.key_id = k.id ORDER BY b.name) AS grant_buckets,
    ARRAY(SELECT g.permission FROM key_grants g JOIN buckets b ON b.id = g.bucket_id
           WHERE g.key_id = k.id ORDER BY b.name) AS grant_permissions
"""


def tenant_of(row: Row) -> Tenant:
    """From columns id, name, created_at."""
    return Tenant(row["id"], row["name"], row["created_at"])


def bucket_of(row: Row) -> Bucket:
    """From columns id, tenant_id, name, backend_name, created_at."""
    return Bucket(row["id"], row["tenant_id"], row["name"], row["backend_name"], row["created_at"])


def sealed_of(row: Row) -> Sealed:
    """From the seal columns of access_keys."""
    return Sealed(row["seal_version"], row["wrap_nonce"], row["wrapped_key"], row["seal_nonce"], row["sealed_secret"])


def access_key_of(row: Row, secret: Secret) -> AccessKey:
    """From the columns that the data path's look-up selects, and the secret opened from them."""
    return AccessKey(
        id=row["id"],
        access_key_id=row["access_key_id"],
        secret=secret,
        tenant_id=row["tenant_id"],
        tenant=row["tenant"],
        access=Access(row["access"]),
        permission=Permission(row["permission"]),
        grants=_grants_of(row),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )


def key_info_of(row: Row) -> KeyInfo:
    """From the columns that the operators' look-ups select."""
    return KeyInfo(
        id=row["id"],
        access_key_id=row["access_key_id"],
        label=row["label"],
        tenant=row["tenant"],
        access=Access(row["access"]),
        permission=Permission(row["permission"]),
        grants=_grants_of(row),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
        revoke_reason=row["revoke_reason"],
    )


def _grants_of(row: Row) -> tuple[Grant, ...]:
    pairs = zip(row["grant_buckets"], row["grant_permissions"], strict=True)
    return tuple(Grant(bucket, Permission(permission)) for bucket, permission in pairs)
