"""Class QRY: query strings and sub-resources. Each test is named by the id of its public case."""

from __future__ import annotations

import time

import pytest

from gateway.s3.operation import SUBRESOURCES, TABLE, Level
from tests import wire
from tests.gateway.harness import KA, KAO, Gateway
from tests.gateway.threats.judging import accepted, refused

_INVENTED = [f"invented{number}" for number in range(20)]
_LEVELS = {Level.SERVICE: "/", Level.BUCKET: "/alpha", Level.OBJECT: "/alpha/k"}
_KNOWN_PARAMETERS = {"list-type": "2", "partNumber": "1", "uploadId": "u"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("level", list(Level), ids=lambda level: level.value)
async def test_qry_126_every_subresource_of_every_level(gateway: Gateway, level: Level, method: str) -> None:
    """What the table does not hold is refused before the backend hears of it."""
    await gateway.alive()
    before = gateway.backend.received
    for name in sorted(SUBRESOURCES) + _INVENTED:
        selected = frozenset({name} & SUBRESOURCES) - ({"partNumber"} if method in ("GET", "HEAD") else frozenset())
        if (method, level, selected) in TABLE and name not in _INVENTED:
            continue
        if name == "partNumber" and level is Level.OBJECT and method in ("GET", "HEAD"):
            continue
        target = f"{_LEVELS[level]}?{name}={_KNOWN_PARAMETERS.get(name, '')}"
        reply = await gateway.send(gateway.signed(method, target, key=KAO))
        assert reply.status in (400, 405, 501), f"{method} {target}: {reply}"
    assert gateway.backend.received == before
    await gateway.alive()


@pytest.mark.parametrize(
    "query",
    [
        "acl&policy",
        "policy&acl",
        "tagging&acl",
        "uploads&delete",
        "acl&acl",
        "uploads&uploads",
        "location&list-type=2",
        "list-type=2&list-type=2",
        "list-type=1",
        "list-type=",
    ],
)
async def test_qry_129_one_subresource_at_a_time(gateway: Gateway, query: str) -> None:
    await accepted(gateway, gateway.signed("GET", "/alpha?uploads"))
    await refused(gateway, gateway.signed("GET", f"/alpha?{query}"), (400, 501))


async def test_qry_129_versions_and_uploads(gateway: Gateway) -> None:
    await refused(gateway, gateway.signed("GET", "/alpha/k?uploadId=u&versionId=v"), 400, "InvalidArgument")


@pytest.mark.parametrize(
    "query",
    [
        "prefix=p1/&prefix=p2/",
        "prefix=p2/&prefix=p1/",
        "delimiter=/&delimiter=x",
        "list-type=2&continuation-token=a&continuation-token=b",
        "prefix=a&%70refix=b",
        "max-keys=1&max-keys=2",
    ],
)
async def test_qry_130_parameters_twice(gateway: Gateway, query: str) -> None:
    await accepted(gateway, gateway.signed("GET", "/alpha?prefix=p1/"))
    await refused(gateway, gateway.signed("GET", f"/alpha?{query}"), 400, "InvalidArgument")


async def test_qry_130_parameters_in_another_case_are_unknown(gateway: Gateway) -> None:
    for query in ("Prefix=x", "PREFIX=x", "ACL", "Uploads", "versionid=x"):
        await refused(gateway, gateway.signed("GET", f"/alpha?{query}"), 400, "InvalidArgument")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/?events=s3:ObjectCreated:*"),
        ("GET", "/?x=1"),
        ("GET", "/?usage"),
        ("POST", "/"),
        ("DELETE", "/"),
        ("PUT", "/"),
        ("HEAD", "/"),
        ("POST", "/?Action=AssumeRole&Version=2011-06-15"),
    ],
)
async def test_qry_135_the_root(gateway: Gateway, method: str, target: str) -> None:
    await gateway.alive()
    await refused(gateway, gateway.signed(method, target), (400, 403, 405, 501))


