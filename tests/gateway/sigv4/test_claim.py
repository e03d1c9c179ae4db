"""Who does a request say it comes from: everything that is no claim, and what each kind says."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.messages import Headers, RequestHead
from gateway.sigv4.claim import Claim, Mechanism, canonical_value, read_claim
from gateway.sigv4.payload import Mode
from tests import wire
from tests.wire import Key, Request

KEY = Key("BWAKAAAAAAAAAAAAAAAA", "secret")
HOST = ("Host", "s3.gw.test")


def claim(request: Request) -> Claim:
    path, _, query = request.target.partition("?")
    headers = Headers((name.lower(), value) for name, value in request.headers)
    return read_claim(RequestHead(request.method, path, query, headers))


def refusal(request: Request) -> str | None:
    try:
        claim(request)
    except S3Error as error:
        return error.code
    return None


def signed(*headers: tuple[str, str], **knobs: object) -> Request:
    return wire.sign(KEY, Request("PUT", "/b/k", [HOST, *headers]), **knobs)  # type: ignore[arg-type]


def presigned(*headers: tuple[str, str], **knobs: object) -> Request:
    return wire.presign(KEY, Request("GET", "/b/k", [HOST, *headers]), **knobs)  # type: ignore[arg-type]


def test_a_header_claim_says_what_the_header_says() -> None:
    request = signed()
    read = claim(request)
    assert request.seal is not None
    assert (read.mechanism, read.access_key_id, read.expires) == (Mechanism.HEADER, KEY.id, None)
    assert (read.timestamp, read.time, str(read.scope)) == (wire.timestamp(wire.NOW), wire.NOW, request.seal.scope)
    assert read.signature == request.seal.signature
    assert read.payload.mode is Mode.HASHED
    assert read.signed_headers == ("host", "x-amz-content-sha256", "x-amz-date")


def test_a_presigned_claim_says_what_the_query_says() -> None:
    read = claim(presigned(query="versionId=v&X-Amz-Meta-A=1", expires="77"))
    assert (read.mechanism, read.expires, read.payload.mode) == (Mechanism.QUERY, 77, Mode.UNSIGNED)
    assert read.parameters == (("versionId", "v"),)
    assert read.hoisted == (("x-amz-meta-a", "1"),)


@pytest.mark.parametrize("spaces", [",", ", ", ",  "])
def test_blanks_behind_the_commas_are_free(spaces: str) -> None:
    request = signed()
    request.set("Authorization", (request.get("authorization") or "").replace(", ", spaces))
    assert refusal(request) is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "InvalidArgument"),
        ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 ", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, Signature=x", "AuthorizationHeaderMalformed"),
        ("AWS id:sig", "InvalidRequest"),
        ("Bearer token", "InvalidArgument"),
        ("aws4-hmac-sha256 x", "InvalidArgument"),
    ],
)
def test_authorization_that_is_none(value: str, code: str) -> None:
    assert refusal(signed().set("Authorization", value)) == code


@pytest.mark.parametrize("part", ["Credential", "SignedHeaders", "Signature"])
def test_a_component_twice_is_malformed(part: str) -> None:
    request = signed()
    value = request.get("authorization") or ""
    match = re.search(rf"{part}=[^,]*", value)
    assert match
    assert refusal(request.set("Authorization", f"{value},{match[0]}")) == "AuthorizationHeaderMalformed"


@pytest.mark.parametrize(
    "scope",
    [
        "20260102/r/s3",
        "20260102/r/s3/aws4_request/x",
        "20260102/r/sts/aws4_request",
        "20260102/r/s3/aws4",
        "2026-01-02/r/s3/aws4_request",
        "20260102//s3/aws4_request",
        "",
    ],
)
def test_scopes_that_are_none(scope: str) -> None:
    assert refusal(signed(scope=scope)) == "AuthorizationHeaderMalformed"


def test_a_region_is_anything() -> None:
    """Judged later: clients learn the right one from the refusal (C27)."""
    assert claim(signed(region="nowhere-1")).scope.region == "nowhere-1"


@pytest.mark.parametrize(
    "value", ["20260102", "2026-01-02T12:00:00Z", "20261302T120000Z", "", "20260102T120000", "x" * 16]
)
def test_dates_that_are_none(value: str) -> None:
    assert refusal(signed().set("x-amz-date", value)) == "AccessDenied"
    request = presigned()
    request.target = request.target.replace(wire.timestamp(wire.NOW), value)
    assert refusal(request) == "AuthorizationQueryParametersError"


def test_nothing_said_is_denied_and_not_anonymous() -> None:
    assert refusal(Request("GET", "/b/k", [HOST])) == "AccessDenied"


def test_sigv2_in_the_query() -> None:
    """boto3 presigns so for some regions (P10)."""
    assert refusal(Request("GET", "/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", [HOST])) == "InvalidRequest"
    both = signed()
    both.target += "?Signature=x"
    assert refusal(both) == "InvalidArgument"


@pytest.mark.parametrize("name", ["host", "authorization", "range", "content-type", "x-amz-date", "x-amz-copy-source"])
def test_single_headers_twice(name: str) -> None:
    request = signed()
    request.add(name, "a").add(name, "a")
    assert refusal(request) == "InvalidArgument"


def test_lists_may_come_in_lines() -> None:
    request = Request("PUT", "/b/k", [HOST, ("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")])
    assert "x-amz-meta-a:1,2\n" in claim(wire.sign(KEY, request)).canonical_request


@pytest.mark.parametrize("make", [signed, presigned], ids=["header", "presigned"])
def test_every_amz_header_is_signed(make: object) -> None:
    request: Request = make()  # type: ignore[operator]
    with pytest.raises(S3Error) as caught:
        claim(request.add("x-amz-meta-a", "1").add("X-Amz-Acl", "private"))
    assert caught.value.code == "AccessDenied"
    assert caught.value.fields["HeadersNotSigned"] == "x-amz-meta-a, x-amz-acl"


@pytest.mark.parametrize("names", [["x-amz-date"], [], ["Host", "x-amz-date"], ["host", "host"], ["host", ""]])
def test_lists_of_signed_headers(names: list[str]) -> None:
    assert refusal(signed(names=[*names, "x-amz-content-sha256"])) in ("AccessDenied", "AuthorizationHeaderMalformed")


def test_a_token_is_refused() -> None:
    assert refusal(signed(("x-amz-security-token", "t"))) == "InvalidToken"
    assert refusal(presigned(query="X-Amz-Security-Token=t")) == "InvalidToken"


def test_a_header_and_a_parameter_that_disagree() -> None:
    """The same name signed in both places with two values means nothing (P6)."""
    assert refusal(presigned(("x-amz-meta-a", "1"), query="x-amz-meta-a=2")) == "InvalidRequest"
    assert refusal(presigned(("x-amz-meta-a", "1"), query="x-amz-meta-a=1")) is None
    assert refusal(presigned(query="x-amz-meta-a=1&X-Amz-Meta-A=1")) == "InvalidRequest"


@pytest.mark.parametrize("value", ["0", "-1", "604801", "", "1.0", "1e3", "%2B1", "0x1", "9" * 30, "%201", "1_0"])
def test_lifetimes_that_are_none(value: str) -> None:
    assert refusal(presigned(expires=value)) == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("value", "folded"),
    [("a", "a"), ("  a  b ", "a b"), ("a\t\tb", "a b"), ("a \t b", "a b"), ('"a   b"', '"a b"'), ("", ""), (" ", "")],
)
def test_header_values_are_folded(value: str, folded: str) -> None:
    """Also inside quotes (C14)."""
    assert canonical_value(value) == folded


LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=80)


@settings(max_examples=300)
@given(LATIN, LATIN, LATIN)
def test_any_authorization_and_query_is_read_or_refused(authorization: str, query: str, date: str) -> None:
    """Nothing but an S3Error, whatever comes."""
    fields = [("host", "h"), ("authorization", authorization), ("x-amz-date", date)]
    for headers in (fields, fields[:1]):
        for target in (query, f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={query}&X-Amz-Expires={date}"):
            with suppress(S3Error):
                read_claim(RequestHead("GET", "/", target, Headers(headers)))
