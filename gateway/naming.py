"""Names of tenants and buckets, and under which name the backend keeps a tenant's bucket."""

from __future__ import annotations

import ipaddress
import re

DEFAULT_TENANT = "default"

_TENANT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BACKEND_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def check_tenant_name(name: str) -> str:
    """Return `name`, or raise ValueError with the rule it breaks.

    No `--`: so the first `--` of a backend name ends the tenant, and two tenants never mean the same bucket.
    """
    if not _TENANT.fullmatch(name) or len(name) > 32:
        raise ValueError("must be 1 to 32 of a-z, 0-9 and single hyphens between them")
    return name


def check_bucket_name(name: str) -> str:
    """Return `name`, or raise ValueError with the S3 naming rule it breaks."""
    if not _BUCKET.fullmatch(name) or ".." in name:
        raise ValueError(
            "must be 3 to 63 of a-z, 0-9, hyphens and single dots, with a letter or digit at both ends"
        )
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return name
    raise ValueError("must not look like an IP address")


def check_backend_bucket_name(name: str) -> str:
    """Return `name`, or raise ValueError. Old buckets have capitals, underscores, up to 255 characters."""
    if not _BACKEND_BUCKET.fullmatch(name) or ".." in name:
        raise ValueError("must be 3 to 255 of A-Z, a-z, 0-9, dots, hyphens and underscores")
    return name


def backend_bucket_name(tenant: str, bucket: str) -> str:
    """The backend's name of a new bucket: as it is for the default tenant, `TENANT--BUCKET` for others.

    Raises ValueError when the outcome is longer than the 63 characters that stores take.
    """
    if tenant == DEFAULT_TENANT:
        return bucket
    name = f"{tenant}--{bucket}"
    if len(name) > 63:
        raise ValueError(f"{name} is {len(name)} characters; stores take 63, so give a backend name")
    return name
