"""The JSON of the operator API: bodies in as models that refuse the unknown, values out as plain dicts.

Shapes: operator-surface 3.3. Times are RFC 3339; those we send are UTC with `Z`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)

from gateway.config import Config
from gateway.naming import DEFAULT_TENANT, check_backend_name, check_tenant_name
from keystore.ident import check_bucket_name
from keystore.model import Access, Bucket, Grant, Invalid, KeyInfo, Permission, Propagation, Tenant

Json = dict[str, Any]

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _rfc3339(value: object) -> object:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2030-12-31T00:00:00Z")
    return value


def _line(value: str) -> str:
    """Printable text alone: no line breaks for logs, no writing-direction marks for screens."""
    value = value.strip()
    if not value or not value.isprintable():
        raise ValueError("must be printable text on one line")
    return value


def _obeying(check: Callable[[str], str]) -> AfterValidator:
    """A rule of the key store as a rule of a body."""

    def obey(value: str) -> str:
        try:
            return check(value)
        except Invalid as error:
            raise ValueError(str(error)) from None

    return AfterValidator(obey)


Line = Annotated[str, Field(max_length=128), AfterValidator(_line)]
TenantName = Annotated[str, _obeying(check_tenant_name)]
BucketName = Annotated[str, _obeying(check_bucket_name)]
BackendName = Annotated[str, _obeying(check_backend_name)]
Time = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]


class Body(BaseModel):
    """A request body. A field nobody knows is refused: a misspelt scope must not make a wider key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class GrantBody(Body):
    """One bucket of a key; without a permission of its own it has the key's."""

    bucket: BucketName
    permission: Permission | None = None


class CreateKeyBody(Body):
    """POST /keys."""

    label: Line | None = None
    tenant: TenantName = DEFAULT_TENANT
    access: Access = Access.BUCKETS
    permission: Permission = Permission.READ_WRITE
    grants: Annotated[tuple[GrantBody, ...], Field(max_length=500)] = ()
    expires_at: Time | None = None

    @model_validator(mode="after")
    def _access_fits_grants(self) -> Self:
        if self.access is Access.BUCKETS and not self.grants:
            raise ValueError("access is buckets (the default), so grants must name one; or say all_buckets")
        if self.access is Access.ALL_BUCKETS and self.grants:
            raise ValueError("access is all_buckets, so grants must be empty")
        if len({grant.bucket for grant in self.grants}) != len(self.grants):
            raise ValueError("grants name a bucket twice")
        return self

    def effective_grants(self) -> list[Grant]:
        """The grants, each with its permission."""
        return [Grant(grant.bucket, grant.permission or self.permission) for grant in self.grants]


class RevokeKeyBody(Body):
    """POST /keys/{id}/revoke."""

    reason: Line | None = None


class CreateBucketBody(Body):
    """POST /buckets. `adopt` takes over a bucket that the backend has, by default under its own name."""

    name: BucketName
    tenant: TenantName = DEFAULT_TENANT
    backend_name: BackendName | None = None
    adopt: StrictBool = False


class CreateTenantBody(Body):
    """POST /tenants."""

    name: TenantName


def show_time(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with `Z`, or None."""
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def show_actor(actor: str | None) -> Json | None:
    """`token:ci` as `{"type": "token", "name": "ci"}`; an actor without a kind is the system itself."""
    if actor is None:
        return None
    kind, colon, name = actor.partition(":")
    return {"type": kind, "name": name} if colon else {"type": "system", "name": actor}


def show_key(key: KeyInfo, now: datetime) -> Json:
    """A key without its secret."""
    return {
        "id": str(key.id),
        "access_key_id": key.access_key_id,
        "label": key.label,
        "tenant": key.tenant,
        "status": key.status(now),
        "access": key.access,
        "permission": key.permission,
        "grants": [{"bucket": grant.bucket, "permission": grant.permission} for grant in key.grants],
        "created_at": show_time(key.created_at),
        "created_by": show_actor(key.created_by),
        "expires_at": show_time(key.expires_at),
        "revoked_at": show_time(key.revoked_at),
        "revoked_by": show_actor(key.revoked_by),
        "revoke_reason": key.revoke_reason,
    }


def show_connection(key: KeyInfo, config: Config) -> Json:
    """What a client's configuration needs beside the key pair; `bucket` when the key has exactly one."""
    return {
        "endpoint_url": config.s3.endpoint_url,
        "region": config.s3.region,
        "bucket": key.grants[0].bucket if len(key.grants) == 1 else None,
        "addressing_style": "auto" if config.s3.virtual_host_suffixes else "path",
    }


def show_propagation(propagation: Propagation) -> Json:
    """How far a change has come; `certain_in` seconds after the answer it holds everywhere."""
    return {
        "expected": propagation.expected,
        "acknowledged": propagation.acknowledged,
        "lagging": list(propagation.lagging),
        "certain_in": propagation.certain_in,
    }


def show_bucket(tenant: str, bucket: Bucket) -> Json:
    """A bucket with its tenant's name."""
    return {
        "id": str(bucket.id),
        "name": bucket.name,
        "tenant": tenant,
        "backend_name": bucket.backend_name,
        "created_at": show_time(bucket.created_at),
    }


def show_tenant(tenant: Tenant) -> Json:
    """A tenant."""
    return {"id": str(tenant.id), "name": tenant.name, "created_at": show_time(tenant.created_at)}
