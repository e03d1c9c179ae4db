"""Class RSG: what goes to the backend, and what of its answers comes back. Named by the ids of the public cases."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
from urllib.parse import unquote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests import wire
from tests.fakebackend import Answer, Seen
from tests.gateway.harness import BACKEND_HOST, BACKEND_KEY, KA, KAO, KB, Gateway, open_gateway
from tests.gateway.threats.judging import accepted, check_refusal, nothing_open
from tests.wire import NoReply, Request

CANARY = "c4n4ry"
_CANARY_HEADERS = [
    ("Cookie", f"session={CANARY}"),
    ("X-Auth-Token", CANARY),
    ("Proxy-Authorization", f"Basic {CANARY}"),
    ("X-Forwarded-For", CANARY),
    ("X-Forwarded-Host", CANARY),
    ("Forwarded", f"for={CANARY}"),
    ("X-Real-IP", CANARY),
    ("TE", CANARY),
    ("Keep-Alive", CANARY),
    ("Referer", CANARY),
    ("User-Agent", CANARY),
    ("X-Amzn-Trace-Id", CANARY),
    ("X-Minio-Force-Delete", CANARY),
    ("X-Rgw-Canary", CANARY),
    ("x_amz_copy_source", CANARY),
    ("Trailer", CANARY),
    ("Via", CANARY),
    ("X-HTTP-Method-Override", CANARY),
]
_UNSIGNED_ON_PURPOSE = frozenset({"authorization", "user-agent", "connection"})


def mixed_requests(gateway: Gateway, count: int) -> list[Request]:
    """Many different valid requests, each with canaries in what must stay behind."""
    chance = random.Random(195)  # noqa: S311 - to repeat a failure
    made = []
    for number in range(count):
        method = chance.choice(["GET", "HEAD", "PUT", "DELETE", "GET", "PUT"])
        key = "".join(chance.choice("abcé/+ %~!*'()&=?#;:@,$") for _ in range(chance.randint(1, 12))).strip("/") or "k"
        target = wire.path_of("alpha", key)
        headers = chance.sample(_CANARY_HEADERS, 5)
        if method == "PUT":
            headers += [("x-amz-meta-n", f" {number}  x "), ("Content-Type", "text/plain; charset=utf-8")]
        if method in ("GET", "HEAD") and number % 3 == 0:
            target = f"/alpha?list-type=2&prefix={wire.encode(key.encode())}&max-keys=7"
            method = "GET"
        if number % 2:
            signed = gateway.request(method, target, *[h for h in headers if h[0].lower().startswith("x-amz-meta")])
            request = wire.presign(KA, signed, query="" if number % 4 == 1 else "x-id=GetObject")
            request.headers += [h for h in headers if not h[0].lower().startswith("x-amz-meta")]
        else:
            body = b"body" * number if method == "PUT" else b""
            request = gateway.signed(method, target, *headers, body=body)
        made.append(request)
    return made


async def test_rsg_194_nothing_of_the_clients_credentials_goes_on(gateway: Gateway) -> None:
    """A thousand requests of every kind: no canary, no signature and no key id of a client reaches the backend."""
    requests = mixed_requests(gateway, 1000)
    async with await wire.Client.open(gateway.port) as client:
        for request in requests:
            await client.send(request.wire())
            reply = await client.reply(head_only=request.method == "HEAD")
            assert reply.status in (200, 204, 206, 404), f"{request.method} {request.target}: {reply}"
    logged = b"".join(bytes(link.log) for link in gateway.backend.links)
    for canary in (CANARY, KA.id, KA.secret, *(request.seal.signature for request in requests if request.seal)):
        assert canary.encode() not in logged
    for seen in gateway.backend.requests:
        (authorization,) = seen.all("authorization")
        assert f"Credential={BACKEND_KEY.access_key_id}/" in authorization
        assert not any(name.lower().startswith("x-amz-") for name in seen.query)


def check_resigned(seen: Seen) -> None:
    """botocore signs what the backend received, and comes to the same signature over all of it."""
    authorization = seen.get("authorization") or ""
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(.+?)/(\d{8})/([^/]+)/s3/aws4_request, SignedHeaders=(.+), Signature=(\w{64})",
        authorization,
    )
    assert match, authorization
    names = match[4].split(";")
    present = {name.lower() for name, _ in seen.headers}
    assert present - set(names) <= _UNSIGNED_ON_PURPOSE
    assert len(present) == len(seen.headers), "a header twice"
    signer = S3SigV4Auth(Credentials(BACKEND_KEY.access_key_id, BACKEND_KEY.secret_access_key), "s3", match[3])
    signer.headers_to_sign = lambda request: request.headers  # type: ignore[method-assign]  # all of them, not its choice
    request = AWSRequest(method=seen.method, url=f"http://{BACKEND_HOST}{seen.target}")
    for name, value in seen.headers:
        if name.lower() in names:
            request.headers[name.lower()] = value
    request.context["timestamp"] = seen.get("x-amz-date") or ""
    request.context["payload_signing_enabled"] = False
    signer.payload = lambda request: seen.get("x-amz-content-sha256")  # type: ignore[method-assign]
    canonical = signer.canonical_request(request)
    to_sign = signer.string_to_sign(request, canonical)
    assert signer.signature(to_sign, request) == match[5], canonical


@pytest.mark.parametrize("trailers", [True, False])
async def test_rsg_195_every_forwarded_request_verifies(trailers: bool) -> None:
    """botocore agrees with each signature we made, and nothing but the connection's own is unsigned."""
    async with open_gateway(trailers=trailers) as gateway:
        for request in mixed_requests(gateway, 200):
            await gateway.send(request)
        for mode in wire.MODES:
            for size in (10, 300_000):
                request, _ = wire.upload(KA, gateway.request("PUT", "/alpha/k"), mode, bytes(size))
                assert (await gateway.send(request)).status == 200
        copy = gateway.signed("PUT", "/alpha/copy", ("x-amz-copy-source", "/alpha/control"))
        assert (await gateway.send(copy)).status == 200
        delete = b"<Delete><Object><Key>k</Key></Object></Delete>"
        await gateway.send(gateway.signed("POST", "/alpha?delete", ("Content-MD5", wire.md5(delete)), body=delete))
        await gateway.send(gateway.signed("PUT", "/made", key=KAO))
        await gateway.send(gateway.signed("DELETE", "/made", key=KAO))
        assert len(gateway.backend.requests) > 200
        for seen in gateway.backend.requests:
            check_resigned(seen)


