"""Policies of browser uploads: what is signed is what is allowed, and everything else is refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.sigv4.claim import Mechanism
from gateway.sigv4.postpolicy import Condition, LengthRange, parse_policy, read_form_claim
from gateway.sigv4.verify import verify

VECTORS = Path(__file__).parents[2] / "vectors"
NOW = datetime(2026, 1, 2, 3, 10, tzinfo=UTC)
STATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = "2026-01-02T04:00:00.000Z"

AUTH = {
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "x-amz-credential": "AKID/20260102/us-east-1/s3/aws4_request",
    "x-amz-date": "20260102T030405Z",
    "policy": "e30=",
    "x-amz-signature": "0" * 64,
}


def encode(document: object) -> str:
    text = document if isinstance(document, str) else json.dumps(document)
    return base64.b64encode(text.encode()).decode()


def policy(*conditions: object, expiration: object = LATER) -> str:
    return encode({"expiration": expiration, "conditions": list(conditions)})


def refusal(text: str) -> S3Error:
    with pytest.raises(S3Error) as caught:
        parse_policy(text)
    return caught.value


def check(conditions: list[object], fields: dict[str, str], bucket: str = "b") -> None:
    parse_policy(policy({"bucket": "b"}, *conditions)).check_fields(fields, bucket)


def denied(conditions: list[object], fields: dict[str, str], bucket: str = "b") -> str:
    with pytest.raises(S3Error) as caught:
        check(conditions, fields, bucket)
    assert (caught.value.code, caught.value.reason) == ("AccessDenied", "policy_condition")
    return caught.value.message


# --- the claim --------------------------------------------------------------------------------------------


def vector(file: str, name: str) -> dict[str, Any]:
    (case,) = [case for case in json.loads((VECTORS / file).read_text())["cases"] if case["name"] == name]
    return case  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("file", "name"),
    [("aws-s3-docs.json", "s3-post-policy"), ("s3-generated.json", "post-policy-botocore")],
)
def test_the_published_forms_are_verified_and_allowed(file: str, name: str) -> None:
    case = vector(file, name)
    fields = {field.lower(): value for field, value in case["form_fields"].items()}
    fields |= {"policy": case["string_to_sign"], "x-amz-signature": case["signature"]}
    claim = read_form_claim(fields)
    assert claim.mechanism is Mechanism.FORM
    assert verify(claim, case["secret_access_key"]) is not None
    assert verify(claim, case["secret_access_key"] + "x") is None

    found = parse_policy(fields["policy"])
    found.check_time(claim.time, claim.time + timedelta(minutes=10))
    bucket = next(condition.value for condition in found.conditions if condition.field == "bucket")
    found.check_fields(fields, bucket)
    with pytest.raises(S3Error):
        found.check_fields(fields, "another-bucket")


@given(at=st.integers(0, 200), change=st.integers(1, 127))
def test_a_policy_with_one_character_altered_is_not_verified(at: int, change: int) -> None:
    case = vector("s3-generated.json", "post-policy-botocore")
    text = case["form_fields"]["policy"]
    bent = text[:at] + chr(ord(text[at]) ^ change) + text[at + 1 :]
    claim = read_form_claim(case["form_fields"] | {"policy": bent})
    assert verify(claim, case["secret_access_key"]) is None


def test_a_form_without_any_credential_is_denied() -> None:
    with pytest.raises(S3Error) as caught:
        read_form_claim({"key": "k"})
    assert (caught.value.code, caught.value.reason) == ("AccessDenied", "missing_auth")


@pytest.mark.parametrize("name", AUTH)
def test_one_part_of_the_credential_needs_all_others(name: str) -> None:
    for fields in ({name: AUTH[name]}, {n: v for n, v in AUTH.items() if n != name}):
        with pytest.raises(S3Error) as caught:
            read_form_claim(fields)
        assert caught.value.code == "InvalidArgument"
        assert caught.value.fields["ArgumentName"] in AUTH


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256", "InvalidArgument"),
        ("x-amz-algorithm", "aws4-hmac-sha256", "InvalidArgument"),
        ("x-amz-date", "2026-01-02T03:04:05Z", "InvalidArgument"),
        ("x-amz-date", "20261302T030405Z", "InvalidArgument"),
        ("x-amz-date", "20260103T030405Z", "InvalidArgument"),  # not the day of the credential
        ("x-amz-credential", "AKID/20260102/us-east-1/s3", "InvalidArgument"),
        ("x-amz-credential", "AKID/20260102/us-east-1/s3/aws4_request/x", "InvalidArgument"),
        ("x-amz-credential", "/20260102/us-east-1/s3/aws4_request", "InvalidArgument"),
        ("x-amz-credential", "AKID/20260102//s3/aws4_request", "InvalidArgument"),
        ("x-amz-credential", "AKID/2026-01-02/us-east-1/s3/aws4_request", "InvalidArgument"),
        ("x-amz-credential", "AKID/20260102/us-east-1/iam/aws4_request", "InvalidArgument"),
        ("x-amz-credential", "AKID/20260102/us-east-1/s3/aws2_request", "InvalidArgument"),
        ("x-amz-security-token", "token", "InvalidToken"),
        ("awsaccesskeyid", "AKID", "InvalidRequest"),
        ("signature", "x", "InvalidRequest"),
    ],
)
def test_a_credential_that_is_none_is_refused(field: str, value: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_form_claim(AUTH | {field: value})
    assert caught.value.code == code


# --- the document -----------------------------------------------------------------------------------------


def test_a_policy_is_understood() -> None:
    found = parse_policy(
        policy(
            {"bUcKeT": "b"},
            ["EQ", "$ACL", "private"],
            ["starts-With", "$key", "é"],
            ["content-length-range", 1, "100"],
        )
    )
    assert found.expiration == datetime(2026, 1, 2, 4, tzinfo=UTC)
    assert found.conditions == (
        Condition("eq", "bucket", "b"),
        Condition("eq", "acl", "private"),
        Condition("starts-with", "key", "é".encode().decode("latin-1")),
    )
    assert found.length_range == LengthRange(1, 100)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!!!",
        "e30",
        encode(""),
        encode("[]"),
        encode("null"),
        encode({}),
        encode({"expiration": LATER}),
        encode({"conditions": []}),
        encode({"expiration": LATER, "conditions": [], "x": 1}),
        encode({"Expiration": LATER, "conditions": []}),
        encode({"expiration": LATER, "conditions": {}}),
        encode({"expiration": LATER, "conditions": [{"a": "b"}] * 201}),
        encode('{"expiration":"2000-01-01T00:00:00Z","expiration":"2030-01-01T00:00:00Z","conditions":[]}'),
        encode('{"expiration":"2030-01-01T00:00:00Z","conditions":[{"a":"b","a":"c"}]}'),
        encode('{"expiration":"2030-01-01T00:00:00Z","conditions":[]} x'),
        encode('{"expiration":"2030-01-01T00:00:00Z","conditions":[NaN]}'),
        encode("[" * 100_000),
        encode('{"a":' * 100_000),
        base64.b64encode(b'{"expiration":"\xff"}').decode(),
        base64.b64encode('{"expiration":"x"}'.encode("utf-16")).decode(),
    ],
)
def test_a_policy_that_is_none_is_an_invalid_document(text: str) -> None:
    assert refusal(text).code == "InvalidPolicyDocument"


@pytest.mark.parametrize(
    "condition",
    [
        {},
        [],
        "x",
        None,
        {"a": "b", "c": "d"},
        {"a": 1},
        {"": "x"},
        {"a": ["b"]},
        ["eq", "$a"],
        ["eq", "$a", "b", "c"],
        ["eq", "a", "b"],
        ["eq", "$", "b"],
        ["eq", "$a", 1],
        ["eq", "$a", None],
        ["ends-with", "$a", "b"],
        [["eq"], "$a", "b"],
        {"a": "\ud800"},
        ["content-length-range", 1],
        ["content-length-range", 5, 1],
        ["content-length-range", -5, -1],
        ["content-length-range", -1, 5],
        ["content-length-range", "a", "b"],
        ["content-length-range", "+1", 5],
        ["content-length-range", 1.0, 5],
        ["content-length-range", True, 5],
        ["content-length-range", 1, 10**19],
        ["content-length-range", 1, 10**4000],
        ["content-length-range", None, 5],
        ["content-length-range", "٣", 5],
    ],
)
def test_a_condition_of_no_known_form_is_an_invalid_document(condition: object) -> None:
    assert refusal(policy(condition)).code == "InvalidPolicyDocument"


def test_two_length_ranges_are_an_invalid_document() -> None:
    ranges = ["content-length-range", 1, 5], ["content-length-range", 1, 500]
    assert refusal(policy(*ranges)).code == "InvalidPolicyDocument"


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expiration",
    [
        None,
        99999999999,
        "",
        "tomorrow",
        "2026-01-02",
        "2026-01-02T04:00:00",
        "2026-01-02T04:00:00+00:00",
        "2026-02-30T00:00:00Z",
        "20260102T040000Z",
        "2026-01-02T04:00:00.Z",
        "2026-01-02T04:00:00Z\n",
    ],
)
def test_an_expiration_that_is_no_time_is_an_invalid_document(expiration: object) -> None:
    assert refusal(policy(expiration=expiration)).code == "InvalidPolicyDocument"


def time_refusal(expiration: str, stated: datetime, now: datetime) -> str:
    with pytest.raises(S3Error) as caught:
        parse_policy(policy(expiration=expiration)).check_time(stated, now)
    assert caught.value.code == "AccessDenied"
    return caught.value.message


def test_a_policy_ends_at_its_expiration() -> None:
    found = parse_policy(policy(expiration="2026-01-02T03:10:01Z"))
    found.check_time(STATED, NOW)
    assert time_refusal("2026-01-02T03:10:00Z", STATED, NOW) == "Invalid according to Policy: Policy expired."
    assert "expired" in time_refusal("2026-01-02T03:09:59Z", STATED, NOW)


def test_a_far_future_ends_seven_days_after_the_form_was_made() -> None:
    found = parse_policy(policy(expiration="9999-12-31T23:59:59Z"))
    found.check_time(STATED, STATED + timedelta(days=7) - timedelta(seconds=1))
    assert "expired" in time_refusal("9999-12-31T23:59:59Z", STATED, STATED + timedelta(days=7))


def test_a_form_from_the_future_does_not_count_yet() -> None:
    found = parse_policy(policy(expiration="9999-12-31T23:59:59Z"))
    found.check_time(NOW + timedelta(minutes=15), NOW)
    for stated in (NOW + timedelta(minutes=15, seconds=1), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)):
        assert "not yet" in time_refusal("9999-12-31T23:59:59Z", stated, NOW)


# --- fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        ([["eq", "$key", "a"]], {"key": "a"}),
        ([{"KEY": "a"}], {"key": "a"}),
        ([["starts-with", "$key", "a"]], {"key": "a/b"}),
        ([["starts-with", "$key", ""]], {"key": "anything"}),
        ([["starts-with", "$x-amz-meta-a", ""]], {}),
        ([["starts-with", "$Content-Type", "image/"]], {"content-type": "image/png, image/gif"}),
        ([], {"x-ignore-me": "1", "x-amz-signature": "s", "policy": "p", "file": "f"}),
        ([], {"bucket": "b"}),
        ([["starts-with", "$x-amz-meta-a", "é"]], {"x-amz-meta-a": "été".encode().decode("latin-1")}),
    ],
)
def test_a_form_that_fits_is_allowed(conditions: list[object], fields: dict[str, str]) -> None:
    check(conditions, fields)


@pytest.mark.parametrize(
    ("conditions", "fields", "message"),
    [
        ([["eq", "$acl", "private"]], {"acl": "public-read"}, 'Policy Condition failed: ["eq", "$acl", "private"]'),
        ([["eq", "$acl", "private"]], {}, 'Policy Condition failed: ["eq", "$acl", "private"]'),
        ([{"key": "a"}, {"key": "b"}], {"key": "a"}, 'Policy Condition failed: ["eq", "$key", "b"]'),
        ([["starts-with", "$key", "a/"]], {"key": "b"}, 'Policy Condition failed: ["starts-with", "$key", "a/"]'),
        ([], {"key": "a"}, "Extra input fields: key"),
        ([], {"acl": "x", "x-amz-meta-y": "1"}, "Extra input fields: acl, x-amz-meta-y"),
        ([], {"x-ignored": "1"}, "Extra input fields: x-ignored"),
    ],
)
def test_a_form_that_does_not_fit_is_denied(conditions: list[object], fields: dict[str, str], message: str) -> None:
    assert denied(conditions, fields) == f"Invalid according to Policy: {message}"


@pytest.mark.parametrize(
    "field",
    "x-amz-meta-y acl tagging x-amz-storage-class content-encoding content-type success_action_redirect redirect "
    "success_action_status x-amz-website-redirect-location _charset_".split(),
)
def test_every_field_needs_a_condition(field: str) -> None:
    assert field in denied([["starts-with", "$key", ""]], {"key": "k", field: "v"})


def test_every_type_of_a_list_must_begin_as_stated() -> None:
    conditions: list[object] = [["starts-with", "$Content-Type", "image/"]]
    assert "content-type" in denied(conditions, {"content-type": "image/png,text/html"})


def test_the_bucket_is_that_of_the_url() -> None:
    assert "bucket" in denied([], {}, bucket="other")
    assert "bucket" in denied([], {"bucket": "b"}, bucket="other")  # PST-068
    assert "bucket" in denied([], {"bucket": "other"})
    with pytest.raises(S3Error):
        parse_policy(policy({"key": "k"})).check_fields({"key": "k"}, "b")  # a policy for no bucket is for none


@pytest.mark.parametrize("size", [0, 101, 1 << 60])
def test_a_length_outside_the_range_is_refused(size: int) -> None:
    with pytest.raises(S3Error) as caught:
        LengthRange(1, 100).check_complete(size)
    assert caught.value.code == ("EntityTooLarge" if size else "EntityTooSmall")


def test_a_file_that_grows_too_large_is_refused_before_its_end() -> None:
    LengthRange(50, 100).check_growing(1)
    LengthRange(50, 100).check_growing(100)
    with pytest.raises(S3Error):
        LengthRange(50, 100).check_growing(101)
    LengthRange(50, 100).check_complete(50)
    LengthRange(0, 0).check_complete(0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["eq", "$key", "starts-with"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=10,
)


@given(st.text(max_size=60) | st.builds(policy, json_values, expiration=json_values))
def test_garbage_is_refused_or_allows_nothing_of_itself(text: str) -> None:
    with pytest.raises(S3Error):
        parse_policy(text).check_fields({"never-covered": "x"}, "b")
