"""The permissions people ask for, compiled to statements.

`read`, `write` and `read_write` are about data. None of them reaches ACLs, tags, versions, retention or a bucket's
configuration. Making and deleting buckets belongs to keys that write and reach all buckets of their tenant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from policies.statement import Statement

# Clients ask these of a bucket before anything else, whatever they came for; a key that holds any right in the bucket
# learns nothing from the answers.
_ANY: Final = frozenset({"s3:HeadBucket", "s3:GetBucketLocation"})
# Whoever uploads in parts must be able to find out where it stopped.
_PARTS: Final = frozenset({"s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"})
_READ: Final = _ANY | _PARTS | {"s3:GetObject", "s3:ListBucket"}
_WRITE: Final = _ANY | _PARTS | {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
_BUCKETS: Final = frozenset({"s3:CreateBucket", "s3:DeleteBucket"})

ACTIONS: Final = {"read": _READ, "write": _WRITE, "read_write": _READ | _WRITE}


def all_buckets(permission: str) -> tuple[Statement, ...]:
    """The statements of a key that reaches every bucket of its tenant. Raises KeyError for an unknown permission."""
    actions = ACTIONS[permission]
    return (Statement(f"all-buckets-{permission}", actions if permission == "read" else actions | _BUCKETS, None),)


def per_bucket(grants: Iterable[tuple[str, str]]) -> tuple[Statement, ...]:
    """The statements of (bucket, permission) grants, one for each permission. Raises KeyError for an unknown one."""
    by_permission: dict[str, set[str]] = {}
    for bucket, permission in grants:
        by_permission.setdefault(permission, set()).add(bucket)
    return tuple(
        Statement(f"grants-{permission}", ACTIONS[permission], frozenset(buckets))
        for permission, buckets in by_permission.items()
    )