_OUR_REFUSALS = [
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "RequestTimeTooSkewed",
    "ExpiredToken",
    "InvalidToken",
    "XAmzContentSHA256Mismatch",
]


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
@pytest.mark.parametrize("code", _OUR_REFUSALS)
async def test_rsg_196_197_the_backend_refuses_us(gateway: Gateway, code: str, method: str) -> None:
    """Our credential or our clock is wrong: never the client's fault, and nothing of it is told."""
    await gateway.alive()
    document = (
        f"<Error><Code>{code}</Code><AWSAccessKeyId>{BACKEND_KEY.access_key_id}</AWSAccessKeyId>"
        f"<StringToSign>AWS4-HMAC-SHA256</StringToSign><CanonicalRequest>{BACKEND_HOST}</CanonicalRequest></Error>"
    )
    status = 400 if code.startswith(("Auth", "X", "Exp", "InvalidT")) else 403
    told = [("Content-Type", "application/xml"), ("x-minio-error-code", code)]
    gateway.backend.always(Answer(status, told, document.encode()))
    reply = await gateway.send(gateway.signed(method, "/alpha/k", body=b"x" if method == "PUT" else b""))
    gateway.backend.script = None
    if method == "HEAD":
        assert reply.status in (502, 503)
    else:
        check_refusal(reply, (502, 503), "InternalError")
        assert b"StringToSign" not in reply.body
    assert gateway.traces.finished[-1].reason == "backend_auth"
    await gateway.alive()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "NoSuchKey"),
        (404, "NoSuchBucket"),
        (404, "NoSuchUpload"),
        (400, "InvalidPart"),
        (400, "InvalidPartOrder"),
        (412, "PreconditionFailed"),
        (409, "BucketNotEmpty"),
        (400, "EntityTooLarge"),
        (503, "SlowDown"),
        (403, "QuotaExceeded"),
        (416, "InvalidRange"),
        (500, "InternalError"),
        (501, "NotImplemented"),
        (400, "BadDigest"),
    ],
)
async def test_rsg_198_errors_that_clients_know(gateway: Gateway, status: int, code: str) -> None:
    """The code stays, the document is ours: our request id, the tenant's names."""
    inner = f"<Code>{code}</Code><Message>secret words</Message><BucketName>t1--alpha</BucketName>"
    document = f"<Error>{inner}<Resource>/t1--alpha/k</Resource><HostId>backend</HostId></Error>"
    gateway.backend.always(Answer(status, [("Content-Type", "application/xml")], document.encode()))
    reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
    check_refusal(reply, status, code)
    assert b"secret words" not in reply.body
    assert reply.element("BucketName") in (None, "alpha")


