"""What an accepted browser upload is: a PutObject with the form's fields as its headers (F3, F9, F10)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.errors import S3Error
from gateway.messages import Headers
from gateway.s3.xml import parse_tagging
from gateway.sigv4.encoding import encode
from gateway.sigv4.postpolicy import LengthRange, parse_policy

# Fields that mean a header of the same name. Every x-amz-* field does too, unless it is named below.
_HEADERS = frozenset(
    "cache-control content-disposition content-encoding content-language content-md5 content-type expires".split()
)
_NOT_HEADERS = frozenset("x-amz-algorithm x-amz-credential x-amz-date x-amz-signature".split())
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
# What HTTP carries unchanged: no control characters, no blanks at the ends.
_HEADER_VALUE = re.compile(r"(?![ \t])[^\x00-\x08\x0a-\x1f\x7f]*(?<![ \t])").fullmatch
_URL = re.compile(r"https?://[!-~]+").fullmatch


@dataclass(frozen=True, slots=True)
class AcceptedForm:
    """A form whose policy allows it; that its signature is right was checked before.

    Attributes:
        key: with the file's name put in, wire text; still to be judged like any key.
        headers: what a PutObject with the same meaning carries; still to pass the allow-list of one.
        length_range: to be held while the file passes; None for no limit of the policy's.
        success_status: 200, 201 or 204.
        success_url: where to send the browser with a 303 in place of that; None for nowhere.
    """

    key: str
    headers: Headers
    length_range: LengthRange | None
    success_status: int
    success_url: str | None


def accept_form(
    fields: Mapping[str, str], filename: str, *, bucket: str, stated: datetime, now: datetime
) -> AcceptedForm:
    """Hold a form against its policy.

    Args:
        fields: as `FormParser` gives them; `policy` is among them.
        filename: as `FormParser` gives it.
        bucket: of the URL, as the client sees it.
        stated: the time of the form's claim.
        now: timezone-aware.

    Raises:
        S3Error: what `parse_policy`, `check_time` and `check_fields` raise; InvalidArgument for a form without a
            key or with a field that no header can carry; MalformedXML or InvalidTag for `tagging`.
    """
    policy = parse_policy(fields["policy"])
    policy.check_time(stated, now)
    # The policy is about the key that is written, not about its template (F3).
    expanded = {**fields, "key": fields.get("key", "").replace("${filename}", filename)}
    policy.check_fields(expanded, bucket)
    if not expanded["key"]:
        raise S3Error(
            "InvalidArgument",
            "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.",
            reason="malformed_body",
            ArgumentName="key",
        )
    status = fields.get("success_action_status", "")
    url = fields.get("success_action_redirect", fields.get("redirect", ""))
    return AcceptedForm(
        key=expanded["key"],
        headers=Headers(_headers(fields).items()),
        length_range=policy.length_range,
        success_status=int(status) if status in ("200", "201") else 204,
        success_url=url if _URL(url) else None,
    )


def redirect_target(url: str, *, bucket: str, key: str, etag: str) -> str:
    """The Location of the 303 after an upload: `url` with `bucket`, `key` and the quoted `etag` in its query (F9)."""
    address, hash_sign, fragment = url.partition("#")
    joint = "&" if "?" in address else "?"
    return f"{address}{joint}bucket={encode(bucket)}&key={encode(key)}&etag={encode(etag)}{hash_sign}{fragment}"


def _headers(fields: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in fields.items():
        if name == "acl":
            header, content = "x-amz-acl", value
        elif name == "tagging":
            header, content = "x-amz-tagging", _tagging_header(value)
        elif name in _HEADERS or (name.startswith("x-amz-") and name not in _NOT_HEADERS):
            header, content = name, value
        else:
            continue  # the form's own affairs, e.g. its submit button; the policy knew of them
        if header in headers or not _can_be_header(header, content):
            raise S3Error(
                "InvalidArgument",
                "A field of the form cannot be stored with the object.",
                reason="malformed_body",
                ArgumentName=name,
            )
        # An empty field of a form is one that was not filled in; only metadata may be empty.
        if content or name.startswith("x-amz-meta-"):
            headers[header] = content
    return headers


def _can_be_header(name: str, value: str) -> bool:
    # A policy may ask for metadata and encryption, but nothing signed here can turn an upload into a copy.
    if name.startswith("x-amz-copy-source"):
        return False
    return _HEADER_NAME(name) is not None and _HEADER_VALUE(value) is not None


def _tagging_header(document: str) -> str:
    """The field's XML as the header has it: a query string (F3)."""
    if not document:
        return ""
    tags = parse_tagging(document.encode("latin-1"))
    return "&".join([f"{encode(key)}={encode(value)}" for key, value in tags])
