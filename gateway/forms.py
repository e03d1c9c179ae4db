"""Browser uploads: a POST form with a signed policy goes on as a PutObject (F10).

The client's policy cannot be signed again, so it is enforced here, the length of the file while it passes. The
credential stands in the body; what is read before it is checked is bounded (F2).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime

from gateway.backend import Backend
from gateway.bodies import MAX_OBJECT
from gateway.errors import S3Error
from gateway.events import Trace
from gateway.messages import Body, Reply, RequestHead
from gateway.s3.address import Address, checked_key
from gateway.s3.checksums import Digests
from gateway.s3.form import FormParser
from gateway.s3.operation import POST_OBJECT, S3Request
from gateway.s3.postobject import AcceptedForm, accept_form, redirect_target
from gateway.s3.reply import kept_headers
from gateway.s3.rewrite import OutboundRequest
from gateway.s3.xml import render_post_response
from gateway.sigv4.claim import Claim
from gateway.sigv4.postpolicy import read_form_claim
from gateway.transfer import Names, reply_of

SMALL_FORM = 256 * 1024  # bytes; up to this a form is read to its end before anything is sent upstream


def is_form(head: RequestHead) -> bool:
    """Whether the credential is in a form: a POST of multipart/form-data that carries none elsewhere (P7)."""
    content_type = (head.headers.get("content-type") or "").lower()
    return (
        head.method == "POST"
        and content_type.startswith("multipart/form-data")
        and "authorization" not in head.headers
        and not head.query
    )


class FormUpload:
    """One form: read up to its file, accepted by its policy, then sent on."""

    def __init__(self, parser: FormParser, body: Body, file: list[bytes]) -> None:
        self._parser = parser
        self._body = body
        self._file = file
        self._accepted: AcceptedForm | None = None
        self.claim: Claim = read_form_claim(parser.fields)

    @classmethod
    async def begin(cls, head: RequestHead, body: Body) -> FormUpload:
        """Read the fields, which come before the file.

        Raises:
            S3Error: MalformedPOSTRequest and what else is wrong with form or credential.
        """
        parser = FormParser(head.headers.get("content-type") or "")
        file: list[bytes] = []
        while not parser.file_begun:
            data = await body.read()
            if not data:
                parser.finish()
                break
            file += [bytes(piece) for piece in parser.feed(data)]
        return cls(parser, body, file)

    def accept(self, head: RequestHead, address: Address, now: datetime) -> S3Request:
        """The PutObject that the form asks for, if its policy allows it. To be called once its signature is verified.

        Raises:
            S3Error: MethodNotAllowed unless the path is a bucket, and what `accept_form` raises.
        """
        if address.bucket is None or address.key is not None:
            raise S3Error("MethodNotAllowed", reason="operation_disabled", Method=head.method, ResourceType="OBJECT")
        fields = self._parser.fields
        self._accepted = accept_form(
            fields, self._parser.filename, bucket=address.bucket, stated=self.claim.time, now=now
        )
        target = Address(address.bucket, checked_key(self._accepted.key))
        return S3Request(POST_OBJECT, target, {}, self._accepted.headers, head.method)

    async def upload(
        self, request: S3Request, outbound: OutboundRequest, backend: Backend, trace: Trace, names: Names
    ) -> Reply:
        """Send the file and answer as the form wishes (F9).

        Raises:
            S3Error: EntityTooLarge, EntityTooSmall, MalformedPOSTRequest or a wrong checksum, and then nothing was
                committed; or the backend's refusal.
        """
        form = self._accepted
        if form is None:
            raise S3Error("InternalError", reason="internal_error", detail="a form was sent before it was accepted")
        digests = Digests.expected(request.headers, frozenset())
        length = self._body.length
        if length is not None and length > SMALL_FORM:
            expected = self._parser.expected_file_length(length)
            _check_length(form, expected)
            answer = await backend.send(outbound, self._pieces(digests, expected), length=expected)
        else:
            answer = await backend.send(outbound, await self._read_all(form, digests))
        reply = await reply_of(request, answer, trace, names)
        return self._reply(form, request, reply, names)

    async def _read_all(self, form: AcceptedForm, digests: Digests) -> bytes:
        parts = self._file
        size = sum(map(len, parts))
        while data := await self._body.read():
            for piece in self._parser.feed(data):
                size += len(piece)
                if size > SMALL_FORM:
                    raise S3Error("MissingContentLength", reason="malformed_body")
                parts.append(bytes(piece))
        self._parser.finish()
        _check_length(form, size)
        data = b"".join(parts)
        digests.update(data)
        digests.check({})
        return data

    async def _pieces(self, digests: Digests, expected: int) -> AsyncGenerator[bytes | memoryview, None]:
        """The file's bytes, the last of them only after the closing boundary (K15)."""
        held = b"".join(self._file)
        size = len(held)
        digests.update(held)
        while data := await self._body.read():
            for piece in self._parser.feed(data):
                size += len(piece)
                if size > expected:
                    raise _ends_otherwise()
                digests.update(piece)
                if held:
                    yield held
                held = bytes(piece)
        self._parser.finish()
        if size != expected:
            raise _ends_otherwise()
        digests.check({})
        if held:
            yield held

    def _reply(self, form: AcceptedForm, request: S3Request, reply: Reply, names: Names) -> Reply:
        etag = next((value for name, value in reply.headers if name == "etag"), "")
        location = names["Location"] or ""
        bucket, key = request.address.bucket or "", request.address.key or ""
        headers = [*kept_headers(reply.headers), ("location", location)]
        if form.success_url is not None:
            target = redirect_target(form.success_url, bucket=bucket, key=key, etag=etag)
            return Reply(303, [("location", target), ("etag", etag)], b"", 0)
        if form.success_status == 201:
            document = render_post_response(location, bucket, key, etag)
            return Reply(201, [*headers, ("content-type", "application/xml")], document, len(document))
        return Reply(form.success_status, headers, b"", 0 if form.success_status == 200 else None)


def _check_length(form: AcceptedForm, size: int) -> None:
    if form.length_range is not None:
        form.length_range.check_complete(size)
    if not 0 <= size <= MAX_OBJECT:
        raise S3Error("EntityTooLarge", reason="malformed_body", ProposedSize=str(size), MaxSizeAllowed=str(MAX_OBJECT))


def _ends_otherwise() -> S3Error:
    """A large file's length is computed from the request's; that needs the file last and a plain ending."""
    return S3Error(
        "MalformedPOSTRequest",
        "In a large upload the file must be the last field of the form.",
        reason="malformed_body",
    )
