"""Class SIG: signatures and their canonical form. Each test is named by the id of its public case."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest

from tests import wire
from tests.gateway.harness import KA, KB, SUFFIX, Gateway
from tests.gateway.threats.judging import accepted, refused
from tests.wire import NOW, Request, sign, with_signature


def put(gateway: Gateway, **knobs: object) -> Request:
    return gateway.signed("PUT", "/alpha/k", body=b"x", **knobs)


def signature_of(request: Request) -> str:
    assert request.seal is not None
    return request.seal.signature


@pytest.mark.parametrize("kind", ["zeros", "one digit", "63", "65", "empty", "upper case"])
async def test_sig_001_a_wrong_signature(gateway: Gateway, kind: str) -> None:
    """Nothing but the exact 64 lower-case digits is a signature."""
    await accepted(gateway, put(gateway))
    request = put(gateway)
    right = signature_of(request)
    wrong = {
        "zeros": "0" * 64,
        "one digit": f"{int(right[0], 16) ^ 1:x}{right[1:]}",
        "63": right[:63],
        "65": right + "0",
        "empty": "",
        "upper case": right.upper(),
    }[kind]
    await refused(
        gateway,
        with_signature(request, wrong),
        (403, 400),
        ("SignatureDoesNotMatch", "AuthorizationHeaderMalformed"),
    )


async def test_sig_002_another_keys_secret(gateway: Gateway) -> None:
    """KA's id over a signature made with KB's secret."""
    await accepted(gateway, put(gateway))
    await refused(gateway, put(gateway, key=KB, access_key_id=KA.id), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    "scope",
    [
        "20260101/us-east-1/s3/aws4_request",
        "20260102/us-east-1/sts/aws4_request",
        "20260102/us-east-1/iam/aws4_request",
        "20260102/us-east-1/s3tables/aws4_request",
        "20260102/us-east-1/execute-api/aws4_request",
        "20260102/us-east-1/s3/aws4_reques",
        "20260102/us-east-1/aws4_request",
        "20260102/us-east-1/s3/x/aws4_request",
        "2026010/us-east-1/s3/aws4_request",
        "20260102//s3/aws4_request",
    ],
)
async def test_sig_003_a_wrong_scope(gateway: Gateway, scope: str) -> None:
    """Signed right for a scope that is not one of ours."""
    await accepted(gateway, put(gateway))
    await refused(gateway, put(gateway, scope=scope), 400, "AuthorizationHeaderMalformed")


@pytest.mark.parametrize(
    ("algorithm", "code"),
    [
        ("AWS4-HMAC-SHA1", "InvalidArgument"),
        ("AWS4-ECDSA-P256-SHA256", "InvalidArgument"),
        ("aws4-hmac-sha256", "InvalidArgument"),
        ("AWS4-HMAC-SHA256-PAYLOAD", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
async def test_sig_005_another_algorithm(gateway: Gateway, algorithm: str, code: str) -> None:
    await accepted(gateway, put(gateway))
    request = put(gateway)
    value = request.get("authorization") or ""
    await refused(gateway, request.set("Authorization", value.replace(wire.ALGORITHM, algorithm, 1)), 400, code)


@pytest.mark.parametrize(
    ("value", "code"),
    [(f"AWS {KA.id}:c2lnbmF0dXJl", "InvalidRequest"), ("Bearer x", "InvalidArgument"), ("Basic x", "InvalidArgument")],
)
async def test_sig_005_another_scheme(gateway: Gateway, value: str, code: str) -> None:
    """Never taken for anonymous because it was not understood."""
    await accepted(gateway, put(gateway))
    await refused(gateway, put(gateway).set("Authorization", value), 400, code)


async def test_sig_006_host_is_not_signed(gateway: Gateway) -> None:
    names = ["x-amz-content-sha256", "x-amz-date"]
    await accepted(gateway, put(gateway))
    await refused(gateway, put(gateway, names=names), (400, 403), "AccessDenied")
    await refused(gateway, put(gateway, names=names).set("Host", f"other.{SUFFIX}"), (400, 403), "AccessDenied")


async def test_sig_008_a_signed_header_that_is_not_there(gateway: Gateway) -> None:
    """Listed and signed as empty; nothing is invented for it."""
    names = ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-foo"]
    await accepted(gateway, put(gateway))
    await refused(gateway, put(gateway, names=names), 403, "AccessDenied")


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("x-amz-date", "20260102T120000Z", "20260102T120000Z"),
        ("x-amz-content-sha256", wire.UNSIGNED, wire.UNSIGNED),
        ("x-amz-copy-source", "alpha/control", "beta/secret"),
        ("x-amz-decoded-content-length", "1", "2"),
        ("content-md5", wire.md5(b"x"), wire.md5(b"y")),
        ("range", "bytes=0-0", "bytes=0-1"),
    ],
)
async def test_sig_010_a_single_header_twice(gateway: Gateway, name: str, first: str, second: str) -> None:
    """Both lines are in the signature, joined, and yet there is no one meaning."""
    await accepted(gateway, put(gateway))
    request = gateway.request("PUT", "/alpha/k", body=b"x")
    request.add("x-amz-date", "20260102T120000Z").add("x-amz-content-sha256", wire.sha256(b"x"))
    request.drop(name).add(name, first).add(name, second)
    signed = sign(KA, request, payload=wire.sha256(b"x"), date=None, hash_header=False)
    await refused(gateway, signed, 400, "InvalidArgument")


@pytest.mark.parametrize("pair", ["KA KB", "KB KA", "basic KA", "KA garbage"])
async def test_sig_011_two_authorization_lines(gateway: Gateway, pair: str) -> None:
    await accepted(gateway, put(gateway))
    request = put(gateway)
    mine = request.get("authorization") or ""
    theirs = put(gateway, key=KB).get("authorization") or ""
    texts = {"KA": mine, "KB": theirs, "basic": "Basic x", "garbage": "x"}
    first, second = pair.split()
    request.drop("authorization").add("Authorization", texts[first]).add("Authorization", texts[second])
    await refused(gateway, request, 400)


@pytest.mark.parametrize("other", [KA, KB], ids=["the same key", "another key"])
async def test_sig_012_header_and_query_at_once(gateway: Gateway, other: wire.Key) -> None:
    """Two valid mechanisms are one too many."""
    await accepted(gateway, gateway.signed("GET", "/alpha/control"))
    await accepted(gateway, gateway.presigned("GET", "/alpha/control"))
    both = wire.presign(other, gateway.request("GET", "/alpha/control"))
    reply = await refused(gateway, sign(KA, both), 400, "InvalidArgument")
    assert "Only one auth mechanism allowed" in (reply.element("Message") or "")


@pytest.mark.parametrize(
    "change",
    ["GET to DELETE", "GET to HEAD", "path", "query added", "query removed", "host", "x-amz-date", "x-amz-meta-a"],
)
async def test_sig_015_changed_after_signing(gateway: Gateway, change: str) -> None:
    def honest() -> Request:
        return gateway.signed("GET", "/alpha/control?response-expires=1", ("x-amz-meta-a", "1"))

    await accepted(gateway, honest())
    request = honest()
    match change:
        case "GET to DELETE":
            request.method = "DELETE"
        case "GET to HEAD":
            request.method = "HEAD"
        case "path":
            request.target = "/alpha/control2?response-expires=1"
        case "query added":
            request.target += "&partNumber=1"
        case "query removed":
            request.target = "/alpha/control"
        case "host":
            request.set("Host", SUFFIX)
        case "x-amz-date":
            request.set("x-amz-date", wire.timestamp(NOW + timedelta(seconds=1)))
        case "x-amz-meta-a":
            request.set("x-amz-meta-a", "2")
    await refused(gateway, request, 403, "SignatureDoesNotMatch")


KEY = "a b+c%2Fd/é~'()*!$&"


async def test_sig_016_a_key_is_encoded_once(gateway: Gateway) -> None:
    """Odd keys round-trip byte for byte when signed as S3 does, and fail when signed as other services do."""
    path = wire.path_of("alpha", KEY)
    await accepted(gateway, gateway.signed("PUT", path, body=b"odd"))
    assert gateway.backend.requests[-1].key_bytes == KEY.encode()
    assert (await accepted(gateway, gateway.signed("GET", path))).body == b"odd"
    listing = await accepted(gateway, gateway.signed("GET", "/alpha?prefix=a%20b&encoding-type=url"))
    assert wire.encode(KEY.encode(), "/").encode() in listing.body
    await refused(gateway, gateway.signed("GET", path, path=wire.encode(path, "/")), 403, "SignatureDoesNotMatch")


async def test_sig_017_a_doubly_encoded_key_is_decoded_once(gateway: Gateway) -> None:
    """`%252e%252e` is the text `%2e%2e`, never a step up."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/obj%252e%252e%252fsecret", body=b"x"))
    seen = gateway.backend.requests[-1]
    assert seen.target == "/t1--alpha/obj%252e%252e%252fsecret"
    assert seen.key_bytes == b"obj%2e%2e%2fsecret"
    reply = await gateway.send(gateway.signed("GET", "/alpha/obj%252e%252e%252fsecret"))
    assert reply.body == b"x"


