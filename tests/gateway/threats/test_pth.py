"""Class PTH: paths, keys, bucket names, virtual hosts. Each test is named by the id of its public case."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests import wire
from tests.gateway.harness import KA, KAO, SUFFIX, Gateway, open_gateway
from tests.gateway.threats.judging import accepted, refused
from tests.wire import Request

_DOTS = [
    ("/alpha/../beta/k", b"../beta/k"),
    ("/alpha/%2e%2e/beta/k", b"../beta/k"),
    ("/alpha/.%2e/beta/k", b"../beta/k"),
    ("/alpha/..%2fbeta/k", b"../beta/k"),
    ("/alpha/%252e%252e/beta/k", b"%2e%2e/beta/k"),
    ("/alpha/..;/beta/k", b"..;/beta/k"),
    ("/alpha/..\\beta\\k", b"..\\beta\\k"),
    ("/alpha/./k", b"./k"),
    ("/alpha//k", b"/k"),
    ("/alpha/k/", b"k/"),
    ("/alpha/k#frag", b"k#frag"),
]


@pytest.mark.parametrize(("target", "key"), _DOTS)
async def test_pth_106_dots_are_part_of_a_key(gateway: Gateway, target: str, key: bytes) -> None:
    """A store that keeps them gets the literal key, below the tenant's bucket."""
    reply = await gateway.send(gateway.signed("PUT", target, body=b"x"))
    assert reply.status == 200
    seen = gateway.backend.requests[-1]
    assert seen.target.startswith("/t1--alpha/")
    assert seen.key_bytes == key
    assert (await accepted(gateway, gateway.signed("GET", target))).body == b"x"


@pytest.mark.parametrize("target", [target for target, key in _DOTS if key.split(b"/")[0] in (b"..", b".", b"")])
async def test_pth_106_a_store_that_folds_keys_gets_none(target: str) -> None:
    async with open_gateway(literal_keys=False) as gateway:
        await gateway.alive()
        await refused(gateway, gateway.signed("PUT", target, body=b"x"), 400, "InvalidArgument")
        copy = gateway.signed("PUT", "/alpha/k", ("x-amz-copy-source", target))
        await refused(gateway, copy, 400, "InvalidArgument")


async def test_pth_108_keys_of_any_bytes(gateway: Gateway) -> None:
    """Hundreds of keys: the bytes at the backend are those of the client, or it is a clean 400."""
    chance = random.Random(108)  # noqa: S311 - to repeat a failure
    fixed = ["a/./b", "a//b", "%41%7e", "a%2fb", "k%zz", "[x]", "a#f", "é", " lead", "trail ", ".", "..", "?", "a?b=c"]
    keys = [key.encode() for key in fixed]
    keys += [bytes(chance.randrange(1, 256) for _ in range(chance.randint(1, 20))) for _ in range(300)]
    keys += [bytes(chance.choice(b"./%20aZ+?#&=;:\\") for _ in range(chance.randint(1, 12))) for _ in range(200)]
    async with await wire.Client.open(gateway.port) as client:
        for key in keys:
            await client.send(gateway.signed("PUT", f"/alpha/{wire.encode(key, '/')}", body=key).wire())
            reply = await client.reply()
            if reply.status == 200:
                assert gateway.backend.requests[-1].key_bytes == key
            else:
                assert (reply.status, reply.code) == (400, "InvalidURI")
                with pytest.raises(UnicodeDecodeError):
                    key.decode("utf-8")


@pytest.mark.parametrize("target", ["//alpha/k", "///", "//", "/%2f", "/%20", "/%2falpha/k", "//alpha"])
async def test_pth_109_an_empty_bucket_is_none(gateway: Gateway, target: str) -> None:
    """In no case a listing of everybody's buckets."""
    await gateway.alive()
    await refused(gateway, gateway.signed("GET", target), 400, "InvalidBucketName")


async def test_pth_109_slashes_at_the_end(gateway: Gateway) -> None:
    assert b"ListBucketResult" in (await accepted(gateway, gateway.signed("GET", "/alpha/"))).body
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"k"))
    await accepted(gateway, gateway.signed("PUT", "/alpha//k", body=b"/k"))
    assert (await accepted(gateway, gateway.signed("GET", "/alpha/k"))).body == b"k"
    assert (await accepted(gateway, gateway.signed("GET", "/alpha//k"))).body == b"/k"


