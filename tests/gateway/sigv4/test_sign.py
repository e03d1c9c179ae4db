"""Our own signatures towards the backend, held against botocore, awscrt and our verifier (W1, W2)."""

from __future__ import annotations

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages import Headers, RequestHead
from gateway.sigv4.claim import read_claim
from gateway.sigv4.encoding import decode, parse_query
from gateway.sigv4.sign import Credential, sign
from gateway.sigv4.verify import verify

SECRET = "a-backend-secret"
CREDENTIAL = Credential("BACKENDID", SECRET, None, "r1")
STAMP = "20260102T120000Z"
WIRE = st.binary(min_size=1, max_size=30).map(lambda data: data.decode("latin-1"))
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
HEADERS = st.dictionaries(st.from_regex(r"x-amz-meta-[a-z0-9-]{1,8}", fullmatch=True), VALUES, max_size=4)


def signed(
    path: str, parameters: list[tuple[str, str]], headers: list[tuple[str, str]], credential: Credential = CREDENTIAL
) -> tuple[str, list[tuple[str, str]]]:
    return sign(
        credential,
        method="PUT",
        path=path,
        parameters=parameters,
        headers=[("host", "backend:9000"), *headers],
        payload="UNSIGNED-PAYLOAD",
        timestamp=STAMP,
    )


@settings(deadline=None)
@given(key=WIRE, parameters=st.lists(st.tuples(WIRE, WIRE), max_size=4), headers=HEADERS)
def test_our_verifier_takes_what_we_sign(key: str, parameters: list[tuple[str, str]], headers: dict[str, str]) -> None:
    """For any bytes in path and query, read back from the target as a server reads it."""
    target, fields = signed(f"/b/{key}", parameters, list(headers.items()))
    path, _, query = target.partition("?")
    assert decode(path) == f"/b/{key}"
    assert sorted(parse_query(query)) == sorted(parameters)
    parameters_are_plain = not any(name.lower().startswith("x-amz-") for name, _ in parameters)
    if parameters_are_plain:
        claim = read_claim(RequestHead("PUT", path, query, Headers(fields)))
        assert verify(claim, SECRET) is not None


@settings(deadline=None)
@given(
    key=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
    parameters=st.lists(st.tuples(VALUES, VALUES), max_size=4, unique_by=lambda pair: pair[0]),
    headers=HEADERS,
)
def test_botocore_signs_the_same(key: str, parameters: list[tuple[str, str]], headers: dict[str, str]) -> None:
    """The same target and headers give the same signature there."""
    target, fields = signed(f"/b/{key.encode().decode('latin-1')}", parameters, list(headers.items()))
    given_fields = dict(fields)
    request = AWSRequest("PUT", f"http://backend:9000{target}")
    for name, value in fields:
        if name != "authorization":
            request.headers[name] = value
    request.context["timestamp"] = STAMP
    signer = S3SigV4Auth(Credentials(CREDENTIAL.access_key_id, SECRET), "s3", "r1")
    signer.payload = lambda _: "UNSIGNED-PAYLOAD"  # type: ignore[method-assign]
    canonical = signer.canonical_request(request)
    assert given_fields["authorization"].endswith(
        "Signature=" + signer.signature(signer.string_to_sign(request, canonical), request)
    )


def test_everything_sent_is_signed() -> None:
    _, fields = signed("/b/k", [], [("content-length", "5"), ("range", "bytes=0-1")])
    authorization = dict(fields)["authorization"]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert names == sorted(name for name, _ in fields if name != "authorization")


def test_a_session_token_is_sent_and_signed() -> None:
    _, fields = signed("/b/k", [], [], Credential("ID", SECRET, "token", "r1"))
    assert ("x-amz-security-token", "token") in fields
    assert "x-amz-security-token" in dict(fields)["authorization"]


def test_a_credential_does_not_print() -> None:
    credential = Credential("ID", SECRET, "session-canary", "r1")
    assert SECRET not in repr(credential) + str(credential) + f"{credential}"
    assert "session-canary" not in repr(credential)
