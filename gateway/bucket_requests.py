"""Operations on buckets themselves. Which buckets there are is told by the key store, not by the backend."""

from __future__ import annotations

from contextlib import suppress

from gateway.access import may
from gateway.backend import Backend
from gateway.errors import S3Error
from gateway.events import Trace
from gateway.messages import Reply
from gateway.naming import backend_bucket_name
from gateway.s3.operation import S3Request
from gateway.s3.reply import backend_error
from gateway.s3.rewrite import OutboundRequest, forwarded_headers
from gateway.s3.xml import render_list_buckets, render_location
from gateway.transfer import ERROR_LIMIT
from keystore.model import AccessKey, Bucket, Conflict, Invalid, NotFound
from keystore.protocols import BucketKeeper, KeyReader

XML = ("content-type", "application/xml")


async def list_buckets(request: S3Request, key: AccessKey, keys: KeyReader) -> Reply:
    """ListBuckets: the tenant's buckets that this key holds any right in (CFG-174); paged as AWS does."""
    prefix = request.parameters.get("prefix", "")
    after = request.parameters.get("continuation-token", "")
    limit = int(request.parameters.get("max-buckets", "10000"))
    buckets = [
        bucket
        for bucket in await keys.list_buckets(key.tenant_id)
        if bucket.name.startswith(prefix) and bucket.name > after and may(key, "s3:HeadBucket", bucket.name)
    ]
    page, rest = buckets[:limit], buckets[limit:]
    document = render_list_buckets(
        str(key.tenant_id),
        key.tenant,
        [(bucket.name, f"{bucket.created_at:%Y-%m-%dT%H:%M:%S.000Z}") for bucket in page],
        continuation_token=page[-1].name if rest and page else None,
    )
    return Reply(200, [XML], document, len(document))


def bucket_location(region: str) -> Reply:
    """GetBucketLocation: our region, which is what clients sign for (C27)."""
    document = render_location(region)
    return Reply(200, [XML], document, len(document))


async def create_bucket(
    request: S3Request,
    key: AccessKey,
    location: str | None,
    region: str,
    keys: KeyReader,
    buckets: BucketKeeper,
    backend: Backend,
    trace: Trace,
) -> Reply:
    """CreateBucket. The name belongs to the tenant from the moment that the key store has it.

    A bucket that already lies in the store under the backend's name is not taken over: that is `buckets adopt`, an
    operator's decision.

    Raises:
        S3Error: BucketAlreadyOwnedByYou, BucketAlreadyExists, InvalidLocationConstraint, or the backend's refusal.
    """
    forwarded_headers(request)  # none is; an ACL or a lock that the bucket would not get is refused (HDR-094)
    name = request.address.bucket or ""
    if location not in (None, "", region, "us-east-1"):
        raise S3Error("InvalidLocationConstraint", reason="malformed_body", LocationConstraint=location or "")
    if await keys.find_bucket(key.tenant_id, name) is not None:
        raise S3Error("BucketAlreadyOwnedByYou", reason="conflict", BucketName=name)
    try:
        backend_name = backend_bucket_name(key.tenant, name)
    except Invalid as error:
        raise S3Error("InvalidBucketName", reason="malformed_target", detail=str(error), BucketName=name) from None
    path = f"/{backend_name}"
    probe = await backend.send(OutboundRequest("HEAD", path, [], []))
    if probe.status != 404:
        if probe.status not in (200, 403):
            raise backend_error(probe.status, b"", request)
        raise S3Error("BucketAlreadyExists", reason="conflict", BucketName=name)
    try:
        bucket = await buckets.add_bucket(key.tenant_id, name, backend_name)
    except Conflict:
        raise S3Error("BucketAlreadyExists", reason="conflict", BucketName=name) from None
    answer = await backend.send(OutboundRequest("PUT", path, [], []))
    trace.upstream_status = answer.status
    if not 200 <= answer.status < 300:
        refusal = backend_error(answer.status, await answer.read_all(ERROR_LIMIT), request)
        await buckets.remove_bucket(bucket.id)
        raise refusal
    answer.close()
    return Reply(200, [("location", f"/{name}")], b"", 0)


async def delete_bucket(
    request: S3Request, bucket: Bucket, buckets: BucketKeeper, backend: Backend, trace: Trace
) -> Reply:
    """DeleteBucket: at the backend first; then the key store forgets the name and every grant on it."""
    forwarded_headers(request)  # none is; a condition that we could not hold, such as the bucket's owner, is refused
    answer = await backend.send(OutboundRequest("DELETE", f"/{bucket.backend_name}", [], []))
    trace.upstream_status = answer.status
    if not 200 <= answer.status < 300:
        refusal = backend_error(answer.status, await answer.read_all(ERROR_LIMIT), request)
        if refusal.code != "NoSuchBucket":
            raise refusal
    answer.close()
    with suppress(NotFound):  # somebody else deleted it in the same moment
        await buckets.remove_bucket(bucket.id)
    return Reply(204)
