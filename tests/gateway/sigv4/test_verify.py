"""From a claim to a verified one: every vector, and other implementations' signatures for random requests."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.messages import Headers, RequestHead
from gateway.sigv4.claim import Claim, Mechanism, read_claim, string_to_sign
from gateway.sigv4.scope import Scope, derive_signing_key
from gateway.sigv4.verify import check_clock, check_region, mismatch, verify
from tests import wire
from tests.gateway.sigv4.vectors import head, head_of, load

ID, SECRET, REGION = "BWAKAAAAAAAAAAAAAAAA", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-test-1"
HOST = "s3.gw.test:9900"
VECTORS = [
    case
    for case in (*load("aws-s3-docs.json"), *load("s3-generated.json"))
    if "request" in case and not case.get("session_token")
]


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    """Canonical request, string to sign and signature of every S3 vector; and no other secret fits."""
    request = head_of(case)
    if "x-amz-content-sha256" not in request.headers and "X-Amz-Signature" not in request.query:
        pytest.fail("a vector without a payload hash")
    claim = read_claim(request)
    assert claim.canonical_request == case["canonical_request"]
    assert claim.string_to_sign == case["string_to_sign"]
    verified = verify(claim, case["secret_access_key"])
    assert verified is not None
    assert verified.signing_key == derive_signing_key(case["secret_access_key"], claim.scope)
    assert verify(claim, case["secret_access_key"] + "x") is None


@pytest.mark.parametrize("form", ["header", "query"])
@pytest.mark.parametrize("case", load("aws-c-auth-v4.json"), ids=lambda case: case["name"])
def test_published_suite(case: dict[str, Any], form: str) -> None:
    """String to sign and signature of the general suite, which is for a service of another name."""
    told, context = case[form], case["context"]
    day, region, service, _ = case["scope"].split("/")
    scope = Scope(day, region, service)
    stamp = context["timestamp"].replace("-", "").replace(":", "")
    canonical = told["canonical_request"].encode().decode("latin-1")
    assert string_to_sign(stamp, scope, canonical) == told["string_to_sign"]
    key = derive_signing_key(context["credentials"]["secret_access_key"], scope)
    assert hmac.digest(key, told["string_to_sign"].encode(), "sha256").hex() == told["signature"]


# --- other implementations ---------------------------------------------------------------------------------

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
PAIRS = st.lists(st.tuples(KEYS, KEYS), max_size=5, unique_by=lambda pair: pair[0])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
NAMES = st.from_regex(r"x-amz-meta-[a-z0-9-]{1,12}", fullmatch=True)
HEADERS = st.dictionaries(NAMES, VALUES, max_size=4)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"])


def target_of(key: str, pairs: list[tuple[str, str]]) -> str:
    query = "&".join(f"{wire.encode(name.encode())}={wire.encode(value.encode())}" for name, value in pairs)
    return f"/bucket/{wire.encode(key.encode(), '/')}" + (f"?{query}" if query else "")


def by_botocore(method: str, target: str, headers: dict[str, str], body: bytes, *, presigned: bool) -> RequestHead:
    request = AWSRequest(method, f"http://{HOST}{target}", headers=headers, data=b"" if presigned else body)
    request.context["payload_signing_enabled"] = True
    signer = (S3SigV4QueryAuth if presigned else S3SigV4Auth)(Credentials(ID, SECRET), "s3", REGION)
    signer.add_auth(request)
    signed = [("Host", HOST), *request.headers.items()]
    return head(method, request.url.partition(HOST)[2], signed)


def by_awscrt(method: str, target: str, headers: dict[str, str], body: bytes, *, presigned: bool) -> RequestHead:
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4,
        signature_type=(
            AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS if presigned else AwsSignatureType.HTTP_REQUEST_HEADERS
        ),
        credentials_provider=AwsCredentialsProvider.new_static(ID, SECRET),
        region=REGION,
        service="s3",
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value="UNSIGNED-PAYLOAD" if presigned else hashlib.sha256(body).hexdigest(),
        signed_body_header_type=(
            AwsSignedBodyHeaderType.NONE if presigned else AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256
        ),
        expiration_in_seconds=300 if presigned else None,
    )
    request = HttpRequest(method, target, HttpHeaders([("Host", HOST), *headers.items()]))
    signed = aws_sign_request(request, config).result(5)
    return head(method, signed.path, list(signed.headers))


SIGNERS: dict[str, Callable[..., RequestHead]] = {"botocore": by_botocore, "awscrt": by_awscrt}


@pytest.mark.parametrize("presigned", [False, True], ids=["header", "presigned"])
@pytest.mark.parametrize("signer", SIGNERS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=METHODS, key=KEYS, pairs=PAIRS, headers=HEADERS, body=st.binary(max_size=20))
def test_other_signers_agree(
    signer: str,
    presigned: bool,
    method: str,
    key: str,
    pairs: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
) -> None:
    """What botocore and awscrt sign, for any key, query and metadata, we verify, and not with another secret."""
    pairs = [pair for pair in pairs if not pair[0].lower().startswith("x-amz-")]
    request = SIGNERS[signer](method, target_of(key, pairs), headers, body, presigned=presigned)
    claim = read_claim(request)
    assert claim.mechanism is (Mechanism.QUERY if presigned else Mechanism.HEADER)
    assert (claim.access_key_id, claim.scope.region) == (ID, REGION)
    assert verify(claim, SECRET) is not None
    assert verify(claim, SECRET[:-1]) is None


# --- SIG-023 ----------------------------------------------------------------------------------------------


def mutations(request: RequestHead, chance: random.Random) -> list[RequestHead]:
    """The request with one field changed, for every field that a signature is over."""
    pairs = list(request.headers)
    signed = [i for i, (name, _) in enumerate(pairs) if name.startswith(("x-amz-meta", "host"))]
    place = chance.choice(signed)
    name, value = pairs[place]
    changed = [*pairs[:place], (name, value + "x"), *pairs[place + 1 :]]
    parameter = chance.choice(["versionId=1", "acl", "x=%00"])
    return [
        replace(request, method="PUT" if request.method != "PUT" else "GET"),
        replace(request, path=request.path + chance.choice(["/", "x", "%20", "..", "/.."])),
        replace(request, query=f"{request.query}&{parameter}" if request.query else parameter),
        replace(request, query=request.query.partition("&")[2] if "&" in request.query else "gone"),
        replace(request, headers=Headers(changed)),
    ]


def test_sig_023_random_requests_and_their_mutations() -> None:
    """Ten thousand requests by an independent signer: none is refused, and no change of any is accepted."""
    chance = random.Random(23)  # noqa: S311 - to repeat a failure
    key = wire.Key(ID, SECRET)
    alphabet = "abz019-._~ +%/!$&'()*,;=:@#?é€😀\t"
    rejected, accepted = [], []

    def text(most: int) -> str:
        return "".join(chance.choice(alphabet) for _ in range(chance.randint(1, most)))

    for number in range(10_000):
        pairs = [(text(6), text(6)) for _ in range(chance.randint(0, 3))]
        headers = [("Host", HOST), *((f"x-amz-meta-{n}", f"v{n}  w") for n in range(chance.randint(0, 2)))]
        made = wire.Request(chance.choice(["GET", "PUT", "DELETE", "HEAD"]), target_of(text(12), pairs), headers)
        if number % 2:
            wire.sign(key, made, region=REGION)
        else:
            wire.presign(key, made, region=REGION)
        request = head(made.method, made.target, made.headers)
        if verify(read_claim(request), SECRET) is None:
            rejected.append(request)
        accepted += [mutation for mutation in mutations(request, chance) if _verifies(mutation)]
    assert rejected == []
    assert accepted == []


def _verifies(request: RequestHead) -> bool:
    try:
        return verify(read_claim(request), SECRET) is not None
    except S3Error:
        return False


# --- clock and region -------------------------------------------------------------------------------------


def claim_of(*, presigned: bool = False, when: datetime = wire.NOW, **knobs: Any) -> Claim:
    request = wire.Request("GET", "/b/k", [("Host", HOST)])
    (wire.presign if presigned else wire.sign)(wire.Key(ID, SECRET), request, when=when, **knobs)
    return read_claim(head(request.method, request.target, request.headers))


def code_of(check: Callable[[], None]) -> str | None:
    try:
        check()
    except S3Error as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(900, None), (-900, None), (901, "RequestTimeTooSkewed"), (-901, "RequestTimeTooSkewed"), (0, None)],
)
def test_a_header_signature_lives_fifteen_minutes_around_its_date(seconds: int, code: str | None) -> None:
    claim = claim_of(when=wire.NOW)
    assert code_of(lambda: check_clock(claim, wire.NOW + timedelta(seconds=seconds))) == code


@pytest.mark.parametrize(
    ("seconds", "code"), [(-901, "AccessDenied"), (-900, None), (0, None), (300, None), (300.5, "AccessDenied")]
)
def test_a_url_lives_from_its_date_for_its_time(seconds: float, code: str | None) -> None:
    claim = claim_of(presigned=True, expires="300")
    assert code_of(lambda: check_clock(claim, wire.NOW + timedelta(seconds=seconds))) == code


@pytest.mark.parametrize(
    ("presigned", "code"),
    [(False, "AuthorizationHeaderMalformed"), (True, "AuthorizationQueryParametersError")],
)
def test_the_scopes_day_is_the_dates_day(presigned: bool, code: str) -> None:
    claim = claim_of(presigned=presigned)
    other = replace(claim, scope=Scope("20260103", REGION))
    assert code_of(lambda: check_clock(other, wire.NOW)) == code


def test_midnight_does_not_end_a_signature() -> None:
    """Day and date are both the signer's; the server may already live in the next day."""
    late = datetime(2026, 1, 2, 23, 59, 50, tzinfo=UTC)
    claim = claim_of(when=late)
    check_clock(claim, late + timedelta(seconds=20))


def test_a_wrong_region_names_the_right_one() -> None:
    claim = claim_of()
    check_region(claim, None)
    check_region(claim, claim.scope.region)
    with pytest.raises(S3Error) as refusal:
        check_region(claim, "eu-test-1")
    assert refusal.value.code == "AuthorizationHeaderMalformed"
    assert refusal.value.fields["Region"] == "eu-test-1"


def test_a_mismatch_shows_what_was_signed_but_never_the_right_signature() -> None:
    claim = claim_of()
    assert verify(claim, SECRET) is not None
    wrong = replace(claim, signature="0" * 64)
    told = mismatch(wrong, explain=True)
    assert told.fields["CanonicalRequest"] == claim.canonical_request
    assert told.fields["StringToSign"] == claim.string_to_sign
    assert told.fields["StringToSignBytes"].split(" ")[0] == "41"
    assert claim.signature not in str(told.fields)
    assert set(mismatch(wrong, explain=False).fields) == {"AWSAccessKeyId"}
