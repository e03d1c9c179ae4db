"""Class CPY: copies, multipart uploads, multi-delete. Each test is named by the id of its public case."""

from __future__ import annotations

import pytest

from tests import wire
from tests.fakebackend import Answer
from tests.gateway.harness import KA, KAO, KAR, KAW, KB, Gateway
from tests.gateway.threats.judging import accepted, refused

OWN = ("x-amz-copy-source", "/alpha/control")


def complete(body: bytes) -> dict[str, bytes]:
    return {"body": b"<CompleteMultipartUpload>" + body + b"</CompleteMultipartUpload>"}


async def test_cpy_142_a_foreign_source(gateway: Gateway) -> None:
    """Not even a HEAD on what the key may not read."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", OWN))
    for source in ("/beta/secret", "/alpha2/control"):
        await refused(gateway, gateway.signed("PUT", "/alpha/k", ("x-amz-copy-source", source)), 403, "AccessDenied")


@pytest.mark.parametrize("range_header", [[], [("x-amz-copy-source-range", "bytes=0-4")]], ids=["whole", "range"])
async def test_cpy_143_a_foreign_source_of_a_part(gateway: Gateway, range_header: list[tuple[str, str]]) -> None:
    gateway.backend.uploads["u"] = {}
    target = "/alpha/k?partNumber=1&uploadId=u"
    await accepted(gateway, gateway.signed("PUT", target, OWN, *range_header))
    foreign = ("x-amz-copy-source", "/beta/secret")
    await refused(gateway, gateway.signed("PUT", target, foreign, *range_header), 403, "AccessDenied")


_SPELLINGS = [
    "beta/secret",
    "beta%2Fsecret",
    "%2Fbeta%2Fsecret",
    "t2--beta/secret",
    "arn:aws:s3:::beta/secret",
    "arn%3Aaws%3As3%3A%3A%3Abeta%2Fsecret",
    "https://h/beta/secret",
    "//beta/secret",
    "othertenant:beta/k",
    "",
    "/",
    "alpha",
    "alpha/",
    "?versionId=x",
    "beta/secret?acl",
    "alpha/control?acl",
    "alpha/control?versionId=",
    ".minio.sys/config/iam/x",
    "alpha/%zz",
    "alpha/a%00",
    "ALPHA/control",
]


@pytest.mark.parametrize("source", _SPELLINGS)
async def test_cpy_144_spellings_of_a_source(gateway: Gateway, source: str) -> None:
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", OWN))
    request = gateway.signed("PUT", "/alpha/k", ("x-amz-copy-source", source))
    await refused(gateway, request, (400, 403), ("InvalidArgument", "AccessDenied"))


@pytest.mark.parametrize("source", ["/alpha/../beta/secret", "alpha%2F..%2F..%2Fbeta", "alpha/..%2fbeta/secret"])
async def test_cpy_144_dots_in_a_source_stay_in_its_key(gateway: Gateway, source: str) -> None:
    """A store that keeps such keys is asked for the literal one, below the tenant's bucket."""
    reply = await gateway.send(gateway.signed("PUT", "/alpha/k", ("x-amz-copy-source", source)))
    assert reply.status in (400, 403, 404)
    sent = gateway.backend.requests[-1].get("x-amz-copy-source") if gateway.backend.requests else None
    assert sent is None or sent.startswith("/t1--alpha/")
    await gateway.alive()


@pytest.mark.parametrize(
    ("source", "key"),
    [("alpha/a%20b", "a b"), ("alpha/a%2Bb", "a+b"), ("/alpha/a%2Bb", "a+b"), ("alpha/%C3%A9", "é")],
)
async def test_cpy_147_escapes_of_a_source(gateway: Gateway, source: str, key: str) -> None:
    """Decoded once, encoded once. (A bare plus is a blank: see `parse_copy_source`.)"""
    gateway.backend.put("t1--alpha", key, b"the right one")
    await accepted(gateway, gateway.signed("PUT", "/alpha/copy", ("x-amz-copy-source", source)))
    assert gateway.backend.body_of("t1--alpha", "copy") == b"the right one"
    assert gateway.backend.requests[-1].get("x-amz-copy-source") == wire.path_of("t1--alpha", key)