@pytest.mark.parametrize("target", ["/alpha%2F..%2Fbeta/k", "/t1--alpha%2Fk", "/beta%2fsecret", "/alpha%5ck"])
async def test_pth_110_an_escaped_slash_in_the_bucket(gateway: Gateway, target: str) -> None:
    """One decoding, used for the decision and for the request that goes on."""
    await gateway.alive()
    seen = len(gateway.backend.requests)
    reply = await gateway.send(gateway.signed("GET", target))
    assert reply.status in (400, 403, 404)
    assert all(one.target.startswith("/t1--alpha/") for one in gateway.backend.requests[seen:])
    assert b"secret of tenant two" not in reply.body


async def test_pth_110_an_escaped_letter_is_that_letter(gateway: Gateway) -> None:
    assert (await accepted(gateway, gateway.signed("GET", "/%61lpha/control"))).body == b"control"
    assert gateway.backend.requests[-1].target == "/t1--alpha/control"


_NAMES = [
    "Alpha",
    "al_pha",
    "192.168.0.1",
    "xn--a",
    "a",
    "ab",
    "a" * 64,
    "alpha.",
    ".alpha",
    "al..pha",
    "alpha-",
    "-alpha",
    "alpha%00",
    "alpha%0a",
    "%EF%BD%81lpha",
    "alpha-s3alias",
    "arn:aws:s3:::alpha",
    ".minio.sys",
    "othertenant:bucket",
    ":alpha",
    "t1%3Aalpha",
    "alpha%20",
]


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_pth_111_113_names_that_no_bucket_has(gateway: Gateway, name: str, method: str) -> None:
    await gateway.alive()
    await refused(gateway, gateway.signed(method, f"/{name}", key=KAO), 400, "InvalidBucketName")
    await refused(gateway, gateway.signed(method, f"/{name}/k", key=KAO), 400, "InvalidBucketName")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_pth_112_backend_names_do_not_exist(gateway: Gateway, method: str) -> None:
    """Asked by the backend's name, a bucket answers like any that is not there."""
    await gateway.alive()
    answers = set()
    for name in ("t2--beta", "t1--alpha", "nope--none", "beta", "nothing"):
        before = gateway.backend.received
        body = b"x" if method == "PUT" else b""
        reply = await gateway.send(gateway.signed(method, f"/{name}/k", body=body))
        assert gateway.backend.received == before
        answers.add((reply.status, reply.code, tuple(n for n, _ in reply.headers)))
    assert len(answers) == 1
    assert answers.pop()[0] in (403, 404)


@pytest.mark.parametrize(
    "name",
    ["admin", "minio", "swift", "auth", "health", "healthz", "metrics", "console", "buckets", "favicon.ico", "api"],
)
async def test_pth_115_no_route_shadows_a_bucket(gateway: Gateway, name: str) -> None:
    """On this listener there is nothing but S3."""
    reply = await gateway.send(gateway.request("GET", f"/{name}"))
    assert (reply.status, reply.code) == (403, "AccessDenied")
    await accepted(gateway, gateway.signed("PUT", f"/{name}", key=KAO))
    assert gateway.backend.requests[-1].target == f"/t1--{name}"
    await accepted(gateway, gateway.signed("PUT", f"/{name}/k", key=KAO, body=b"x"))
    assert (await accepted(gateway, gateway.signed("GET", f"/{name}/k", key=KAO))).body == b"x"