@pytest.mark.parametrize("action", ["AssumeRole", "GetSessionToken", "CreateUser", "CreateAccessKey", "CreateTopic"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
async def test_bak_182_no_iam_and_no_sts(gateway: Gateway, action: str, signed: bool) -> None:
    body = f"Action={action}&Version=2011-06-15".encode()
    form = ("Content-Type", "application/x-www-form-urlencoded")
    request = gateway.request("POST", "/", form, body=body)
    await gateway.alive()
    await refused(gateway, wire.sign(KA, request) if signed else request, (400, 403, 405, 501))


@pytest.mark.parametrize(
    "path",
    [
        "/minio/admin/v3/info",
        "/minio/health/live",
        "/minio/v2/metrics/cluster",
        "/minio/kms/v1/status",
        "/admin/user?uid=x",
        "/admin/bucket?stats",
        "/swift/v1",
        "/auth/v1.0",
        "/crossdomain.xml",
        "/.minio.sys/config/config.json",
        "/.well-known/x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_bak_180_181_185_backend_routes(gateway: Gateway, method: str, path: str) -> None:
    """Paths that a store keeps for itself are buckets that nobody has."""
    await gateway.alive()
    for request in (gateway.signed(method, path), gateway.request(method, path)):
        await refused(gateway, request, (400, 403, 404, 405, 501))


@pytest.mark.parametrize("number", ["0", "10001", "-1", "1e9", "1a", "", "%20" + "1", "1.0", "+1"])
async def test_qry_136_part_numbers(gateway: Gateway, number: str) -> None:
    gateway.backend.uploads["u"] = {}
    await accepted(gateway, gateway.signed("PUT", "/alpha/k?partNumber=1&uploadId=u", body=b"x"))
    await accepted(gateway, gateway.signed("PUT", "/alpha/k?partNumber=10000&uploadId=u", body=b"x"))
    target = f"/alpha/k?partNumber={number}&uploadId=u"
    await refused(gateway, gateway.signed("PUT", target, body=b"x"), 400, "InvalidArgument")


@pytest.mark.parametrize("method", ["PUT", "GET", "POST", "DELETE"])
async def test_qry_136_an_empty_upload_id(gateway: Gateway, method: str) -> None:
    query = "uploadId=&partNumber=1" if method == "PUT" else "uploadId="
    await refused(gateway, gateway.signed(method, f"/alpha/k?{query}"), 400, "InvalidArgument")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("version", ["null", "v1", "..%2f"])
async def test_qry_137_versions_need_a_right_of_their_own(gateway: Gateway, method: str, version: str) -> None:
    """No preset holds the Version actions."""
    await gateway.alive()
    await refused(gateway, gateway.signed(method, f"/alpha/control?versionId={version}"), 403, "AccessDenied")
    copy = ("x-amz-copy-source", f"/alpha/control?versionId={version}")
    await refused(gateway, gateway.signed("PUT", "/alpha/k", copy), 403, "AccessDenied")


@pytest.mark.parametrize("version", ["", "v" * 10_000])
async def test_qry_137_versions_that_are_none(gateway: Gateway, version: str) -> None:
    await refused(gateway, gateway.signed("GET", f"/alpha/control?versionId={version}"), 400, "InvalidArgument")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("max-keys", "/alpha?"),
        ("max-keys", "/alpha?list-type=2&"),
        ("max-uploads", "/alpha?uploads&"),
        ("max-buckets", "/?"),
    ],
)
async def test_qry_138_page_sizes(gateway: Gateway, name: str, target: str) -> None:
    for value in ("-1", "abc", "2147483648", "99999999999", "", "1.5", "%2B1", "0x10"):
        await refused(gateway, gateway.signed("GET", f"{target}{name}={value}"), 400, "InvalidArgument")
    await accepted(gateway, gateway.signed("GET", f"{target}{name}=2147483647"))
    if name != "max-buckets":
        assert gateway.backend.requests[-1].query[name] == "1000"


@pytest.mark.parametrize(
    "query",
    [
        "&".join(f"a{number}=1" for number in range(2000)),
        "prefix=" + "x" * 8192,
        "a[b][c]=1",
        "%FF%FE=1",
        "prefix=%FF",
        "&" * 8000,
    ],
    ids=["many", "long", "deep", "not UTF-8", "not UTF-8 value", "empty pieces"],
)
async def test_qry_141_large_and_strange_queries(gateway: Gateway, query: str) -> None:
    await gateway.alive()
    started = time.process_time()
    reply = await gateway.send(gateway.signed("GET", f"/alpha?{query}"))
    assert reply.status in (200, 400)
    assert time.process_time() - started < 0.2
    await gateway.alive()


@pytest.mark.parametrize("value", ["a%0d%0aSet-Cookie:%20x", "a%00b", "a%0ab"])
async def test_qry_overrides_hold_no_control_characters(gateway: Gateway, value: str) -> None:
    """What becomes a header of the answer cannot become two (P8)."""
    await accepted(gateway, gateway.signed("GET", "/alpha/control?response-content-language=de"))
    target = f"/alpha/control?response-content-language={value}"
    await refused(gateway, gateway.signed("GET", target), 400, "InvalidArgument")
