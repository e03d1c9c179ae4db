"""Operations whose body is a document: read, checked, understood, and written anew for the backend.

The client's text never goes on. What the backend parses is what we authorized, key by key.
"""

from __future__ import annotations

import base64
import hashlib
import re

from gateway.access import may
from gateway.backend import Backend
from gateway.bodies import read_document
from gateway.errors import S3Error
from gateway.events import Trace
from gateway.messages import Body, Reply
from gateway.s3.address import Fold, checked_key, refuse_folded
from gateway.s3.checksums import Digests
from gateway.s3.operation import S3Request
from gateway.s3.reply import backend_error, kept_headers
from gateway.s3.rewrite import OutboundRequest
from gateway.s3.xml import (
    DeleteRequest,
    escape,
    parse_complete,
    parse_delete,
    parse_location,
    render_complete,
    render_delete,
)
from gateway.sigv4.verify import Verified
from gateway.transfer import ERROR_LIMIT, SLOW_ANSWER, Names, drop_checksums, reply_of
from keystore.model import AccessKey

DELETE_LIMIT = 2 << 20  # bytes, AWS's
COMPLETE_LIMIT = 2 << 20  # 10 000 parts with a SHA-256 each make 1.7 MB
LOCATION_LIMIT = 64 * 1024
RESULT_LIMIT = 4 << 20

_END = re.compile(rb"</DeleteResult>\s*\Z|/>\s*\Z")


async def delete_objects(
    request: S3Request,
    outbound: OutboundRequest,
    body: Body,
    verified: Verified,
    key: AccessKey,
    backend: Backend,
    trace: Trace,
    names: Names,
) -> Reply:
    """DeleteObjects: each key is authorized by itself; the refused ones come back as errors (CPY-156).

    Raises:
        S3Error: InvalidRequest without a checksum of the document, MalformedXML, and what `transfer` raises.
    """
    data = await read_document(body, verified, request.headers, limit=DELETE_LIMIT)
    _check_digest(request, data, required=True)
    wanted = parse_delete(data)
    allowed, refused = _divide(wanted, key, request.address.bucket or "", backend.traits.folds)
    errors = b"".join(_error_entry(name, version, code) for name, version, code in refused)
    headers = [("content-type", "application/xml")]
    if not allowed:
        document = (
            b'<?xml version="1.0" encoding="UTF-8"?>\n'
            b'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' + errors + b"</DeleteResult>"
        )
        return Reply(200, headers, document, len(document))
    document = render_delete(allowed, quiet=wanted.quiet)
    outbound.headers.append(
        ("content-md5", base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode())
    )
    outbound.headers.append(("content-type", "application/xml"))
    answer = await backend.send(outbound, document)
    if not refused:
        return await reply_of(request, answer, trace, names)
    trace.upstream_status = answer.status
    result = await answer.read_all(RESULT_LIMIT)
    if answer.status != 200:
        raise backend_error(answer.status, result[:ERROR_LIMIT], request)
    merged, ends = _END.subn(
        lambda end: (b">" if end[0].startswith(b"/>") else b"") + errors + b"</DeleteResult>", result, count=1
    )
    if not ends:
        # Without our errors in it, a quiet client would take the refused keys for deleted ones.
        raise S3Error("InternalError", status=502, reason="backend_error", detail="a DeleteResult without an end")
    return Reply(200, kept_headers(answer.headers), merged, len(merged))


def _divide(
    wanted: DeleteRequest, key: AccessKey, bucket: str, folds: frozenset[Fold]
) -> tuple[list[tuple[str, str | None]], list[tuple[str, str | None, str]]]:
    """The entries that may be deleted, and the others with the code that each is refused with."""
    allowed, refused = [], []
    for name, version in wanted.objects:
        checked_key(name)  # a key that no object can have spoils the whole document
        action = "s3:DeleteObject" if version is None else "s3:DeleteObjectVersion"
        if not may(key, action, bucket):
            refused.append((name, version, "AccessDenied"))
            continue
        try:
            refuse_folded(name, folds)
        except S3Error as error:
            refused.append((name, version, error.code))
        else:
            allowed.append((name, version))
    return allowed, refused


def _error_entry(name: str, version: str | None, code: str) -> bytes:
    inner = f"<Key>{escape(name)}</Key>"
    if version is not None:
        inner += f"<VersionId>{escape(version)}</VersionId>"
    return f"<Error>{inner}<Code>{code}</Code><Message>{S3Error(code).message}</Message></Error>".encode()


async def complete_upload(
    request: S3Request,
    outbound: OutboundRequest,
    body: Body,
    verified: Verified,
    backend: Backend,
    trace: Trace,
    names: Names,
) -> Reply:
    """CompleteMultipartUpload: the list of parts is understood and written anew (CPY-159)."""
    data = await read_document(body, verified, request.headers, limit=COMPLETE_LIMIT)
    parts = parse_complete(data)
    if not backend.traits.trailers:
        parts = [part.without_checksums() for part in parts]
        drop_checksums(outbound)
    outbound.headers.append(("content-type", "application/xml"))
    answer = await backend.send(outbound, render_complete(parts), first_byte=SLOW_ANSWER)
    return await reply_of(request, answer, trace, names)


async def read_location(request: S3Request, body: Body, verified: Verified) -> str | None:
    """The LocationConstraint of CreateBucket; None if the client states none."""
    data = await read_document(body, verified, request.headers, limit=LOCATION_LIMIT)
    _check_digest(request, data, required=False)
    return parse_location(data) if data else None


def _check_digest(request: S3Request, data: bytes, *, required: bool) -> None:
    digests = Digests.expected(request.headers, frozenset())
    if digests.active:
        digests.update(data)
        digests.check({})
    elif required:
        raise S3Error(
            "InvalidRequest",
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
            reason="malformed_header",
        )