async def test_sig_018_no_date(gateway: Gateway) -> None:
    await accepted(gateway, put(gateway))
    await refused(gateway, put(gateway, date=None), 403, "AccessDenied")


async def test_sig_018_date_header_alone(gateway: Gateway) -> None:
    """A fresh, signed Date serves when there is no x-amz-date."""
    await accepted(gateway, put(gateway, date="Date"))


async def test_sig_018_stale_amz_date_beside_a_fresh_date(gateway: Gateway) -> None:
    """x-amz-date wins; a fresh Date does not revive it."""
    request = gateway.request("PUT", "/alpha/k", ("Date", wire.http_date(NOW)), body=b"x")
    await refused(gateway, sign(KA, request, when=NOW - timedelta(hours=1)), 403, "RequestTimeTooSkewed")


async def test_sig_018_unsigned_amz_date_beside_a_stale_date(gateway: Gateway) -> None:
    """An x-amz-date put on afterwards does not make an old signature young."""
    request = put(gateway, date="Date", when=NOW - timedelta(hours=1))
    request.add("x-amz-date", wire.timestamp(NOW))
    await refused(gateway, request, 403)


@pytest.mark.parametrize("minutes", [-16, 16, -15.02, 15.02])
async def test_sig_019_clock_skew(gateway: Gateway, minutes: float) -> None:
    reply = await refused(gateway, put(gateway, when=NOW + timedelta(minutes=minutes)), 403, "RequestTimeTooSkewed")
    assert reply.element("MaxAllowedSkewMilliseconds") == "900000"


