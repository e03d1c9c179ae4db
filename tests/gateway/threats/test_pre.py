"""Class PRE: presigned URLs. Each test is named by the id of its public case."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests import wire
from tests.gateway.harness import KA, SUFFIX, Gateway
from tests.gateway.threats.judging import accepted, refused
from tests.wire import NOW, presign


async def test_pre_025_expired(gateway: Gateway) -> None:
    """A URL lives exactly as long as it says, not fifteen minutes more or less."""
    await accepted(
        gateway, gateway.presigned("GET", "/alpha/control", when=NOW - timedelta(seconds=3600), expires="3600")
    )
    late = gateway.presigned("GET", "/alpha/control", when=NOW - timedelta(seconds=3601), expires="3600")
    reply = await refused(gateway, late, 403, "AccessDenied")
    assert reply.element("Message") == "Request has expired"
    assert reply.element("X-Amz-Expires") == "3600"
    assert reply.element("Expires") == "2026-01-02T11:59:59Z"


async def test_pre_025_a_week_old_url_still_lives(gateway: Gateway) -> None:
    """The skew of header signatures does not apply to URLs."""
    old = gateway.presigned("GET", "/alpha/control", when=NOW - timedelta(days=6), expires="604800")
    await accepted(gateway, old)


@pytest.mark.parametrize(
    "expires",
    ["0", "-1", "604801", "1e9", "", "60.5", "%2060", "%2B60", "0x10", "%D9%A3%D9%A0", None],
)
async def test_pre_026_a_lifetime_that_is_none(gateway: Gateway, expires: str | None) -> None:
    """Signed right, and still no number from 1 to 604800 in plain digits."""
    await accepted(gateway, gateway.presigned("GET", "/alpha/control", expires="604800"))
    await refused(
        gateway, gateway.presigned("GET", "/alpha/control", expires=expires), 400, "AuthorizationQueryParametersError"
    )


async def test_pre_027_not_yet_valid(gateway: Gateway) -> None:
    await accepted(gateway, gateway.presigned("GET", "/alpha/control", when=NOW + timedelta(minutes=15)))
    early = gateway.presigned("GET", "/alpha/control", when=NOW + timedelta(minutes=16), expires="604800")
    reply = await refused(gateway, early, 403, "AccessDenied")
    assert reply.element("Message") == "Request is not yet valid"


@pytest.mark.parametrize("source", ["/beta/secret", "/alpha/control"])
async def test_pre_028_a_put_url_does_not_become_a_copy(gateway: Gateway, source: str) -> None:
    """x-amz-copy-source put on afterwards is not laundered into our signature."""
    await accepted(gateway, gateway.presigned("PUT", "/alpha/up", body=b"x"))
    request = gateway.presigned("PUT", "/alpha/up").add("x-amz-copy-source", source)
    reply = await refused(gateway, request, 403, "AccessDenied")
    assert reply.element("HeadersNotSigned") == "x-amz-copy-source"
    assert gateway.backend.body_of("t1--alpha", "up") == b"x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'),
        ("x-amz-tagging", "a=b"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-meta-x", "1"),
        ("x-amz-website-redirect-location", "http://evil.test/"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-checksum-sha256", wire.b64(bytes(32))),
        ("X-AMZ-META-X", "1"),
    ],
)
async def test_pre_029_unsigned_amz_headers(gateway: Gateway, name: str, value: str) -> None:
    await accepted(gateway, gateway.presigned("PUT", "/alpha/up", body=b"x"))
    request = gateway.presigned("PUT", "/alpha/up", body=b"x").add(name, value)
    reply = await refused(gateway, request, 403, "AccessDenied")
    assert reply.element("HeadersNotSigned") == name.lower()


async def test_pre_031_harmless_headers_need_no_signature(gateway: Gateway) -> None:
    """What browsers and download managers add by themselves goes on working."""

    def url() -> wire.Request:
        return gateway.presigned("GET", "/alpha/control")

    ranged = await accepted(gateway, url().add("Range", "bytes=0-2"), 206)
    assert ranged.body == b"con"
    etag = (await accepted(gateway, url())).get("etag") or ""
    await accepted(gateway, url().add("If-None-Match", etag), 304)
    await accepted(gateway, url().add("User-Agent", "Mozilla/5.0"))
    await accepted(gateway, url().add("Origin", "https://app.test"))


async def test_pre_032_a_session_token_in_the_query(gateway: Gateway) -> None:
    """We issue none: neither ignored nor passed on."""
    await accepted(gateway, gateway.presigned("GET", "/alpha/control"))
    signed = gateway.presigned("GET", "/alpha/control", query="X-Amz-Security-Token=canary")
    await refused(gateway, signed, (400, 403), ("InvalidRequest", "InvalidToken"))
    added = gateway.presigned("GET", "/alpha/control")
    added.target += "&X-Amz-Security-Token=canary"
    await refused(gateway, added, (400, 403))


@pytest.mark.parametrize("where", ["signed", "unsigned", "in the header form"])
async def test_pre_032_a_session_token_in_a_header(gateway: Gateway, where: str) -> None:
    token = ("x-amz-security-token", "canary")
    match where:
        case "signed":
            request = gateway.presigned("GET", "/alpha/control", token)
        case "unsigned":
            request = gateway.presigned("GET", "/alpha/control").add(*token)
        case _:
            request = gateway.signed("GET", "/alpha/control", token)
    await refused(gateway, request, (400, 403))


@pytest.mark.parametrize("target", ["/alpha/k", "/alpha/k?partNumber=1&uploadId=upload-1"])
@pytest.mark.parametrize("signature", ["fabricated", "absent"])
async def test_pre_035_query_credentials_with_an_unsigned_trailer(
    gateway: Gateway, target: str, signature: str
) -> None:
    """CVE-2026-41145: the payload mode does not choose who is asked for a signature."""
    await accepted(gateway, gateway.presigned("PUT", "/alpha/k", body=b"x"))
    request, _ = wire.upload(KA, gateway.request("PUT", target), wire.UNSIGNED_TRAILER, b"attack", presigned=True)
    base = request.target.partition("&X-Amz-Signature=")[0]
    request.target = base + (f"&X-Amz-Signature={'0' * 64}" if signature == "fabricated" else "")
    await refused(gateway, request, (400, 403))
    unsigned = request.drop("x-amz-decoded-content-length").drop("x-amz-trailer").drop("x-amz-content-sha256")
    unsigned.add("x-amz-content-sha256", wire.UNSIGNED_TRAILER)
    await refused(gateway, unsigned, (400, 403))


OVERRIDES = "response-content-type=text/html&response-content-disposition=inline"


async def test_pre_038_a_page_shown_inline_gets_no_powers(gateway: Gateway) -> None:
    """HTML from a bucket would run under our name: sandboxed, and its type not guessed."""
    gateway.backend.put("t1--alpha", "page", b"<script>1</script>", content_type="text/plain")
    reply = await accepted(gateway, gateway.presigned("GET", f"/alpha/page?{OVERRIDES}"))
    assert reply.get("content-type") == "text/html"
    assert reply.get("x-content-type-options") == "nosniff"
    assert reply.get("content-security-policy") == "sandbox"


async def test_pre_038_overrides_added_afterwards(gateway: Gateway) -> None:
    request = gateway.presigned("GET", "/alpha/control")
    request.target += f"&{OVERRIDES}"
    await refused(gateway, request, 403, "SignatureDoesNotMatch")


async def test_pre_038_overrides_of_nobody(gateway: Gateway) -> None:
    await refused(gateway, gateway.request("GET", f"/alpha/control?{OVERRIDES}"), (400, 403))


async def test_pre_040_revocation_ends_urls(gateway: Gateway) -> None:
    """A URL is worth what its key is worth."""
    url = gateway.presigned("GET", "/alpha/control", expires="604800")
    await accepted(gateway, url)
    before = gateway.backend.received
    gateway.keys.revoke(KA)
    reply = await gateway.send(url)
    assert (reply.status, reply.code) == (403, "InvalidAccessKeyId")
    assert gateway.backend.received == before


async def test_pre_042_virtual_host_and_path_style_are_not_exchanged(gateway: Gateway) -> None:
    virtual = f"alpha.{SUFFIX}:{gateway.port}"
    by_host = presign(KA, wire.Request("GET", "/control", [("Host", virtual)]))
    await accepted(gateway, by_host)
    by_path = gateway.presigned("GET", "/alpha/control")
    await accepted(gateway, by_path)
    moved = wire.Request("GET", "/alpha" + by_host.target, [("Host", gateway.host)])
    await refused(gateway, moved, 403, "SignatureDoesNotMatch")
    moved = wire.Request("GET", by_path.target.removeprefix("/alpha"), [("Host", virtual)])
    await refused(gateway, moved, 403, "SignatureDoesNotMatch")


async def test_pre_043_other_methods_on_a_url(gateway: Gateway) -> None:
    """A URL is for one method. OPTIONS asks for CORS rules, of which there are none yet."""
    await accepted(gateway, gateway.presigned("PUT", "/alpha/up", body=b"x"))
    url = gateway.presigned("PUT", "/alpha/up")
    url.drop("content-length").method = "OPTIONS"
    await refused(gateway, url, (400, 403, 405, 501))
    preflight = url.add("Origin", "https://app.test").add("Access-Control-Request-Method", "PUT")
    reply = await refused(gateway, preflight, (400, 403, 405, 501))
    assert reply.get("access-control-allow-origin") is None
    get = gateway.presigned("GET", "/alpha/control")
    get.method = "HEAD"
    await refused(gateway, get, 403)


@pytest.mark.parametrize(
    "name",
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"],
)
async def test_pre_every_parameter_is_needed_once(gateway: Gateway, name: str) -> None:
    """Left out, doubled, or in another case: none of it is a presigned URL, and none is anonymous (P1, C13)."""
    await accepted(gateway, gateway.presigned("GET", "/alpha/control"))
    await refused(
        gateway,
        gateway.presigned("GET", "/alpha/control", leave_out=[name]),
        400,
        "AuthorizationQueryParametersError",
    )
    whole = gateway.presigned("GET", "/alpha/control")
    value = next(piece for piece in whole.query.split("&") if piece.startswith(name + "="))
    whole.target += f"&{value}"
    await refused(gateway, whole, 400, "AuthorizationQueryParametersError")
    other = gateway.presigned("GET", "/alpha/control")
    other.target = other.target.replace(name, name.lower())
    await refused(gateway, other, 400, "AuthorizationQueryParametersError")


async def test_pre_headers_hoisted_into_the_query_count_as_headers(gateway: Gateway) -> None:
    """What a presigner moved into the query is authorized and forwarded as the header it means (P5)."""
    await accepted(gateway, gateway.presigned("PUT", "/alpha/up", body=b"x", query="X-Amz-Meta-Colour=red"))
    seen = gateway.backend.requests[-1]
    assert (seen.get("x-amz-meta-colour"), seen.target) == ("red", "/t1--alpha/up")
    await refused(gateway, gateway.presigned("PUT", "/alpha/up", body=b"x", query="x-amz-acl=public-read"), 403)
    copy = gateway.presigned("PUT", "/alpha/up", query="x-amz-copy-source=%2Fbeta%2Fsecret")
    await refused(gateway, copy, 403, "AccessDenied")
