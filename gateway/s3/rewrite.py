"""Drop ours, keep theirs: the request as the backend shall see it.

Built anew from parsed values by allow-list; nothing of the client's target, copy source or header block is pasted
through (O4, O10). What is not understood but could mean something to a store is refused, not dropped: a client that
asked for a retention date must not be told 200 without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import S3Error
from gateway.messages import Headers
from gateway.s3.address import Fold, refuse_folded, unsupported_key
from gateway.s3.operation import (
    COMPLETE_MULTIPART_UPLOAD,
    COPY_OBJECT,
    CREATE_MULTIPART_UPLOAD,
    DELETE_OBJECT,
    GET_OBJECT,
    HEAD_OBJECT,
    POST_OBJECT,
    PUT_OBJECT,
    UPLOAD_PART,
    UPLOAD_PART_COPY,
    Operation,
    S3Request,
)
from gateway.sigv4.encoding import encode

DEFAULT_TYPE = "binary/octet-stream"  # S3's, of objects that were given none
MAX_METADATA = 2048  # bytes of user metadata, names without prefix and values (PTH-121)


@dataclass(slots=True)
class OutboundRequest:
    """A request to the backend before it is signed: decoded path and parameters, lower-cased headers, each once."""

    method: str
    path: str
    parameters: list[tuple[str, str]]
    headers: list[tuple[str, str]]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_REPRESENTATION = _names("cache-control content-disposition content-encoding content-language content-type expires")
_CONDITIONS = _names("if-match if-none-match if-modified-since if-unmodified-since")
_CUSTOMER_KEY = _names(
    "x-amz-server-side-encryption-customer-algorithm x-amz-server-side-encryption-customer-key "
    "x-amz-server-side-encryption-customer-key-md5"
)
_ENCRYPTION = _CUSTOMER_KEY | _names(
    "x-amz-server-side-encryption x-amz-server-side-encryption-aws-kms-key-id "
    "x-amz-server-side-encryption-bucket-key-enabled x-amz-server-side-encryption-context"
)
_COPY = _names(
    "x-amz-copy-source-if-match x-amz-copy-source-if-modified-since x-amz-copy-source-if-none-match "
    "x-amz-copy-source-if-unmodified-since x-amz-copy-source-server-side-encryption-customer-algorithm "
    "x-amz-copy-source-server-side-encryption-customer-key x-amz-copy-source-server-side-encryption-customer-key-md5"
)
_CHECKSUM_VALUES = _names(
    "x-amz-checksum-crc32 x-amz-checksum-crc32c x-amz-checksum-crc64nvme x-amz-checksum-sha1 x-amz-checksum-sha256"
)
_UPLOAD = _CHECKSUM_VALUES | _names("content-md5 x-amz-sdk-checksum-algorithm")
_NEW_OBJECT = _REPRESENTATION | _ENCRYPTION | _names("x-amz-storage-class")

# What each operation passes on. Anything not named here stays behind or is refused below.
_FORWARDED: Mapping[Operation, frozenset[str]] = {
    GET_OBJECT: _CONDITIONS | _CUSTOMER_KEY | _names("range x-amz-checksum-mode"),
    HEAD_OBJECT: _CONDITIONS | _CUSTOMER_KEY | _names("range x-amz-checksum-mode"),
    PUT_OBJECT: _NEW_OBJECT | _UPLOAD | _names("if-match if-none-match"),
    POST_OBJECT: _NEW_OBJECT | _UPLOAD,
    COPY_OBJECT: _NEW_OBJECT
    | _COPY
    | _names("if-match if-none-match x-amz-metadata-directive x-amz-tagging-directive x-amz-checksum-algorithm"),
    CREATE_MULTIPART_UPLOAD: _NEW_OBJECT | _names("x-amz-checksum-algorithm x-amz-checksum-type"),
    UPLOAD_PART: _UPLOAD | _CUSTOMER_KEY,
    UPLOAD_PART_COPY: _COPY | _CUSTOMER_KEY | _names("x-amz-copy-source-range"),
    COMPLETE_MULTIPART_UPLOAD: _CHECKSUM_VALUES
    | _CUSTOMER_KEY
    | _names("if-match if-none-match x-amz-checksum-type x-amz-mp-object-size"),
    DELETE_OBJECT: _names("if-match"),
}
# Beside an upload in one piece, whose length decides; see `transfer`.
_MAKES_DATA = frozenset({POST_OBJECT, COPY_OBJECT, CREATE_MULTIPART_UPLOAD})
_NAMES_TYPE = frozenset({PUT_OBJECT, POST_OBJECT, CREATE_MULTIPART_UPLOAD})
_WITH_METADATA = frozenset({PUT_OBJECT, POST_OBJECT, COPY_OBJECT, CREATE_MULTIPART_UPLOAD})

# Ours to make again, or of no meaning to a store.
_STAYS_BEHIND = _names(
    "x-amz-content-sha256 x-amz-date x-amz-decoded-content-length x-amz-trailer x-amz-copy-source x-amz-user-agent "
    "x-amz-cf-id x-amz-te x-amz-request-payer x-amz-api-version x-amz-optional-object-attributes "
    "x-amz-checksum-mode x-amz-sdk-checksum-algorithm x-amz-checksum-algorithm"
)
_OF_NOTHING = {
    "x-amz-checksum-crc32": "AAAAAA==",
    "x-amz-checksum-crc32c": "AAAAAA==",
    "x-amz-checksum-crc64nvme": "AAAAAAAAAAA=",
    "x-amz-checksum-sha1": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
    "x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
}
# Carried by these presets' rights only in the form that changes nothing.
_HARMLESS_ACLS = _names("private bucket-owner-full-control")


def forwarded_headers(request: S3Request) -> list[tuple[str, str]]:
    """The header fields of the client that go on, each once, lists joined (O11).

    Raises:
        S3Error: AccessDenied for ACLs and other rights a data key does not hold, NotImplemented for x-amz-* fields that
            mean something we do not do, MetadataTooLarge, InvalidArgument for text that is not UTF-8.
    """
    operation = request.operation
    allowed = _FORWARDED.get(operation, frozenset())
    metadata = 0
    fields = []
    for name in request.headers.names():
        if name in allowed:
            pass
        elif name.startswith("x-amz-meta-"):
            if operation not in _WITH_METADATA:
                continue
            metadata += len(name) - len("x-amz-meta-") + len(request.headers.joined(name) or "")
        elif name.startswith("x-amz-") and name not in _STAYS_BEHIND:
            _refuse_unless_harmless(name, request)
            continue
        else:
            continue
        value = _checked_value(name, request.headers.joined(name) or "")
        if value or name.startswith("x-amz-meta-"):  # an empty Content-Type is none, and stores do not agree on it
            fields.append((name, value))
    if metadata > MAX_METADATA:
        raise S3Error(
            "MetadataTooLarge",
            reason="malformed_header",
            Size=str(metadata),
            MaxSizeAllowed=str(MAX_METADATA),
        )
    return fields


def _refuse_unless_harmless(name: str, request: S3Request) -> None:
    value = request.headers.get(name) or ""
    if name == "x-amz-acl" and value in _HARMLESS_ACLS:
        return
    if name in _CHECKSUM_VALUES and not request.operation.writes_object:
        return  # of the document's body: checked here; what goes on is a document of ours
    if name == "x-amz-acl" or name.startswith(("x-amz-grant-", "x-amz-bypass-")):
        raise S3Error("AccessDenied", reason="permission", detail=f"{name} needs a right that no data key holds")
    raise S3Error("NotImplemented", reason="operation_disabled", Header=name)


def _checked_value(name: str, value: str) -> str:
    if not value.isascii():
        try:
            value.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            raise S3Error(
                "InvalidArgument",
                "Header values must be valid UTF-8.",
                reason="malformed_header",
                ArgumentName=name,
            ) from None
    return value


def strip_aws_chunked(value: str) -> str:
    """Content-Encoding without the framing's token; the codings that belong to the object stay, in order (K11)."""
    codings = [coding.strip(" \t") for coding in value.split(",")]
    return ",".join(coding for coding in codings if coding.lower() not in ("aws-chunked", ""))