@pytest.mark.parametrize("minutes", [-15, -14, 0, 14, 15])
async def test_sig_019_clock_skew_within_bounds(gateway: Gateway, minutes: int) -> None:
    await accepted(gateway, put(gateway, when=NOW + timedelta(minutes=minutes)))


async def test_sig_021_no_payload_hash(gateway: Gateway) -> None:
    """A missing x-amz-content-sha256 is never taken for UNSIGNED-PAYLOAD."""
    await accepted(gateway, put(gateway))
    for payload in (wire.UNSIGNED, wire.sha256(b"x"), wire.EMPTY_SHA256, ""):
        await refused(gateway, put(gateway, payload=payload, hash_header=False), 400, "InvalidRequest")


@pytest.mark.parametrize("order", list(permutations(["Credential", "SignedHeaders", "Signature"])))
async def test_sig_a_header_of_another_order_is_not_guessed(gateway: Gateway, order: tuple[str, ...]) -> None:
    """The three components come in AWS's order (C30)."""
    request = put(gateway)
    value = (request.get("authorization") or "").removeprefix(wire.ALGORITHM + " ")
    parts = dict(piece.split("=", 1) for piece in value.split(", "))
    request.set("Authorization", f"{wire.ALGORITHM} " + ",".join(f"{name}={parts[name]}" for name in order))
    if order == ("Credential", "SignedHeaders", "Signature"):
        await accepted(gateway, request)
    else:
        await refused(gateway, request, 400, "AuthorizationHeaderMalformed")
