"""Class HDR: header fields that mean something to somebody. Each test is named by the id of its public case."""

from __future__ import annotations

import pytest

from tests import wire
from tests.gateway.harness import KA, KAO, KAW, SUFFIX, Gateway
from tests.gateway.threats.judging import accepted, refused
from tests.wire import NoReply

_ALL_USERS = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'
_GRANTS = [
    ("x-amz-acl", "public-read"),
    ("x-amz-acl", "public-read-write"),
    ("x-amz-grant-full-control", _ALL_USERS),
    ("x-amz-grant-read", _ALL_USERS),
    ("x-amz-grant-write-acp", _ALL_USERS),
]


@pytest.mark.parametrize("header", _GRANTS, ids=lambda header: "=".join(header)[:30])
@pytest.mark.parametrize("where", ["PutObject", "CopyObject", "CreateMultipartUpload", "CreateBucket"])
async def test_hdr_094_no_acl_through_a_data_key(gateway: Gateway, where: str, header: tuple[str, str]) -> None:
    """The backend's credential could do it; the client's key cannot."""
    await gateway.alive()
    match where:
        case "PutObject":
            request = gateway.signed("PUT", "/alpha/k", header, body=b"x")
        case "CopyObject":
            request = gateway.signed("PUT", "/alpha/k", ("x-amz-copy-source", "/alpha/control"), header)
        case "CreateMultipartUpload":
            request = gateway.signed("POST", "/alpha/k?uploads", header)
        case _:
            request = gateway.signed("PUT", "/fresh", header, key=KAO)
    await refused(gateway, request, (403, 501))


@pytest.mark.parametrize("value", ["private", "bucket-owner-full-control"])
async def test_hdr_094_harmless_acls_are_taken(gateway: Gateway, value: str) -> None:
    """What changes nothing is not refused, and not passed on either."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", ("x-amz-acl", value), body=b"x"))
    assert gateway.backend.requests[-1].get("x-amz-acl") is None


@pytest.mark.parametrize(
    "header",
    [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-website-redirect-location", "/other"),
        ("x-amz-bypass-governance-retention", "true"),
        ("x-amz-expected-bucket-owner", "123456789012"),
        ("x-amz-mfa", "serial 123456"),
        ("x-amz-write-offset-bytes", "5"),
        ("x-amz-unheard-of", "1"),
    ],
    ids=lambda header: header[0],
)
async def test_hdr_094_what_is_not_done_is_refused_and_not_dropped(gateway: Gateway, header: tuple[str, str]) -> None:
    await gateway.alive()
    await refused(gateway, gateway.signed("PUT", "/alpha/k", header, body=b"x"), (403, 501))


_TOKENS = ["x-amz-date", "X-Amz-Content-Sha256", "AUTHORIZATION", "host", "content-length", "x-amz-acl"]


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("lines", ["one line", "a line each"])
async def test_hdr_097_connection_tokens(gateway: Gateway, case: object, lines: str) -> None:
    """Connection names what a proxy must take out; of ours nothing is taken."""
    tokens = [case(token) for token in _TOKENS]  # type: ignore[operator]
    request = gateway.signed("PUT", "/alpha/k", body=b"x")
    for value in [", ".join(tokens)] if lines == "one line" else tokens:
        request.add("Connection", value)
    reply = await gateway.send(request)
    assert reply.status in (200, 400)
    if reply.status == 200:
        seen = gateway.backend.requests[-1]
        for name in ("authorization", "host", "x-amz-date", "x-amz-content-sha256", "content-length"):
            assert len(seen.all(name)) == 1
        assert seen.get("connection") is None


@pytest.mark.parametrize(
    "name",
    [
        "TE",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Trailer",
        "Cookie",
        "X-Auth-Token",
        "Forwarded",
        "X-Forwarded-For",
        "x_amz_acl",
        "X-Minio-Extract",
        "X-Rgw-Something",
        "X-Object-Meta-A",
        "X-Goog-Meta-A",
    ],
)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
async def test_hdr_098_what_stays_behind(gateway: Gateway, name: str, signed: bool) -> None:
    field = (name, "c4n4ry")
    request = gateway.signed("GET", "/alpha/control", *([field] if signed else []))
    if not signed:
        request.add(*field)
    await accepted(gateway, request)
    assert b"c4n4ry" not in gateway.backend.requests[-1].raw_head


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-Host",
        "X-Host",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
    ],
)
async def test_hdr_101_headers_that_redirect_elsewhere(gateway: Gateway, name: str) -> None:
    """Bucket, route, method and host come from the request line and Host alone."""
    for value in (f"beta.{SUFFIX}", "/beta/secret", "DELETE"):
        request = gateway.signed("GET", "/alpha/control").add(name, value)
        assert (await accepted(gateway, request)).body == b"control"
        seen = gateway.backend.requests[-1]
        assert (seen.method, seen.target) == ("GET", "/t1--alpha/control")


# DEL in a value is forbidden too (RFC 9110, 5.5), but parsers let it through; nothing of such a header goes on.
_CONTROLS = [(byte, "value") for byte in b"\r\n\0\x01\x0b"] + [(byte, "name") for byte in b"\r\n\0\x01\x0b\x7f"]


@pytest.mark.parametrize(("byte", "where"), _CONTROLS)
async def test_hdr_104_control_bytes(gateway: Gateway, byte: int, where: str) -> None:
    await gateway.alive()
    before = gateway.backend.received
    head = gateway.signed("GET", "/alpha/control").head()[:-2]
    line = b"X-A: a%cb" % byte if where == "value" else b"X%cA: 1" % byte
    try:
        reply = await gateway.send(head + line + b"\r\n\r\n")
    except NoReply:
        pass
    else:
        assert reply.status == 400
        assert reply.get("connection") == "close"
    await gateway.alive()
    assert gateway.backend.received == before + gateway.backend.requests[-1].size


async def test_hdr_metadata_keeps_its_bytes(gateway: Gateway) -> None:
    """Metadata arrives as sent, signed as AWS folds it; what is not UTF-8 is refused before it could be altered."""
    value = "gr\u00fc\u00df".encode().decode("latin-1")
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", ("x-amz-meta-a", value), body=b"x"))
    assert gateway.backend.requests[-1].get("x-amz-meta-a") == value
    await refused(gateway, gateway.signed("PUT", "/alpha/k", ("x-amz-meta-a", "\xff"), body=b"x"), 400)
    assert (await accepted(gateway, gateway.signed("HEAD", "/alpha/k"))).get("x-amz-meta-a") == value


async def test_hdr_metadata_lines_are_joined(gateway: Gateway) -> None:
    """RGW keeps the last of two lines, MinIO joins them: the store gets one line (O11)."""
    request = gateway.request("PUT", "/alpha/k", ("x-amz-meta-a", "1"), ("x-amz-meta-a", "2"), body=b"x")
    await accepted(gateway, wire.sign(KA, request))
    assert gateway.backend.requests[-1].all("x-amz-meta-a") == ["1,2"]


async def test_hdr_a_write_key_does_not_read(gateway: Gateway) -> None:
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", key=KAW, body=b"x"))
    for method, target in (("GET", "/alpha/k"), ("HEAD", "/alpha/k"), ("GET", "/alpha?list-type=2")):
        await refused(gateway, gateway.signed(method, target, key=KAW), 403, "AccessDenied")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-copy-source", "/beta/secret"),
        ("x-amz-copy-source", "/alpha/control"),
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-meta-foo", "1"),
        ("x-amz-bypass-governance-retention", "true"),
        ("X-Amz-Security-Token", "token"),
        ("x-amz-storage-class", "GLACIER"),
    ],
)
async def test_hdr_086_unsigned_amz_headers_are_not_laundered(gateway: Gateway, name: str, value: str) -> None:
    """Added to a signed request on its way, they would leave here with our signature on them."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"x"))
    reply = await refused(gateway, gateway.signed("PUT", "/alpha/k", body=b"x").add(name, value), 403, "AccessDenied")
    assert reply.element("HeadersNotSigned") == name.lower()