async def test_pth_116_virtual_hosts(gateway: Gateway) -> None:
    """With a bucket in the host the whole path is the key."""

    def at(bucket: str, path: str) -> Request:
        return wire.sign(KA, Request("GET", path, [("Host", f"{bucket}.{SUFFIX}:{gateway.port}")]))

    gateway.backend.put("t1--alpha", "beta/k", b"a key of alpha")
    assert (await accepted(gateway, at("alpha", "/beta/k"))).body == b"a key of alpha"
    assert (await accepted(gateway, at("ALPHA", "/beta/k"))).body == b"a key of alpha"
    await refused(gateway, at("beta", "/alpha/k"), 403, "AccessDenied")
    await refused(gateway, at("t2--beta", "/secret"), 403, "AccessDenied")
    await refused(gateway, at("alpha.beta.x_y", "/secret"), (400, 403))


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/alpha/k", "gopher://x/alpha", "http://beta.s3.gw.test/secret", "https:///alpha/k"],
)
async def test_pth_118_absolute_targets(gateway: Gateway, target: str) -> None:
    """The authority of an absolute target must be the Host, which is what was signed."""
    await gateway.alive()
    await refused(gateway, gateway.signed("GET", target), (400, 403))
    other = gateway.signed("GET", "/alpha/control")
    other.target = target
    await refused(gateway, other, (400, 403))


async def test_bak_189_no_request_leads_elsewhere(gateway: Gateway) -> None:
    """Whatever names another server, only the configured backend is called."""
    called = 0

    async def canary(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        called += 1
        writer.close()

    server = await asyncio.start_server(canary, "127.0.0.1", 0)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        requests = [
            gateway.signed("GET", f"http://{place}/alpha/k"),
            wire.sign(KA, Request("GET", "/alpha/k", [("Host", place)])),
            gateway.signed("GET", f"/alpha/@{place}/k"),
            gateway.signed("PUT", "/alpha/k", ("x-amz-copy-source", f"http://{place}/alpha/k")),
            gateway.signed("GET", "/alpha/k").add("X-Forwarded-Host", place),
            Request("CONNECT", place, [("Host", place)]),
        ]
        for request in requests:
            await gateway.send(request)
        await gateway.alive()
    finally:
        server.close()
    assert called == 0
    for seen in gateway.backend.requests:
        assert seen.get("host") == "backend.internal:9000"


@pytest.mark.parametrize(
    ("tail", "key"),
    [
        ("k%00.png", None),
        ("%0d%0aX:%20y", b"\r\nX: y"),
        ("%7f", b"\x7f"),
        ("%ff", None),
        ("%c0%ae%c0%ae/", None),
        ("%u002e", None),
        ("%zz", None),
        ("%4", None),
    ],
)
async def test_pth_120_odd_escapes(gateway: Gateway, tail: str, key: bytes | None) -> None:
    await gateway.alive()
    request = gateway.signed("PUT", f"/alpha/{tail}", body=b"x", path=f"/alpha/{tail}" if key is None else None)
    if key is None:
        await refused(gateway, request, (400, 403))
        if "%" not in tail.replace("%00", "").replace("%ff", "").replace("%c0", "").replace("%ae", ""):
            await refused(gateway, gateway.signed("PUT", f"/alpha/{tail}", body=b"x"), 400, "InvalidURI")
    else:
        await accepted(gateway, request)
        assert gateway.backend.requests[-1].key_bytes == key


async def test_pth_121_lengths(gateway: Gateway) -> None:
    await accepted(gateway, gateway.signed("PUT", f"/alpha/{'k' * 1024}", body=b"x"))
    await refused(gateway, gateway.signed("PUT", f"/alpha/{'k' * 1025}", body=b"x"), 400, "KeyTooLongError")
    wide = wire.path_of("alpha", "€" * 341)
    await accepted(gateway, gateway.signed("PUT", wide, body=b"x"))
    await refused(gateway, gateway.signed("PUT", wire.path_of("alpha", "€" * 1024), body=b"x"), 400, "KeyTooLongError")
    await refused(gateway, gateway.signed("GET", f"/alpha/{'k' * 8192}"), 400, "KeyTooLongError")
    await refused(
        gateway,
        gateway.signed("GET", f"/alpha/{'k' * 65536}"),
        (400, 414),
        ("InvalidURI", "KeyTooLongError", "RequestHeaderSectionTooLarge"),
    )
    metadata = ("x-amz-meta-a", "m" * 2047)
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", metadata, body=b"x"))
    metadata = ("x-amz-meta-a", "m" * 2048)
    await refused(gateway, gateway.signed("PUT", "/alpha/k", metadata, body=b"x"), 400, "MetadataTooLarge")
