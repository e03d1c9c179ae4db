"""The backend's answer as the client sees it."""

from __future__ import annotations

import pytest

from gateway.errors import CATALOGUE
from gateway.messages import Headers
from gateway.s3.address import Address
from gateway.s3.operation import S3Request, identify
from gateway.s3.reply import BackendRefusedUsError, backend_error, kept_headers


def request(method: str = "GET", key: str | None = "k") -> S3Request:
    return identify(method, Address("alpha", key), (), Headers([]))


def document(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>backend words</Message></Error>".encode()


def test_headers_go_on_by_allow_list_and_byte_for_byte() -> None:
    kept = [
        ("etag", '"abc-3"'),
        ("last-modified", "Fri, 02 Jan 2026 03:04:05 GMT"),
        ("x-amz-meta-a", "gr\xfc\xdf"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-server-side-encryption", "AES256"),
        ("content-range", "bytes 0-1/2"),
    ]
    dropped = [("server", "s"), ("x-amz-request-id", "i"), ("set-cookie", "c"), ("x-minio-a", "b"), ("x-rgw-b", "c")]
    assert kept_headers([*kept, *dropped]) == kept


@pytest.mark.parametrize(
    "kind", ["text/html", "TEXT/HTML; charset=utf-8", "image/svg+xml", " application/xhtml+xml", "text/xml"]
)
def test_what_a_browser_runs_gets_no_powers(kind: str) -> None:
    names = [name for name, _ in kept_headers([("content-type", kind)])]
    assert names == ["content-type", "x-content-type-options", "content-security-policy"]


@pytest.mark.parametrize("kind", ["text/plain", "image/png", "application/octet-stream", "text/htmlx"])
def test_what_it_does_not_run_is_left_alone(kind: str) -> None:
    assert kept_headers([("content-type", kind)]) == [("content-type", kind)]


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchBucket", "PreconditionFailed", "SlowDown", "InvalidPart"])
def test_codes_that_clients_know_stay(code: str) -> None:
    status = CATALOGUE[code][0]
    error = backend_error(status, document(code), request())
    assert (error.code, error.status) == (code, status)
    assert "backend words" not in error.message
    assert error.fields["BucketName"] == "alpha"


@pytest.mark.parametrize(
    "code", ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "RequestTimeTooSkewed", "ExpiredToken"]
)
def test_the_backend_refusing_us_is_our_fault(code: str) -> None:
    error = backend_error(403, document(code), request())
    assert isinstance(error, BackendRefusedUsError)
    assert (error.code, error.status, error.reason) == ("InternalError", 502, "backend_auth")


@pytest.mark.parametrize("status", [401, 403])
def test_a_bare_403_is_our_fault_too(status: int) -> None:
    assert isinstance(backend_error(status, b"", request("HEAD")), BackendRefusedUsError)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 300, 305])
def test_redirects_are_not_answers(status: int) -> None:
    error = backend_error(status, b"", request())
    assert (error.code, error.status, error.reason) == ("InternalError", 502, "backend_redirect")


@pytest.mark.parametrize(
    ("status", "key", "code"),
    [
        (404, "k", "NoSuchKey"),
        (404, None, "NoSuchBucket"),
        (412, "k", "PreconditionFailed"),
        (416, "k", "InvalidRange"),
        (400, "k", "BadRequest"),
        (503, "k", "SlowDown"),
        (500, "k", "InternalError"),
        (599, "k", "InternalError"),
        (418, "k", "InvalidRequest"),
    ],
)
def test_a_status_alone_says_enough(status: int, key: str | None, code: str) -> None:
    assert backend_error(status, b"", request("HEAD", key)).code == code


@pytest.mark.parametrize(
    "garbage", [b"<html>404</html>", b"<Code>", b"\xff\xfe", b"<Code>Unheard Of</Code>", b"<Code>Xyz</Code>"]
)
def test_garbage_is_no_code(garbage: bytes) -> None:
    assert backend_error(404, garbage, request()).code == "NoSuchKey"
    assert backend_error(500, garbage, request()).status == 502


def test_codes_of_single_stores_mean_those_of_s3() -> None:
    assert backend_error(400, document("XMinioInvalidObjectName"), request()).code == "InvalidArgument"
    assert backend_error(507, document("XMinioStorageFull"), request()).code == "ServiceUnavailable"


def test_overload_says_when_to_come_back() -> None:
    assert backend_error(503, document("SlowDown"), request()).retry_after == 1