async def test_cpy_148_both_ends_need_a_right(gateway: Gateway) -> None:
    """A write-only key cannot copy what it cannot read; a reader cannot write."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", OWN))
    await refused(gateway, gateway.signed("PUT", "/alpha/k", OWN, key=KAW), 403, "AccessDenied")
    await refused(gateway, gateway.signed("PUT", "/alpha/k", OWN, key=KAR), 403, "AccessDenied")
    not_granted = ("x-amz-copy-source", "/alpha2/control")
    await refused(gateway, gateway.signed("PUT", "/alpha/k", not_granted), 403, "AccessDenied")
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", not_granted, key=KAO))


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/alpha/k?acl"),
        ("PUT", "/alpha/k?tagging"),
        ("PUT", "/alpha2"),
        ("GET", "/alpha/control"),
        ("POST", "/alpha/k?uploads"),
        ("DELETE", "/alpha/k"),
        ("HEAD", "/alpha/control"),
        ("GET", "/alpha"),
    ],
)
async def test_cpy_151_a_source_where_nothing_is_copied(gateway: Gateway, method: str, target: str) -> None:
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", OWN))
    await refused(gateway, gateway.signed(method, target, OWN), (400, 501))


@pytest.mark.parametrize("bucket", ["alpha", "beta"])
async def test_cpy_152_uploads_of_others(gateway: Gateway, bucket: str) -> None:
    """An upload id opens nothing by itself."""
    made = await accepted(gateway, gateway.signed("POST", "/beta/k?uploads", key=KB))
    upload = made.element("UploadId")
    parts = b"<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>"
    requests = [
        gateway.signed("PUT", f"/{bucket}/k?partNumber=1&uploadId={upload}", body=b"x"),
        gateway.signed("GET", f"/{bucket}/k?uploadId={upload}"),
        gateway.signed("POST", f"/{bucket}/k?uploadId={upload}", **complete(parts)),
        gateway.signed("DELETE", f"/{bucket}/k?uploadId={upload}"),
    ]
    if bucket == "beta":
        for request in requests:
            await refused(gateway, request, 403, "AccessDenied")
    else:
        for request in requests:
            gateway.backend.answer(Answer(404, [], b"<Error><Code>NoSuchUpload</Code></Error>"))
            reply = await gateway.send(request)
            assert (reply.status, reply.code) == (404, "NoSuchUpload")
            assert gateway.backend.requests[-1].path == "/t1--alpha/k"


async def test_cpy_156_each_key_of_a_multi_delete_is_judged(gateway: Gateway) -> None:
    """With a version it takes a right that the key does not hold; only the other one goes to the store."""
    gateway.backend.put("t1--alpha", "p1", b"x")
    body = b"<Delete><Object><Key>p1</Key></Object><Object><Key>p2</Key><VersionId>v</VersionId></Object></Delete>"
    request = gateway.signed("POST", "/alpha?delete", ("Content-MD5", wire.md5(body)), body=body)
    reply = await accepted(gateway, request)
    assert b"<Deleted><Key>p1</Key></Deleted>" in reply.body
    assert b"<Key>p2</Key><VersionId>v</VersionId><Code>AccessDenied</Code>" in reply.body
    sent = bytes(gateway.backend.requests[-1].body)
    assert b"p1" in sent
    assert b"p2" not in sent
    assert gateway.backend.body_of("t1--alpha", "p1") is None
    for other in (KAR,):
        denied = gateway.signed("POST", "/alpha?delete", ("Content-MD5", wire.md5(body)), body=body, key=other)
        await refused(gateway, denied, 403, "AccessDenied")


@pytest.mark.parametrize("answer", [b"<DeleteResult><Deleted>", b"<Error><Code>InternalError</Code></Error>", b""])
async def test_cpy_156_refused_keys_are_never_left_out(gateway: Gateway, answer: bytes) -> None:
    """A store's result that our refusals cannot be added to is no success: a quiet client would miss them."""
    body = b"<Delete><Quiet>true</Quiet><Object><Key>p1</Key></Object><Object><Key>p2</Key><VersionId>v</VersionId>"
    body += b"</Object></Delete>"
    request = gateway.signed("POST", "/alpha?delete", ("Content-MD5", wire.md5(body)), body=body)
    gateway.backend.answer(Answer(200, body=b"<DeleteResult/>"))
    assert b"<Key>p2</Key>" in (await accepted(gateway, request)).body
    gateway.backend.answer(Answer(200, body=answer))
    reply = await gateway.send(request)
    assert (reply.status, reply.code) == (502, "InternalError")


async def test_cpy_156_all_refused_asks_nobody(gateway: Gateway) -> None:
    body = b"<Delete><Object><Key>p2</Key><VersionId>v</VersionId></Object></Delete>"
    before = gateway.backend.received
    reply = await gateway.send(gateway.signed("POST", "/alpha?delete", ("Content-MD5", wire.md5(body)), body=body))
    assert (reply.status, reply.code) == (200, "AccessDenied")
    assert gateway.backend.received == before