@pytest.mark.parametrize(
    "header",
    [
        ("x-amzn-trace-id", "Root=1"),
        ("x-amz-cf-id", "a"),
        ("amz-sdk-invocation-id", "a"),
        ("amz-sdk-request", "attempt=1"),
    ],
)
async def test_hdr_087_headers_that_may_be_unsigned(gateway: Gateway, header: tuple[str, str]) -> None:
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"x").add(*header))
    assert gateway.backend.requests[-1].get(header[0]) is None


async def test_hdr_087_the_payload_hash_may_be_unsigned(gateway: Gateway) -> None:
    """It is in the signature as the payload line anyway."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"x", unsigned=["x-amz-content-sha256"]))


@pytest.mark.parametrize(
    "name",
    [
        "X-Minio-Source-Replication-Request",
        "X-Minio-Replication-Server-Side-Encryption-Sealed-Key",
        "x-minio-source-mtime",
        "x-minio-source-etag",
        "x-minio-source-deletemarker",
        "X-Minio-Source-Proxy-Request",
        "x-minio-from-peer",
        "X-Minio-Force-Delete",
    ],
)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
async def test_hdr_089_a_stores_internal_headers(gateway: Gateway, name: str, signed: bool) -> None:
    field = (name, "true")
    request = gateway.signed("PUT", "/alpha/k", *([field] if signed else []), body=b"x")
    if not signed:
        request.add(*field)
    reply = await gateway.send(request)
    assert reply.status in (200, 400)
    assert all(seen.get(name.lower()) is None for seen in gateway.backend.requests)


@pytest.mark.parametrize("value", ["true", "True", " true ", "false"])
async def test_hdr_093_nobody_bypasses_retention(gateway: Gateway, value: str) -> None:
    bypass = ("x-amz-bypass-governance-retention", value)
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    await gateway.alive()
    for request in (
        gateway.signed("DELETE", "/alpha/k", bypass),
        gateway.signed("DELETE", "/alpha/k?versionId=v", bypass),
        gateway.signed("POST", "/alpha?delete", bypass, ("Content-MD5", wire.md5(body)), body=body),
        gateway.signed("PUT", "/alpha/k?retention", bypass),
    ):
        await refused(gateway, request, (403, 501))