_CODED = {
    "gzip": gzip.compress(b"0" * 100_000, mtime=0),
    "deflate": b"this does not inflate",
    "br": b"\x00garbage",
    "zstd": b"\x28\xb5\x2f\xfdgarbage",
    "gzip, gzip": gzip.compress(gzip.compress(b"x", mtime=0), mtime=0),
    "x-foo": b"whatever",
}


@pytest.mark.parametrize("coding", _CODED)
async def test_rsg_200_content_codings_are_the_clients_business(gateway: Gateway, coding: str) -> None:
    """Stored, hashed and returned byte for byte; nothing is unpacked on the way."""
    data = _CODED[coding]
    put = await accepted(gateway, gateway.signed("PUT", "/alpha/k", ("Content-Encoding", coding), body=data))
    assert gateway.backend.body_of("t1--alpha", "k") == data
    got = await accepted(gateway, gateway.signed("GET", "/alpha/k"))
    assert (got.body, got.get("content-encoding"), got.get("etag")) == (data, coding, put.get("etag"))
    head = await accepted(gateway, gateway.signed("HEAD", "/alpha/k"))
    assert (head.get("content-encoding"), head.get("content-length")) == (coding, str(len(data)))
    part = await accepted(gateway, gateway.signed("GET", "/alpha/k", ("Range", "bytes=1-3")), 206)
    assert part.body == data[1:4]


