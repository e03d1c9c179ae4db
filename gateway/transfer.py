"""Bytes flow: an authorized request to the backend, and its answer back.

Which carrier a body takes is decided in one place, `_send_object`: a small body is read and checked first; a large one
passes piece by piece with its last piece held back; one whose checksum comes in the trailer is framed anew where the
store keeps checksums.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from gateway.backend import UNSIGNED_TRAILER, Backend
from gateway.bodies import MAX_OBJECT, MAX_PART, SMALL, CheckedBody, read_document
from gateway.errors import S3Error
from gateway.events import Trace
from gateway.messages import Body, Reply
from gateway.s3.address import Fold, unsupported_key
from gateway.s3.operation import (
    COPY_OBJECT,
    CREATE_MULTIPART_UPLOAD,
    UPLOAD_PART,
    UPLOAD_PART_COPY,
    Carries,
    S3Request,
)
from gateway.s3.reply import DOCUMENTS, backend_error, kept_headers
from gateway.s3.rewrite import OutboundRequest
from gateway.s3.xml import XmlRewriter
from gateway.sigv4.framing import TrailerFraming
from gateway.sigv4.verify import Verified
from gateway.upstream import UpstreamError, UpstreamReply

NO_BODY_LIMIT = 64 * 1024  # bytes of a body that an operation does not expect
ERROR_LIMIT = 64 * 1024
SLOW_ANSWER = 900.0  # seconds: a store may take minutes to copy or to put parts together

_SLOW = frozenset({COPY_OBJECT, UPLOAD_PART_COPY})
_MULTIPART = frozenset({CREATE_MULTIPART_UPLOAD, UPLOAD_PART, UPLOAD_PART_COPY})

Names = Mapping[str, str | None]  # what replaces the backend's names in documents, by element; None takes one out


async def transfer(
    request: S3Request,
    outbound: OutboundRequest,
    body: Body,
    verified: Verified,
    backend: Backend,
    trace: Trace,
    names: Names,
) -> Reply:
    """Send an authorized request and return the answer, streaming both ways.

    Raises:
        S3Error: a refused body, or the backend's refusal in our words.
        UpstreamError: a backend that failed.
    """
    if request.operation in _MULTIPART and not backend.traits.trailers:
        drop_checksums(outbound)
    if request.operation.carries is Carries.OBJECT:
        answer = await _send_object(request, outbound, body, verified, backend)
    else:
        await read_document(body, verified, request.headers, limit=NO_BODY_LIMIT)
        answer = await backend.send(outbound, first_byte=SLOW_ANSWER if request.operation in _SLOW else None)
    return await reply_of(request, answer, trace, names)


def drop_checksums(outbound: OutboundRequest) -> None:
    """Where a checksum in a trailer is lost on the way, an upload in parts must not promise one (K16)."""
    outbound.headers = [
        (name, value)
        for name, value in outbound.headers
        if not name.startswith("x-amz-checksum-") and name != "x-amz-sdk-checksum-algorithm"
    ]


async def _send_object(
    request: S3Request, outbound: OutboundRequest, body: Body, verified: Verified, backend: Backend
) -> UpstreamReply:
    limit = MAX_PART if request.operation is UPLOAD_PART else MAX_OBJECT
    checked = CheckedBody(body, verified, request.headers, limit=limit)
    if Fold.DIRECTORY in backend.traits.folds and checked.length and (request.address.key or "").endswith("/"):
        raise unsupported_key(Fold.DIRECTORY)
    if checked.length <= SMALL:
        data = await checked.read_all()
        if request.operation not in _MULTIPART or backend.traits.trailers:
            outbound.headers += checked.trailers.items()
        return await backend.send(outbound, data)
    trailer = checked.only_trailer
    if trailer is not None and backend.traits.trailers:
        framing = TrailerFraming(checked.length, trailer)
        outbound.headers += [
            ("x-amz-decoded-content-length", str(checked.length)),
            ("x-amz-trailer", trailer),
        ]
        return await backend.send(
            outbound,
            _framed(checked, framing, trailer),
            length=framing.encoded_length,
            payload=UNSIGNED_TRAILER,
        )
    if trailer is not None:
        outbound.headers = [(n, v) for n, v in outbound.headers if n != "x-amz-sdk-checksum-algorithm"]
    return await backend.send(outbound, checked.pieces(), length=checked.length)


async def _framed(
    checked: CheckedBody, framing: TrailerFraming, trailer: str
) -> AsyncGenerator[bytes | memoryview, None]:
    async for piece in checked.pieces():
        for part in framing.frame(piece):
            yield part
    yield framing.end(checked.trailers[trailer])


def upstream_failure(error: UpstreamError, trace: Trace) -> S3Error:
    """What a client is told when the backend could not be asked; SDKs repeat 503 and 502 by themselves."""
    trace.upstream_error = error.reason
    detail = f"backend: {error}"
    if error.reason == "busy":
        return S3Error("SlowDown", reason="backend_error", detail=detail, retry_after=1)
    if error.reason in ("connect", "timeout", "tls"):
        status = 504 if error.reason == "timeout" else None
        return S3Error("ServiceUnavailable", status=status, reason="backend_error", detail=detail, retry_after=1)
    return S3Error("InternalError", status=502, reason="backend_error", detail=detail)


async def reply_of(request: S3Request, answer: UpstreamReply, trace: Trace, names: Names) -> Reply:
    """The client's answer out of the backend's.

    Raises:
        S3Error: for every status but 2xx and 304.
    """
    trace.upstream_status = answer.status
    if not (200 <= answer.status < 300 or answer.status == 304):
        head_only = request.method == "HEAD"
        document = b"" if head_only else await answer.read_all(ERROR_LIMIT)
        answer.close()
        if head_only and (code := answer.header("x-minio-error-code")):
            document = f"<Code>{code}</Code>".encode("latin-1")  # what MinIO says where no body can
        raise backend_error(answer.status, document, request)
    headers = kept_headers(answer.headers)
    if request.method == "HEAD" or answer.status in (204, 304):
        return Reply(answer.status, headers, length=_length(answer) if answer.status == 200 else None)
    if request.operation in DOCUMENTS:
        rewriter = XmlRewriter(names)
        if answer.complete:
            data = rewriter.feed(await answer.read_all(1 << 20)) + rewriter.finish()
            return Reply(answer.status, headers, data, len(data))
        return Reply(answer.status, headers, _rewritten(answer, rewriter))
    if answer.complete:
        data = await answer.read_all(1 << 20)
        return Reply(answer.status, headers, data, len(data))
    return Reply(answer.status, headers, _pieces(answer), _length(answer))


def _length(answer: UpstreamReply) -> int | None:
    stated = answer.header("content-length")
    return None if stated is None else int(stated)


async def _pieces(answer: UpstreamReply) -> AsyncIterator[bytes]:
    try:
        while piece := await answer.read():
            yield piece
    finally:
        answer.close()


async def _rewritten(answer: UpstreamReply, rewriter: XmlRewriter) -> AsyncIterator[bytes]:
    try:
        while piece := await answer.read():
            if out := rewriter.feed(piece):
                yield out
        if out := rewriter.finish():
            yield out
    finally:
        answer.close()
