"""What does the request ask? One table: method x level x sub-resources -> operation (section 7 of the wire facts).

A sub-resource is selected by the presence of its exact name, with any value (O2). The set of all sub-resources in a
request must be a row of the table; two that do not belong together are refused, because backends pick one by an
order of their own (O3). Parameters that an operation does not know are refused too: whatever is forwarded was
understood here. What the table does not hold is denied (O5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.errors import S3Error
from gateway.messages import Headers
from gateway.s3.address import Address, CopySource, parse_copy_source


class Level(Enum):
    """What the path names."""

    SERVICE = "SERVICE"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


class Carries(Enum):
    """What the request's body is."""

    NOTHING = "nothing"
    OBJECT = "object"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table. `parameters` are the further query names that it understands; `action` is IAM's name."""

    name: str
    action: str
    parameters: frozenset[str] = frozenset()
    carries: Carries = Carries.NOTHING
    writes_object: bool = False


def _op(name: str, action: str, parameters: str = "", carries: Carries = Carries.NOTHING, **more: bool) -> Operation:
    return Operation(name, f"s3:{action}", frozenset(parameters.split()), carries, **more)


_OVERRIDES = (
    "response-cache-control response-content-disposition response-content-encoding response-content-language "
    "response-content-type response-expires"
)
_LISTING = "prefix delimiter max-keys encoding-type"

LIST_BUCKETS = _op("ListBuckets", "ListAllMyBuckets", "max-buckets continuation-token prefix bucket-region")
CREATE_BUCKET = _op("CreateBucket", "CreateBucket", carries=Carries.DOCUMENT)
DELETE_BUCKET = _op("DeleteBucket", "DeleteBucket")
HEAD_BUCKET = _op("HeadBucket", "HeadBucket")
GET_BUCKET_LOCATION = _op("GetBucketLocation", "GetBucketLocation")
LIST_OBJECTS = _op("ListObjects", "ListBucket", f"{_LISTING} marker")
LIST_OBJECTS_V2 = _op("ListObjectsV2", "ListBucket", f"{_LISTING} continuation-token start-after fetch-owner")
LIST_MULTIPART_UPLOADS = _op(
    "ListMultipartUploads",
    "ListBucketMultipartUploads",
    "prefix delimiter encoding-type max-uploads key-marker upload-id-marker",
)
DELETE_OBJECTS = _op("DeleteObjects", "DeleteObject", carries=Carries.DOCUMENT)
POST_OBJECT = _op("PostObject", "PutObject", carries=Carries.OBJECT, writes_object=True)
GET_OBJECT = _op("GetObject", "GetObject", f"versionId partNumber {_OVERRIDES}")
HEAD_OBJECT = _op("HeadObject", "GetObject", f"versionId partNumber {_OVERRIDES}")
PUT_OBJECT = _op("PutObject", "PutObject", carries=Carries.OBJECT, writes_object=True)
COPY_OBJECT = _op("CopyObject", "PutObject", writes_object=True)
DELETE_OBJECT = _op("DeleteObject", "DeleteObject", "versionId")
CREATE_MULTIPART_UPLOAD = _op("CreateMultipartUpload", "PutObject", writes_object=True)
UPLOAD_PART = _op("UploadPart", "PutObject", carries=Carries.OBJECT)
UPLOAD_PART_COPY = _op("UploadPartCopy", "PutObject")
COMPLETE_MULTIPART_UPLOAD = _op("CompleteMultipartUpload", "PutObject", carries=Carries.DOCUMENT)
ABORT_MULTIPART_UPLOAD = _op("AbortMultipartUpload", "AbortMultipartUpload")
LIST_PARTS = _op("ListParts", "ListMultipartUploadParts", "max-parts part-number-marker encoding-type")

_S, _B, _O = Level.SERVICE, Level.BUCKET, Level.OBJECT


def _selected_by(*names: str) -> frozenset[str]:
    return frozenset(names)


TABLE: Mapping[tuple[str, Level, frozenset[str]], Operation] = {
    ("GET", _S, _selected_by()): LIST_BUCKETS,
    ("GET", _B, _selected_by()): LIST_OBJECTS,
    ("GET", _B, _selected_by("list-type")): LIST_OBJECTS_V2,
    ("GET", _B, _selected_by("location")): GET_BUCKET_LOCATION,
    ("GET", _B, _selected_by("uploads")): LIST_MULTIPART_UPLOADS,
    ("HEAD", _B, _selected_by()): HEAD_BUCKET,
    ("PUT", _B, _selected_by()): CREATE_BUCKET,
    ("DELETE", _B, _selected_by()): DELETE_BUCKET,
    ("POST", _B, _selected_by("delete")): DELETE_OBJECTS,
    ("GET", _O, _selected_by()): GET_OBJECT,
    ("GET", _O, _selected_by("uploadId")): LIST_PARTS,
    ("HEAD", _O, _selected_by()): HEAD_OBJECT,
    ("PUT", _O, _selected_by()): PUT_OBJECT,
    ("PUT", _O, _selected_by("partNumber", "uploadId")): UPLOAD_PART,
    ("POST", _O, _selected_by("uploads")): CREATE_MULTIPART_UPLOAD,
    ("POST", _O, _selected_by("uploadId")): COMPLETE_MULTIPART_UPLOAD,
    ("DELETE", _O, _selected_by()): DELETE_OBJECT,
    ("DELETE", _O, _selected_by("uploadId")): ABORT_MULTIPART_UPLOAD,
}
_COPIES = {PUT_OBJECT: COPY_OBJECT, UPLOAD_PART: UPLOAD_PART_COPY}
_PART_READS = frozenset({"GET", "HEAD"})

