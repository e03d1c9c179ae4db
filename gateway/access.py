"""Is it really them, and may they? The two decisions, each made in one place."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from gateway.errors import S3Error
from gateway.events import Trace
from gateway.messages import RequestHead
from gateway.s3.operation import DELETE_OBJECT, GET_OBJECT, HEAD_OBJECT, LIST_BUCKETS, S3Request
from gateway.sigv4.claim import Claim
from gateway.sigv4.diagnose import likely_cause
from gateway.sigv4.verify import Verified, mismatch, verify
from keystore.model import Access, AccessKey, Grant, KeyStatus, Permission
from policies.presets import all_buckets, per_bucket
from policies.statement import Statement, decide

# Verified against when there is no such key, so that the answer costs the same work (KEY-258, S12).
_STAND_IN = secrets.token_urlsafe(30)
_VERSIONED = frozenset({GET_OBJECT, HEAD_OBJECT, DELETE_OBJECT})


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified claim and the key that it was verified against. Only `authenticate` makes one."""

    verified: Verified
    key: AccessKey


def authenticate(
    claim: Claim,
    head: RequestHead,
    key: AccessKey | None,
    now: datetime,
    trace: Trace,
    *,
    explain: bool,
    public_url: str,
) -> Caller:
    """Is it really them? Notes in `trace` why a signature may not match; `public_url` is what clients call us.

    Raises:
        S3Error: SignatureDoesNotMatch; InvalidAccessKeyId for a key that does not exist, is revoked or expired.
            Only a caller whose signature verifies is told which of these it is, so nobody can probe a key's state.
    """
    secret = _STAND_IN if key is None else key.secret.reveal()
    verified = verify(claim, secret)
    cause = None if verified else likely_cause(claim, head, secret, public_url)
    if key is None:
        raise S3Error("InvalidAccessKeyId", reason="unknown_key", AWSAccessKeyId=claim.access_key_id)
    if verified is None:
        trace.likely_cause = cause
        raise mismatch(claim, explain=explain)
    status = key.status(now)
    if status is KeyStatus.REVOKED:
        raise S3Error(
            "InvalidAccessKeyId",
            f"This access key was revoked on {key.revoked_at:%Y-%m-%dT%H:%M:%SZ}.",
            reason="revoked",
            AWSAccessKeyId=claim.access_key_id,
        )
    if status is KeyStatus.EXPIRED:
        raise S3Error(
            "InvalidAccessKeyId",
            f"This access key expired on {key.expires_at:%Y-%m-%dT%H:%M:%SZ}.",
            reason="expired_key",
            AWSAccessKeyId=claim.access_key_id,
        )
    return Caller(verified, key)


@lru_cache(maxsize=8192)
def _compiled(access: Access, permission: Permission, grants: tuple[Grant, ...]) -> tuple[Statement, ...]:
    if access is Access.ALL_BUCKETS:
        return all_buckets(permission)
    return per_bucket((grant.bucket, grant.permission) for grant in grants)


def policy_of(key: AccessKey) -> tuple[Statement, ...]:
    """The statements that a key's access and grants mean."""
    return _compiled(key.access, key.permission, key.grants)


def authorize(key: AccessKey, request: S3Request) -> None:
    """May they? Every resource that the operation touches is asked for; denied by default.

    Raises:
        S3Error: AccessDenied, the same for a foreign bucket and for one that does not exist (CFG-176).
    """
    if request.operation is LIST_BUCKETS:
        return  # everybody may ask; the answer holds only what the key may see
    policy = policy_of(key)
    for action, bucket in _touched(request):
        decision = decide(policy, action, bucket)
        if not decision.allowed:
            raise S3Error("AccessDenied", reason=decision.reason, detail=f"{action} on {bucket}")


def may(key: AccessKey, action: str, bucket: str) -> bool:
    """Whether a key holds `action` on `bucket`."""
    return decide(policy_of(key), action, bucket).allowed


def _touched(request: S3Request) -> Iterator[tuple[str, str | None]]:
    action = request.operation.action
    if request.version_id is not None and request.operation in _VERSIONED:
        action += "Version"
    yield action, request.address.bucket
    if (source := request.copy_source) is not None:
        yield ("s3:GetObject" if source.version_id is None else "s3:GetObjectVersion"), source.bucket