async def test_cpy_156_a_multi_delete_needs_a_checksum(gateway: Gateway) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    await refused(gateway, gateway.signed("POST", "/alpha?delete", body=body), 400, "InvalidRequest")
    wrong = ("Content-MD5", wire.md5(b"other"))
    await refused(gateway, gateway.signed("POST", "/alpha?delete", wrong, body=body), 400, "BadDigest")


PARTS = b"<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>"


@pytest.mark.parametrize("what", ["complete", "copy"])
async def test_cpy_158_an_error_inside_a_200(gateway: Gateway, what: str) -> None:
    """The store began with 200 and blanks; the client gets the error that followed, and no clean end before it."""
    error = b"\n\n\n<Error><Code>InternalError</Code><Message>m</Message><HostId>backend</HostId></Error>"
    chunks = wire.http_chunks(b" " * 50 + error, 7)
    headers = [("Transfer-Encoding", "chunked"), ("Content-Type", "application/xml")]
    gateway.backend.answer(Answer(200, headers, chunks, drip=True))
    if what == "complete":
        request = gateway.signed("POST", "/alpha/k?uploadId=u", **complete(PARTS))
    else:
        request = gateway.signed("PUT", "/alpha/k", OWN)
    reply = await gateway.send(request)
    assert reply.status >= 500 or (reply.code == "InternalError" and reply.complete)
    assert b"backend" not in reply.body


@pytest.mark.parametrize(
    "parts",
    [
        b"<Part><PartNumber>2</PartNumber><ETag>a</ETag></Part><Part><PartNumber>1</PartNumber><ETag>b</ETag></Part>",
        PARTS + PARTS,
        b"<Part><PartNumber>0</PartNumber><ETag>a</ETag></Part>",
        b"<Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part>",
        b"<Part><PartNumber>1x</PartNumber><ETag>a</ETag></Part>",
        b"<Part><PartNumber>1</PartNumber></Part>",
        b"<Part><PartNumber>1</PartNumber><ETag>" + b"e" * (1 << 19) + b"</ETag></Part>",
        b"".join(b"<Part><PartNumber>%d</PartNumber><ETag>a</ETag></Part>" % n for n in range(1, 10_002)),
        b"",
    ],
    ids=["unsorted", "twice", "zero", "too high", "no number", "no ETag", "huge ETag", "too many", "none"],
)
async def test_cpy_159_lists_of_parts(gateway: Gateway, parts: bytes) -> None:
    gateway.backend.uploads["u"] = {1: b"x"}
    await accepted(gateway, gateway.signed("POST", "/alpha/k?uploadId=u", **complete(PARTS)))
    await refused(
        gateway,
        gateway.signed("POST", "/alpha/k?uploadId=u", **complete(parts)),
        400,
        ("InvalidPartOrder", "InvalidPart", "MalformedXML", "InvalidArgument", "MaxMessageLengthExceeded"),
    )


async def test_cpy_159_entities_in_an_etag_stay_text(gateway: Gateway) -> None:
    gateway.backend.uploads["u"] = {1: b"x"}
    sly = b"<Part><PartNumber>1</PartNumber><ETag>&quot;e&lt;/ETag&gt;&lt;Part&gt;</ETag></Part>"
    reply = await gateway.send(gateway.signed("POST", "/alpha/k?uploadId=u", **complete(sly)))
    if reply.status == 200:
        assert bytes(gateway.backend.requests[-1].body).count(b"<Part>") == 1
    else:
        assert reply.status == 400


async def test_cpy_160_aborting(gateway: Gateway) -> None:
    made = await accepted(gateway, gateway.signed("POST", "/alpha/k?uploads"))
    target = f"/alpha/k?uploadId={made.element('UploadId')}"
    await refused(gateway, gateway.signed("DELETE", target, key=KAR), 403, "AccessDenied")
    await accepted(gateway, gateway.signed("DELETE", target, key=KAW), 204)
    reply = await gateway.send(gateway.signed("DELETE", target, key=KA))
    assert (reply.status, reply.code) == (404, "NoSuchUpload")


async def test_cpy_155_listings_tell_of_the_tenant(gateway: Gateway) -> None:
    made = await accepted(gateway, gateway.signed("POST", "/alpha/k?uploads"))
    parts = await accepted(gateway, gateway.signed("GET", f"/alpha/k?uploadId={made.element('UploadId')}"))
    assert parts.element("DisplayName") == "t1"
    assert b"backend" not in parts.body