# Every name that selects something in S3, in MinIO or in Ceph, implemented here or not.
SUBRESOURCES = frozenset(
    "abac accelerate acl analytics annotation append attributes cors delete encryption events intelligent-tiering "
    "inventory lambdaArn legal-hold lifecycle list-type location logging mdsearch metadata metadataAnnotationTable "
    "metadataConfiguration metadataInventoryTable metadataJournalTable metadataTable metrics notification object-lock "
    "ownershipControls partNumber policy policyStatus position publicAccessBlock query renameObject replication "
    "replication-check replication-metrics replication-reset replication-reset-status requestPayment restore retention "
    "select select-type session tagging torrent uploadId uploads usage versioning versions website".split()
)
# Put on by SDKs to tell operations apart in logs; part of the signature, otherwise nothing (P9).
_IGNORED = frozenset({"x-id"})

_COUNT = re.compile(r"[0-9]{1,10}").fullmatch
_PAGE_SIZES = frozenset({"max-keys", "max-uploads", "max-parts", "max-buckets"})


@dataclass(frozen=True, slots=True)
class S3Request:
    """A request understood: the operation, what it is about, and the header fields that carry meaning.

    `headers` are the request's own and those hoisted into a presigned query (P5); `parameters` holds only names that
    the operation knows, decoded.
    """

    operation: Operation
    address: Address
    parameters: dict[str, str]
    headers: Headers
    method: str
    copy_source: CopySource | None = None

    @property
    def version_id(self) -> str | None:
        return self.parameters.get("versionId")


def level_of(address: Address) -> Level:
    """Service, bucket or object."""
    if address.bucket is None:
        return Level.SERVICE
    return Level.BUCKET if address.key is None else Level.OBJECT


def identify(method: str, address: Address, parameters: tuple[tuple[str, str], ...], headers: Headers) -> S3Request:
    """Find the row of the table and check every parameter against it.

    Raises:
        S3Error: NotImplemented for what S3 knows and we do not, MethodNotAllowed, InvalidArgument for parameters that
            are doubled, unknown, out of range or do not belong together.
    """
    level = level_of(address)
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise _invalid(name, value, "A query parameter occurs more than once.")
        given[name] = value
    selectors = frozenset(given) & SUBRESOURCES
    if method in _PART_READS and level is Level.OBJECT:
        selectors -= {"partNumber"}  # reading one part of an object is still reading it
    operation = TABLE.get((method, level, selectors))
    if operation is None:
        raise _not_in_table(method, level, selectors)

    copy_source = None
    if (source := headers.get("x-amz-copy-source")) is not None:
        if operation not in _COPIES:
            raise _invalid("x-amz-copy-source", source, "This operation does not copy.")
        operation = _COPIES[operation]
        copy_source = parse_copy_source(source)

    understood = {}
    for name, value in given.items():
        if name in _IGNORED:
            continue
        if name not in selectors and name not in operation.parameters:
            raise _invalid(name, value, "This query parameter is not known for this operation.")
        understood[name] = _checked(name, value)
    return S3Request(operation, address, understood, headers, method, copy_source)


def _checked(name: str, value: str) -> str:
    if name in _PAGE_SIZES:
        if _COUNT(value) is None or int(value) > 2**31 - 1:
            raise _invalid(name, value, f"Argument {name} must be an integer between 0 and 2147483647")
        return str(min(int(value), 1000))
    if name == "list-type" and value != "2":
        raise _invalid(name, value, "Invalid List Type specified in Request")
    if name == "partNumber" and (_COUNT(value) is None or not 1 <= int(value) <= 10_000):
        raise _invalid(name, value, "Part number must be an integer between 1 and 10000, inclusive")
    if name == "encoding-type" and value != "url":
        raise _invalid(name, value, "Invalid Encoding Method specified in Request")
    if name in ("uploadId", "versionId", "continuation-token") and not 1 <= len(value) <= 2048:
        raise _invalid(name, value, f"The {name} is not valid.")
    # Line breaks are legal in a prefix or marker as they are in keys; in what becomes a header they are not.
    if "\0" in value or (name.startswith("response-") and ("\r" in value or "\n" in value)):
        raise _invalid(name, value, "This value holds a control character.")
    return value


def _invalid(name: str, value: str, message: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        message,
        reason="malformed_query",
        ArgumentName=name[:128],
        ArgumentValue=value[:128],
    )


def _not_in_table(method: str, level: Level, selectors: frozenset[str]) -> S3Error:
    if len(selectors) > 1:
        return S3Error(
            "InvalidArgument",
            "Conflicting query string parameters: " + ", ".join(sorted(selectors)),
            reason="malformed_query",
            ArgumentName="ResourceType",
            ArgumentValue=", ".join(sorted(selectors)),
        )
    if selectors and (method == "POST" or (method, level, frozenset[str]()) in TABLE):
        return S3Error(
            "NotImplemented",
            f"The {next(iter(selectors))} sub-resource is not implemented.",
            reason="operation_disabled",
        )
    return S3Error("MethodNotAllowed", reason="operation_disabled", Method=method, ResourceType=level.value)