async def test_rsg_202_nothing_is_invented(gateway: Gateway) -> None:
    """No Content-Type or Accept that the client did not send: it would become the object's."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"x"))
    put = gateway.backend.requests[-1]
    assert (put.get("content-type"), put.get("accept")) == (None, None)
    await accepted(gateway, gateway.signed("GET", "/alpha/k"))
    get = gateway.backend.requests[-1]
    assert (get.get("content-type"), get.get("accept"), get.get("content-length")) == (None, None, None)
    assert get.get("accept-encoding") == "identity"


async def test_rsg_203_cookies_do_not_stay(gateway: Gateway) -> None:
    document = Answer(200, [("Set-Cookie", "be=1; Path=/"), ("ETag", '"e"')], b"x")
    gateway.backend.answer(document)
    reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
    assert reply.status == 200
    assert reply.get("set-cookie") is None
    await gateway.send(gateway.signed("GET", "/beta/secret", key=KB))
    await gateway.send(gateway.signed("GET", "/alpha/k"))
    assert all(seen.get("cookie") is None for seen in gateway.backend.requests)


_BROKEN = {
    "CL and TE": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "TE and CL": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "no length": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "no HTTP": b"garbage\r\n\r\n",
    "HTTP/0.9": b"hello",
    "two answers": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
    "a header with a NUL": b"HTTP/1.1 200 OK\r\nETag: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "a folded header": b"HTTP/1.1 200 OK\r\nETag: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a split header": b"HTTP/1.1 200 OK\r\nx-amz-meta-a: b\rSet-Cookie: c\r\nContent-Length: 2\r\n\r\nok",
    "a switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000,
}


@pytest.mark.parametrize("kind", _BROKEN)
async def test_rsg_206_answers_that_cannot_be_trusted(gateway: Gateway, kind: str) -> None:
    """502, or the connection ends; in no case does one answer become part of another."""
    await gateway.alive()
    gateway.backend.answer(Answer(raw=_BROKEN[kind], close=True))
    try:
        reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
    except NoReply:
        pass
    else:
        if reply.status == 200 and kind == "two answers":
            assert reply.body == b"ok"
        else:
            check_refusal(reply, (502, 504), "InternalError")
    await gateway.backend.until(lambda: gateway.backend.requests[-1].connection.closed, "the connection to end")
    for _ in range(3):
        await gateway.alive()


async def test_rsg_206_a_bad_chunk_in_the_middle(gateway: Gateway) -> None:
    """What was announced in chunks and breaks inside does not end like a whole answer."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n"
    gateway.backend.answer(Answer(raw=raw))
    try:
        reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
    except NoReply:
        pass
    else:
        assert reply.status == 502 or not reply.complete
    await gateway.alive()


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("size", [100, 4 << 20])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("share", [0, 3, 50, 99])
async def test_rsg_207_a_download_that_breaks_off(
    gateway: Gateway, framing: str, size: int, share: int, how: str
) -> None:
    """The client sees that something is missing, or an error; never a clean end."""
    body = wire.http_chunks(bytes(size)) if framing == "chunked" else bytes(size)
    headers = [("Transfer-Encoding", "chunked")] if framing == "chunked" else [("Content-Length", str(size))]
    gateway.backend.answer(Answer(200, headers, body, cut_at=len(body) * share // 100, reset=how == "RST"))
    try:
        reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
    except NoReply:
        pass
    else:
        assert reply.status >= 500 or not reply.complete
    await gateway.alive()


@pytest.mark.parametrize(
    "request_line",
    [("PUT", "/alpha/k"), ("DELETE", "/alpha/k"), ("POST", "/alpha/k?uploads"), ("POST", "/alpha/k?uploadId=u")],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["new connection", "kept connection"])
async def test_rsg_209_changes_are_asked_once(gateway: Gateway, request_line: tuple[str, str], fresh: bool) -> None:
    """A reset after the request: it may have been done. Nobody but the client may repeat it."""
    if not fresh:
        await gateway.alive()
    complete = (
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>"
    )
    body = complete if request_line[1].endswith("=u") else b""
    seen = len(gateway.backend.requests)
    gateway.backend.answer(Answer(reset_at=0))
    reply = await gateway.send(gateway.signed(*request_line, body=body))
    check_refusal(reply, (502, 503), ("InternalError", "ServiceUnavailable"))
    assert len(gateway.backend.requests) == seen + 1
    await gateway.alive()


async def test_rsg_209_a_read_is_asked_twice_at_most(gateway: Gateway) -> None:
    """A kept connection that was dead when used: once more on a new one, while the client has no byte yet."""
    await gateway.alive()
    seen = len(gateway.backend.requests)
    gateway.backend.answer(Answer(reset_at=0), None)
    assert (await gateway.send(gateway.signed("GET", "/alpha/control"))).status == 200
    assert len(gateway.backend.requests) == seen + 2
    gateway.backend.answer(Answer(reset_at=0), Answer(reset_at=0), None)
    check_refusal(await gateway.send(gateway.signed("GET", "/alpha/control")), 502, "InternalError")
    assert len(gateway.backend.requests) == seen + 4


async def test_rsg_210_backend_headers_stay_behind(gateway: Gateway) -> None:
    leaking = [
        ("Server", "backend/1"),
        ("Via", "backend"),
        ("x-amz-id-2", "backend"),
        ("x-amz-request-id", "backend"),
        ("x-minio-deployment-id", "backend"),
        ("x-rgw-object-type", "backend"),
        ("x-amz-bucket-region", "backend"),
        ("Strict-Transport-Security", "max-age=1"),
        ("Location", f"http://{BACKEND_HOST}/t1--alpha/k"),
        ("Access-Control-Allow-Origin", "*"),
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("X-Backend", "backend"),
        ("WWW-Authenticate", "backend"),
    ]
    gateway.backend.answer(Answer(200, [*leaking, ("ETag", '"e"'), ("x-amz-meta-Mine", "1")], b"x"))
    reply = await gateway.send(gateway.signed("GET", "/alpha/k"))
    names = {name.lower() for name, _ in reply.headers}
    assert names == {"etag", "x-amz-meta-mine", "content-length", "date", "server", "x-amz-request-id", "x-amz-id-2"}
    assert b"backend" not in reply.raw_head.lower()


async def test_rsg_210_documents_name_the_tenants_bucket(gateway: Gateway) -> None:
    """Listings, uploads and copies tell of `alpha`, its tenant and our address."""
    for request in (
        gateway.signed("GET", "/alpha?list-type=2&fetch-owner=true"),
        gateway.signed("POST", "/alpha/k?uploads"),
        gateway.signed("GET", "/alpha/k?uploadId=upload-1"),
        gateway.signed("GET", "/alpha?uploads"),
    ):
        reply = await accepted(gateway, request)
        assert b"backend" not in reply.body
        assert b"t1--" not in reply.body
    gateway.backend.uploads["u"] = {1: b"x"}
    body = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>"
    done = await accepted(gateway, gateway.signed("POST", "/alpha/k?uploadId=u", body=body))
    assert done.element("Location") == "http://s3.gw.test/alpha/k"
    assert done.element("Bucket") == "alpha"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
async def test_bak_190_redirects_are_not_followed(gateway: Gateway, method: str, status: int) -> None:
    """A redirect would carry our signature to wherever it says."""
    called = 0

    async def canary(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        called += 1
        writer.close()

    server = await asyncio.start_server(canary, "127.0.0.1", 0)
    try:
        location = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/t1--alpha/k"
        gateway.backend.answer(Answer(status, [("Location", location)]))
        reply = await gateway.send(gateway.signed(method, "/alpha/k"))
        assert reply.status == 502
        assert reply.get("location") is None
        await gateway.alive()
    finally:
        server.close()
    assert called == 0


@pytest.mark.parametrize(
    ("answer", "headers", "status"),
    [
        (Answer(403), [], 502),
        (Answer(404), [], 404),
        (Answer(412), [("If-Match", '"x"')], 412),
        (Answer(304, [("ETag", '"e"')]), [("If-None-Match", '"e"')], 304),
        (Answer(200, [("Content-Length", "5"), ("ETag", '"e"')]), [], 200),
    ],
    ids=["403", "404", "412", "304", "200"],
)
async def test_rsg_212_head_has_no_body(
    gateway: Gateway, answer: Answer, headers: list[tuple[str, str]], status: int
) -> None:
    """Whatever the answer, the next one on the connection is whole."""
    async with await wire.Client.open(gateway.port) as client:
        for _ in range(2):
            gateway.backend.answer(answer)
            await client.send(gateway.signed("HEAD", "/alpha/k", *headers).wire())
            reply = await client.reply(head_only=True)
            assert reply.status == status
            if status == 304:
                assert reply.get("content-length") is None
            await client.send(gateway.signed("GET", "/alpha/control").wire())
            assert (await client.reply()).body == b"control"


async def test_rsg_212_a_304_of_a_get_has_no_body(gateway: Gateway) -> None:
    async with await wire.Client.open(gateway.port) as client:
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        etag = (await client.reply()).get("etag") or ""
        await client.send(gateway.signed("GET", "/alpha/control", ("If-None-Match", etag)).wire())
        assert (await client.reply()).status == 304
        await client.send(gateway.signed("GET", "/alpha/control").wire())
        assert (await client.reply()).body == b"control"


async def test_rsg_213_conditional_writes_go_on_unchanged(gateway: Gateway) -> None:
    """Of a hundred at once one wins; who decides is the store."""

    async def write(number: int) -> int:
        request = gateway.signed("PUT", "/alpha/once", ("If-None-Match", "*"), body=b"%d" % number)
        return (await gateway.send(request)).status

    statuses = await asyncio.gather(*(write(number) for number in range(100)))
    assert sorted(statuses) == [200] + [412] * 99
    assert {s.get("if-none-match") for s in gateway.backend.requests if s.path.endswith("/once")} == {"*"}


async def test_rsg_216_a_client_that_leaves_stops_the_download(gateway: Gateway) -> None:
    """Reading from the backend ends within a second, and the rest is not drained."""
    size = 64 << 20
    gateway.backend.answer(Answer(200, [], bytes(size)))
    client = await gateway.connect(receive_buffer=16384)
    await client.send(gateway.signed("GET", "/alpha/k").wire())
    assert await client.more()
    link = gateway.backend.requests[-1].connection
    client.reset()
    async with asyncio.timeout(1.0):
        await gateway.backend.until(lambda: link.closed, "the upstream connection to end")
    await nothing_open(gateway)
    await gateway.alive()


async def test_rsg_forwarded_targets_are_canonical(gateway: Gateway) -> None:
    """One spelling goes out, whatever came in: nothing of the client's target is pasted through."""
    for target in ("/alpha/%7e%41!$&'()*,;=:@", "/%61lpha/k", "/alpha/a+b"):
        reply = await gateway.send(gateway.signed("PUT", target, body=b"x"))
        assert reply.status == 200
        seen = gateway.backend.requests[-1]
        assert seen.target == wire.canonical_path(seen.target)
        assert unquote(seen.target) == unquote(target).replace("/alpha/", "/t1--alpha/", 1)
