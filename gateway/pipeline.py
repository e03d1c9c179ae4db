"""The whole life of an S3 request, in one function. A security review begins and ends here.

Each step makes a new value and the next takes only that: `Claim` is what they say, `Verified` what was checked,
`S3Request` what was understood, `OutboundRequest` what the backend will see. The first step that refuses raises
`S3Error`, and nothing below it runs. The function awaits only what it is handed, has no clock and knows no HTTP server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.access import authenticate, authorize
from gateway.backend import Backend
from gateway.bucket_requests import bucket_location, create_bucket, delete_bucket, list_buckets
from gateway.documents import complete_upload, delete_objects, read_location
from gateway.errors import S3Error
from gateway.events import Trace
from gateway.forms import FormUpload, is_form
from gateway.messages import Body, Reply, RequestHead
from gateway.s3.address import locate, printable
from gateway.s3.operation import (
    COMPLETE_MULTIPART_UPLOAD,
    CREATE_BUCKET,
    DELETE_BUCKET,
    DELETE_OBJECTS,
    GET_BUCKET_LOCATION,
    HEAD_BUCKET,
    LIST_BUCKETS,
    S3Request,
    identify,
)
from gateway.s3.rewrite import rewrite, with_hoisted
from gateway.s3.xml import escape
from gateway.sigv4.claim import Claim, read_claim
from gateway.sigv4.encoding import encode
from gateway.sigv4.verify import check_clock, check_region
from gateway.transfer import Names, transfer, upstream_failure
from gateway.upstream import UpstreamError
from keystore.model import AccessKey, Bucket, KeyStoreUnavailable
from keystore.protocols import BucketKeeper, KeyReader


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the configuration the pipeline needs."""

    region: str
    strict_region: bool
    virtual_host_suffixes: tuple[str, ...]
    explain_signature_errors: bool
    endpoint_url: str


@dataclass(frozen=True, slots=True)
class Doors:
    """What the pipeline may ask of the world."""

    keys: KeyReader
    buckets: BucketKeeper
    backend: Backend
    now: Callable[[], datetime]
    settings: Settings


async def serve(head: RequestHead, body: Body, doors: Doors, trace: Trace) -> Reply:
    """Serve one S3 request.

    Raises:
        S3Error: a refusal; nothing reached the backend unless the body or the backend itself was the cause, and then
            nothing was committed.
    """
    try:
        settings = doors.settings
        now = doors.now()
        # Who do they say they are?
        form = await FormUpload.begin(head, body) if is_form(head) else None
        claim = read_claim(head) if form is None else form.claim
        _note_claim(trace, claim)
        check_region(claim, settings.region if settings.strict_region else None)
        check_clock(claim, now)
        # Do we know them? The only question asked of the key store before the signature is checked.
        found = await doors.keys.find_key(claim.access_key_id)
        # Is it really them?
        caller = authenticate(
            claim,
            head,
            found,
            now,
            trace,
            explain=settings.explain_signature_errors,
            public_url=settings.endpoint_url,
        )
        key, verified = caller.key, caller.verified
        trace.tenant = key.tenant
        # What do they ask?
        address = locate(head.headers.get("host") or "", head.path, settings.virtual_host_suffixes)
        if form is None:
            request = identify(head.method, address, claim.parameters, with_hoisted(head.headers, claim.hoisted))
        else:
            request = form.accept(head, address, now)
        _note_request(trace, request)
        # May they?
        authorize(key, request)
        # What only the key store can answer, or make.
        if request.operation is LIST_BUCKETS:
            return await list_buckets(request, key, doors.keys)
        if request.operation is CREATE_BUCKET:
            location = await read_location(request, body, verified)
            return await create_bucket(
                request, key, location, settings.region, doors.keys, doors.buckets, doors.backend, trace
            )
        bucket = await _bucket(doors.keys, key, address.bucket)
        source = await _bucket(doors.keys, key, request.copy_source.bucket) if request.copy_source else None
        if request.operation is GET_BUCKET_LOCATION:
            return bucket_location(settings.region)
        if request.operation is DELETE_BUCKET:
            return await delete_bucket(request, bucket, doors.buckets, doors.backend, trace)
        # Drop ours, keep theirs.
        outbound = rewrite(
            request,
            bucket.backend_name,
            source.backend_name if source else None,
            streaming=claim.payload.mode.streaming,
            folds=doors.backend.traits.folds,
            guesses_type=doors.backend.traits.guesses_type,
        )
        names = _names(request, bucket, key, settings, trace)
        # Sign as the backend knows us, and let the bytes flow.
        if form is not None:
            return await form.upload(request, outbound, doors.backend, trace, names)
        if request.operation is DELETE_OBJECTS:
            return await delete_objects(request, outbound, body, verified, key, doors.backend, trace, names)
        if request.operation is COMPLETE_MULTIPART_UPLOAD:
            return await complete_upload(request, outbound, body, verified, doors.backend, trace, names)
        reply = await transfer(request, outbound, body, verified, doors.backend, trace, names)
        if request.operation is HEAD_BUCKET:
            reply.headers.append(("x-amz-bucket-region", settings.region))  # SDKs look for it here (E1)
        return reply
    except UpstreamError as error:
        raise upstream_failure(error, trace) from None
    except KeyStoreUnavailable as error:
        # Never 403: an SDK repeats a 503 and gives up on a 403 (operator-surface 3.4).
        raise S3Error("ServiceUnavailable", reason="key_store_unavailable", detail=str(error), retry_after=1) from None


async def _bucket(keys: KeyReader, key: AccessKey, name: str | None) -> Bucket:
    """The tenant's bucket of this name. Asked only after `authorize`, so the answer tells nobody of foreign buckets."""
    bucket = None if name is None else await keys.find_bucket(key.tenant_id, name)
    if bucket is None:
        raise S3Error("NoSuchBucket", reason="no_such_bucket", BucketName=name or "")
    return bucket


def _names(request: S3Request, bucket: Bucket, key: AccessKey, settings: Settings, trace: Trace) -> Names:
    """What stands in answers in place of the backend's names, owners and addresses (W7)."""
    owner = f"<ID>{key.tenant_id}</ID><DisplayName>{escape(key.tenant)}</DisplayName>"
    object_url = f"{settings.endpoint_url}/{bucket.name}/{encode(request.address.key or '', slash=True)}"
    return {
        "Name": bucket.name,
        "Bucket": bucket.name,
        "BucketName": bucket.name,
        "Owner": owner,
        "Initiator": owner,
        "Location": object_url,
        "Resource": f"/{bucket.name}",
        "RequestId": trace.request_id,
        "HostId": None,
    }


def _note_claim(trace: Trace, claim: Claim) -> None:
    trace.access_key_id = claim.access_key_id
    trace.auth_type = "chunked" if claim.payload.mode.streaming else claim.mechanism.value


def _note_request(trace: Trace, request: S3Request) -> None:
    trace.operation = request.operation.name
    trace.bucket = request.address.bucket
    trace.key = None if request.address.key is None else printable(request.address.key)
