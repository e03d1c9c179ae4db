"""The backend's answer as the client shall see it: headers by allow-list, names turned back, errors made ours.

The backend's own error documents never go on: they hold its host, its bucket names and, when it refuses *our*
credential, what we signed (E4, W7, W8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.errors import CATALOGUE, S3Error
from gateway.s3.operation import (
    COMPLETE_MULTIPART_UPLOAD,
    COPY_OBJECT,
    CREATE_MULTIPART_UPLOAD,
    DELETE_OBJECTS,
    HEAD_BUCKET,
    LIST_MULTIPART_UPLOADS,
    LIST_OBJECTS,
    LIST_OBJECTS_V2,
    LIST_PARTS,
    UPLOAD_PART_COPY,
    S3Request,
)

_KEPT = frozenset(
    "accept-ranges cache-control content-disposition content-encoding content-language content-range content-type etag "
    "expires last-modified x-amz-abort-date x-amz-abort-rule-id x-amz-copy-source-version-id x-amz-delete-marker "
    "x-amz-expiration x-amz-missing-meta x-amz-mp-parts-count x-amz-object-lock-legal-hold x-amz-object-lock-mode "
    "x-amz-object-lock-retain-until-date x-amz-object-size x-amz-replication-status x-amz-restore x-amz-storage-class "
    "x-amz-tagging-count x-amz-version-id x-amz-website-redirect-location".split()
)
_KEPT_PREFIXES = ("x-amz-meta-", "x-amz-checksum-", "x-amz-server-side-encryption")

# Answers that are documents with names in them.
DOCUMENTS = frozenset(
    {
        LIST_OBJECTS,
        LIST_OBJECTS_V2,
        LIST_MULTIPART_UPLOADS,
        LIST_PARTS,
        CREATE_MULTIPART_UPLOAD,
        COMPLETE_MULTIPART_UPLOAD,
        COPY_OBJECT,
        UPLOAD_PART_COPY,
        DELETE_OBJECTS,
    }
)

# The backend speaking of our credential, not of the client's (E4).
_OUR_FAULT = frozenset(
    "AccessDenied AccountProblem AuthorizationHeaderMalformed AuthorizationQueryParametersError ExpiredToken "
    "InvalidAccessKeyId InvalidClientTokenId InvalidSecurity InvalidToken InvalidTokenId NotSignedUp "
    "RequestTimeTooSkewed SignatureDoesNotMatch UserSuspended XAmzContentSHA256Mismatch".split()
)
# Codes of single stores that mean what one of S3's means.
_ALIASES = {
    "InvalidObjectName": "InvalidArgument",
    "XMinioInvalidObjectName": "InvalidArgument",
    "XMinioInvalidResourceName": "InvalidArgument",
    "XMinioStorageFull": "ServiceUnavailable",
    "XMinioServerNotInitialized": "ServiceUnavailable",
    "QuotaExceededException": "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded": "QuotaExceeded",
    "RequestEntityTooLarge": "EntityTooLarge",
    "Conflict": "OperationAborted",
}
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>").search
_BY_STATUS = {
    400: "BadRequest",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    409: "OperationAborted",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    416: "InvalidRange",
    501: "NotImplemented",
    503: "SlowDown",
}
# A browser runs these. An object shown inline is under our name, so it gets no powers there (PRE-038).
_ACTIVE = re.compile(
    r"\s*(text/html|application/xhtml\+xml|image/svg\+xml|(text|application)/xml)\b", re.IGNORECASE
).match


class BackendRefusedUsError(S3Error):
    """The backend does not take our credential, or not for this. Never the client's fault: 502."""

    def __init__(self, code: str) -> None:
        super().__init__(
            "InternalError",
            status=502,
            reason="backend_auth",
            detail=f"the backend answered {code} to our credential",
        )


def kept_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The response header fields that go on, byte for byte (W8)."""
    kept = []
    for name, value in headers:
        if name in _KEPT or name.startswith(_KEPT_PREFIXES):
            kept.append((name, value))
            if name == "content-type" and _ACTIVE(value):
                kept += [("x-content-type-options", "nosniff"), ("content-security-policy", "sandbox")]
    return kept


def backend_error(status: int, body: bytes, request: S3Request) -> S3Error:
    """The refusal that the client gets for an answer of the backend with `status` outside 2xx and 304 (RSG-198).

    Args:
        body: the beginning of the backend's document; empty for HEAD.
    """
    if 300 <= status < 400 or status < 200:
        # A redirect is never followed: it would carry our signature elsewhere (BAK-190).
        return S3Error("InternalError", status=502, reason="backend_redirect", detail=f"the backend answered {status}")
    match = _CODE(body)
    code = match[1].decode("ascii") if match else ""
    code = _ALIASES.get(code, code)
    if code == "NoSuchKey" and "uploadId" in request.parameters:
        code = "NoSuchUpload"  # RGW's word for an upload that it does not know
    if code in _OUR_FAULT or (status in (401, 403) and not code):
        return BackendRefusedUsError(code or str(status))
    if code not in CATALOGUE:
        if status == 404 and (request.address.key is None or request.operation is HEAD_BUCKET):
            code = "NoSuchBucket"
        elif status >= 500 and status not in _BY_STATUS:
            return S3Error("InternalError", status=502, reason="backend_error", detail=f"{status} {code}".strip())
        else:
            detail = f"{status} {code}".strip()
            return S3Error(_BY_STATUS.get(status, "InvalidRequest"), reason="backend_error", detail=detail)
    fields = {}
    if request.address.key is not None:
        fields["Key"] = request.address.key
    if request.address.bucket is not None:
        fields["BucketName"] = request.address.bucket
    return S3Error(code, reason="backend_error", retry_after=1 if status == 503 else None, extra=fields)
