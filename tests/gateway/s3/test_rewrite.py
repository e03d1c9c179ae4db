"""What goes to the backend: by allow-list, built anew; what is not understood is refused and not dropped."""

from __future__ import annotations

import pytest

from gateway.errors import S3Error
from gateway.messages import Headers
from gateway.s3.address import EVERY_FOLD, Address
from gateway.s3.operation import identify
from gateway.s3.rewrite import OutboundRequest, rewrite, strip_aws_chunked, with_hoisted


def outbound(
    method: str = "PUT",
    *headers: tuple[str, str],
    key: str | None = "k",
    query: tuple[tuple[str, str], ...] = (),
    streaming: bool = False,
    folding: bool = False,
    guesses_type: bool = False,
) -> OutboundRequest:
    request = identify(method, Address("alpha", key), query, Headers(headers))
    return rewrite(
        request,
        "t1--alpha",
        "t1--source" if request.copy_source else None,
        streaming=streaming,
        folds=EVERY_FOLD if folding else frozenset(),
        guesses_type=guesses_type,
    )


def refusal(*args: tuple[str, str], **more: object) -> str | None:
    try:
        outbound("PUT", *args, **more)  # type: ignore[arg-type]
    except S3Error as error:
        return error.code
    return None


def test_the_target_is_the_backends() -> None:
    made = outbound("GET", key="a b/../c", query=(("versionId", "v"),))
    assert (made.method, made.path, made.parameters) == ("GET", "/t1--alpha/a b/../c", [("versionId", "v")])
    assert outbound("GET", key=None).path == "/t1--alpha"


def test_headers_that_mean_something_to_the_operation_go_on() -> None:
    kept = [("content-type", "a/b"), ("x-amz-meta-a", "1"), ("if-none-match", "*"), ("content-md5", "m")]
    assert outbound("PUT", *kept).headers == kept
    assert outbound("GET", *kept).headers == [("if-none-match", "*")]


@pytest.mark.parametrize(
    "name",
    "host authorization cookie connection transfer-encoding te expect date x-forwarded-for user-agent accept range "
    "x-minio-extract x-rgw-a x_amz_acl x-amz-date x-amz-content-sha256 x-amz-decoded-content-length x-amz-trailer "
    "x-auth-token content-length origin".split(),
)
def test_headers_that_stay_behind(name: str) -> None:
    assert outbound("PUT", (name, "1")).headers == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-amz-acl", "public-read", "AccessDenied"),
        ("x-amz-acl", "", "AccessDenied"),
        ("x-amz-grant-read", "id=1", "AccessDenied"),
        ("x-amz-bypass-governance-retention", "true", "AccessDenied"),
        ("x-amz-tagging", "a=b", "NotImplemented"),
        ("x-amz-object-lock-mode", "COMPLIANCE", "NotImplemented"),
        ("x-amz-something-new", "1", "NotImplemented"),
        ("x-amz-meta-a", "\xff", "InvalidArgument"),
        ("x-amz-meta-a", "m" * 2048, "MetadataTooLarge"),
        ("content-encoding", "aws-chunked", "InvalidArgument"),
        ("content-encoding", "gzip,AWS-Chunked", "InvalidArgument"),
    ],
)
def test_headers_that_are_refused(name: str, value: str, code: str) -> None:
    assert refusal((name, value)) == code


def test_metadata_is_counted_over_all_of_it() -> None:
    fits = [(f"x-amz-meta-{number:04}", "v" * 60) for number in range(32)]
    assert refusal(*fits) is None
    assert refusal(*fits, ("x-amz-meta-x", "")) == "MetadataTooLarge"


def test_lines_of_one_header_become_one() -> None:
    assert outbound("PUT", ("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")).headers == [("x-amz-meta-a", "1,2")]


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("aws-chunked", ""),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("AWS-Chunked", ""),
        ("gzip, br", "gzip,br"),
        ("", ""),
    ],
)
def test_the_framing_is_no_coding_of_the_object(value: str, left: str) -> None:
    """Taken off when the body is framed so, whatever order the client wrote (K11)."""
    assert strip_aws_chunked(value) == left
    expected = [("content-encoding", left)] if left else []
    assert outbound("PUT", ("content-encoding", value), streaming=True).headers == expected


def test_a_copy_source_is_written_anew() -> None:
    made = outbound("PUT", ("x-amz-copy-source", "alpha/a%20b%2Fc"))
    assert made.headers == [("x-amz-copy-source", "/t1--source/a%20b/c")]
    with_version = outbound("PUT", ("x-amz-copy-source", "alpha/k?versionId=a%20b"))
    assert with_version.headers == [("x-amz-copy-source", "/t1--source/k?versionId=a%20b")]


@pytest.mark.parametrize("key", ["a/../b", "a//b", "."])
def test_keys_that_the_store_folds(key: str) -> None:
    assert refusal(key=key, folding=True) == "InvalidArgument"
    assert refusal(("x-amz-copy-source", f"alpha/{key}"), folding=True) == "InvalidArgument"
    assert refusal(key=key) is None


def test_the_default_type_is_stated_only_where_a_store_guesses() -> None:
    assert outbound("PUT").headers == []
    assert outbound("PUT", guesses_type=True).headers == [("content-type", "binary/octet-stream")]
    assert outbound("PUT", ("content-type", "a/b"), guesses_type=True).headers == [("content-type", "a/b")]


def test_hoisted_headers_are_headers() -> None:
    headers = with_hoisted(Headers([("host", "h")]), (("x-amz-meta-a", "1"), ("x-amz-acl", "public-read")))
    assert (headers.get("x-amz-meta-a"), headers.get("x-amz-acl")) == ("1", "public-read")