def rewrite(
    request: S3Request,
    backend_bucket: str,
    source_bucket: str | None,
    *,
    streaming: bool,
    folds: frozenset[Fold],
    guesses_type: bool,
) -> OutboundRequest:
    """The backend's form of an authorized request.

    Args:
        backend_bucket: the backend's name of the request's bucket.
        source_bucket: the backend's name of the copy source's bucket, for copies.
        streaming: the client's body is aws-chunked, so that token leaves Content-Encoding.
        folds: what the store makes other keys of; such keys are refused.
        guesses_type: the store would invent a Content-Type, so S3's default is stated.

    Raises:
        S3Error: what `forwarded_headers` raises; InvalidArgument for a key that this store would fold into another.
    """
    key = request.address.key
    source = request.copy_source
    for name in (key, source.key if source else None):
        if name is not None:
            refuse_folded(name, folds)
    if Fold.DIRECTORY in folds and key is not None and key.endswith("/") and request.operation in _MAKES_DATA:
        raise unsupported_key(Fold.DIRECTORY)
    headers = forwarded_headers(request)
    if streaming:
        headers = [
            (name, strip_aws_chunked(value) if name == "content-encoding" else value)
            for name, value in headers
            if name != "content-encoding" or strip_aws_chunked(value)
        ]
    elif any(name == "content-encoding" and "aws-chunked" in value.lower() for name, value in headers):
        raise S3Error(
            "InvalidArgument",
            "aws-chunked encoding is not supported when x-amz-content-sha256 UNSIGNED-PAYLOAD is supplied",
            reason="malformed_header",
            ArgumentName="content-encoding",
        )
    if guesses_type and request.operation in _NAMES_TYPE and all(name != "content-type" for name, _ in headers):
        headers.append(("content-type", DEFAULT_TYPE))
    if source is not None and source_bucket is not None:
        value = f"/{source_bucket}/{encode(source.key, slash=True)}"
        if source.version_id is not None:
            value += f"?versionId={encode(source.version_id)}"
        headers.append(("x-amz-copy-source", value))
    method = "PUT" if request.operation is POST_OBJECT else request.method
    path = f"/{backend_bucket}" if key is None else f"/{backend_bucket}/{key}"
    return OutboundRequest(method, path, list(request.parameters.items()), headers)


def with_hoisted(headers: Headers, hoisted: tuple[tuple[str, str], ...]) -> Headers:
    """The fields that carry meaning: the request's own and those a presigner moved into the query (P5).

    A presigner has no body, and aws-sdk-js v3 by default states the checksum of nothing in its place. AWS ignores
    checksums in the query (aws/aws-sdk#480); we ignore this one, and check the others.
    """
    if not hoisted:
        return headers
    stated = {name for name, value in hoisted if _OF_NOTHING.get(name) == value}
    if stated:
        hoisted = tuple(
            (name, value) for name, value in hoisted if name not in stated and name != "x-amz-sdk-checksum-algorithm"
        )
    return Headers([*headers, *hoisted])
