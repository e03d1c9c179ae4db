"""Names of tenants and buckets, and under which name the backend keeps a tenant's bucket.

The rules for names are the key store's; here is what they mean for the backend.
"""

from __future__ import annotations

import re

from keystore import ident
from keystore.model import Invalid

DEFAULT_TENANT = "default"

_BACKEND_NAME_LIMIT = 63
_ADOPTED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def check_tenant_name(name: str) -> str:
    """Return `name`, or raise Invalid.

    No `--`: so the first `--` of a backend name ends the tenant, and two tenants never mean the same bucket.
    """
    if "--" in ident.check_tenant_name(name):
        raise Invalid("tenant name: no two hyphens in a row; they part tenant and bucket in backend names")
    return name


def check_backend_name(name: str) -> str:
    """Return `name`, or raise Invalid. Old buckets have capitals, underscores and up to 255 characters."""
    if not _ADOPTED_NAME.fullmatch(name) or ".." in name:
        raise Invalid("backend name: 3 to 255 of A-Z, a-z, 0-9, ., - and _, a letter or digit at both ends")
    return name


def backend_bucket_name(tenant: str, bucket: str) -> str:
    """The backend's name of a new bucket: as it is for the default tenant, `TENANT--BUCKET` for others.

    Raises Invalid when the outcome is longer than stores take.
    """
    if tenant == DEFAULT_TENANT:
        return bucket
    name = f"{tenant}--{bucket}"
    if len(name) > _BACKEND_NAME_LIMIT:
        raise Invalid(f"bucket name: {name} is longer than {_BACKEND_NAME_LIMIT}; choose a backend name")
    return name
