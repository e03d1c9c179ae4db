"""Class STR: hashes, aws-chunked streams and trailers. Each test is named by the id of its public case."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.s3.operation import TABLE, Level
from tests import wire
from tests.gateway.harness import KA, Gateway, open_gateway
from tests.gateway.threats.judging import accepted, check_refusal, not_committed, nothing_open, refused
from tests.wire import MODES, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Chunked, Request, upload

DATA = bytes(range(256)) * 96  # 24 KiB: three chunks of 8 KiB
LARGE = bytes(range(256)) * 2048  # 512 KiB: passes while it is checked, instead of being read first
STREAMING = [mode for mode in MODES if mode.startswith("STREAMING-")]
SIZES = {"small": (DATA, 8192), "large": (LARGE, 65536)}


def put(
    gateway: Gateway, mode: str, size: str = "small", *, target: str = "/alpha/k", **more: object
) -> tuple[Request, Chunked]:
    data, chunk = SIZES[size]
    request, body = upload(KA, gateway.request("PUT", target).drop("content-length"), mode, data, chunk=chunk, **more)  # type: ignore[arg-type]
    return request, body or Chunked([])


async def control(gateway: Gateway, mode: str, size: str = "small", **more: object) -> None:
    """The honest upload, byte for byte; the attack then aims at the object that it left."""
    await accepted(gateway, put(gateway, mode, size, **more)[0])
    assert gateway.backend.body_of("t1--alpha", "k") == SIZES[size][0]


@pytest.mark.parametrize("te", [False, True], ids=["content-length", "transfer-encoding"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("presigned", [False, True], ids=["header", "presigned"])
async def test_str_every_mode_works(gateway: Gateway, mode: str, size: str, te: bool, presigned: bool) -> None:
    """Every mode, small and large, in both framings, stores exactly the object's bytes."""
    if te and not mode.startswith("STREAMING-"):
        reply = await gateway.send(put(gateway, mode, size, te=te, presigned=presigned)[0])
        assert reply.status == 411
        return
    request, _ = put(gateway, mode, size, te=te, presigned=presigned)
    await accepted(gateway, request)
    assert gateway.backend.body_of("t1--alpha", "k") == SIZES[size][0]
    stored = gateway.backend.buckets["t1--alpha"][b"k"]
    assert "aws-chunked" not in stored.headers.get("content-encoding", "")


async def test_str_044_unsigned_trailer_with_a_fabricated_signature(gateway: Gateway) -> None:
    """CVE-2025-31489: a payload mode without chunk signatures still has a signature over its head."""
    await control(gateway, UNSIGNED_TRAILER)
    request, _ = put(gateway, UNSIGNED_TRAILER)
    await refused(gateway, wire.with_signature(request, "0" * 64), 403, "SignatureDoesNotMatch")


# --- STR-045: who asks for what, and how the body is framed, does not matter without a right signature ------

_TARGETS = {Level.SERVICE: "/", Level.BUCKET: "/alpha", Level.OBJECT: "/alpha/k"}
_VALUES = {"list-type": "2", "partNumber": "1", "uploadId": "u"}
_HANDLERS = [
    (operation.name, method, _TARGETS[level], "&".join(f"{n}={_VALUES.get(n, '')}" for n in sorted(selectors)))
    for (method, level, selectors), operation in TABLE.items()
]
_HANDLERS += [("PutObjectTagging", "PUT", "/alpha/k", "tagging="), ("Snowball", "PUT", "/alpha/k", "snowball")]
_GARBAGE = "STREAMING-FOO"


@pytest.mark.parametrize("where", ["header", "presigned", "both", "none"])
@pytest.mark.parametrize(("name", "method", "path", "query"), _HANDLERS, ids=[handler[0] for handler in _HANDLERS])
async def test_str_045_no_handler_forgets_a_mode(
    gateway: Gateway, name: str, method: str, path: str, query: str, where: str
) -> None:
    """Every row of the table of operations x every mode: a fabricated signature opens nothing."""
    await gateway.alive()
    before = gateway.backend.received
    for mode in (*MODES, _GARBAGE):
        request = gateway.request(method, path + (f"?{query}" if query and name != "Snowball" else ""))
        if name == "Snowball":
            request.add("x-amz-meta-snowball-auto-extract", "true")
        request.body = b"5\r\nhello\r\n0\r\n\r\n" if method in ("PUT", "POST") else b""
        request.drop("content-length").add("Content-Length", str(len(request.body)))
        payload = wire.sha256(request.body) if mode == "hex" else mode
        if mode.startswith("STREAMING-"):
            request.add("x-amz-decoded-content-length", "5")
        if where in ("presigned", "both"):
            request.add("x-amz-content-sha256", payload)
            wire.presign(KA, request, payload=payload)
            request.target = re.sub("Signature=[0-9a-f]+", f"Signature={'0' * 64}", request.target)
        if where in ("header", "both"):
            wire.sign(KA, request, payload=payload)
            wire.with_signature(request, "0" * 64)
        if where == "none":
            request.add("x-amz-content-sha256", payload)
        reply = await gateway.send(request)
        assert 400 <= reply.status < 500, f"{mode}: {reply}"
        check_refusal(reply, reply.status, None)
    await gateway.alive()
    assert gateway.backend.received == before + gateway.backend.requests[-1].size


_DOCUMENTS = [
    ("PUT", "/alpha2"),
    ("POST", "/alpha?delete"),
    ("POST", "/alpha/k?uploads"),
    ("POST", "/alpha/k?uploadId=u"),
    ("GET", "/alpha/k"),
    ("DELETE", "/alpha/k"),
]


@pytest.mark.parametrize("mode", STREAMING)
@pytest.mark.parametrize(("method", "target"), _DOCUMENTS)
async def test_str_046_streams_are_for_objects(gateway: Gateway, mode: str, method: str, target: str) -> None:
    """Validly signed, but only PutObject and UploadPart take an aws-chunked body (C21)."""
    await control(gateway, mode)
    request, _ = upload(KA, gateway.request(method, target).drop("content-length"), mode, b"<x/>")
    if target == "/alpha2":
        await refused(gateway, request, 403, "AccessDenied")
    else:
        await refused(gateway, request, 400, "InvalidRequest")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER])
async def test_str_047_a_wrong_chunk_signature(gateway: Gateway, mode: str, size: str) -> None:
    """The second of three chunks; the object of before stays."""
    await control(gateway, mode, size)
    request, body = put(gateway, mode, size)
    body.chunks[1].signature = "0" * 64
    await not_committed(gateway, wire.reframe(request, body), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", STREAMING)
async def test_str_047_flipped_data(gateway: Gateway, mode: str, size: str) -> None:
    """One bit of the data, first or last, in every mode that vouches for it."""
    await control(gateway, mode, size)
    for at in (0, -2):
        request, body = put(gateway, mode, size)
        data = body.chunks[at].data
        body.chunks[at].data = bytes([data[0] ^ 1]) + data[1:]
        expected = (400, "BadDigest") if mode == UNSIGNED_TRAILER else (403, "SignatureDoesNotMatch")
        await not_committed(gateway, wire.reframe(request, body), *expected)


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER])
async def test_str_047_chunks_exchanged(gateway: Gateway, mode: str) -> None:
    """Each signature is right, their order is not."""
    await control(gateway, mode)
    request, body = put(gateway, mode)
    body.chunks[0], body.chunks[1] = body.chunks[1], body.chunks[0]
    await not_committed(gateway, wire.reframe(request, body), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", ["wrong", "no signature", "no last chunk", "no end"])
@pytest.mark.parametrize("mode", STREAMING)
async def test_str_048_the_last_chunk(gateway: Gateway, mode: str, fault: str, size: str) -> None:
    """All data is there and right; only the end is not."""
    await control(gateway, mode, size)
    request, body = put(gateway, mode, size)
    match fault:
        case "wrong":
            if mode == UNSIGNED_TRAILER:
                body.chunks[-1].size = "0;chunk-signature=" + "0" * 64
            else:
                body.chunks[-1].signature = "0" * 64
        case "no signature":
            if mode == UNSIGNED_TRAILER:
                body.trailers = []
            body.chunks[-1].signature = None
        case "no last chunk":
            del body.chunks[-1]
            body.trailers, body.trailer_signature = [], None
        case "no end":
            body.end = b""
    await not_committed(gateway, wire.reframe(request, body), (400, 403), ("SignatureDoesNotMatch", "IncompleteBody"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", ["missing", "wrong", "of other trailers", "twice", "another trailer after"])
async def test_str_052_the_trailers_signature(gateway: Gateway, fault: str, size: str) -> None:
    await control(gateway, SIGNED_TRAILER, size)
    request, body = put(gateway, SIGNED_TRAILER, size)
    assert request.seal is not None
    match fault:
        case "missing":
            body.trailer_signature = None
        case "wrong":
            body.trailer_signature = "0" * 64
        case "of other trailers":
            previous = body.chunks[-1].signature or ""
            body.trailer_signature = wire.sign_trailer(request.seal, previous, [("x-amz-checksum-crc32", "AAAAAA==")])
        case "twice":
            body.end = f"x-amz-trailer-signature:{body.trailer_signature}\r\n\r\n".encode()
        case _:
            body.end = b"x-amz-meta-late:1\r\n\r\n"
    await not_committed(
        gateway, wire.reframe(request, body), (400, 403), ("SignatureDoesNotMatch", "MalformedTrailerError")
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize(
    ("trailer", "codes"),
    [
        (("x-amz-checksum-crc32", "AAAAAA=="), {"BadDigest"}),
        (("x-amz-checksum-crc32", "not base64"), {"InvalidRequest", "MalformedTrailerError"}),
        (("x-amz-checksum-crc32", "AAA="), {"InvalidRequest"}),
        (("x-amz-meta-a", "1"), {"InvalidRequest"}),
    ],
)
async def test_str_052_a_wrong_trailer(
    gateway: Gateway, mode: str, size: str, trailer: tuple[str, str], codes: set[str]
) -> None:
    """Declared and signed, and still not the checksum of the body."""
    await control(gateway, mode, size)
    await not_committed(gateway, put(gateway, mode, size, trailer=trailer)[0], 400, codes)


@pytest.mark.parametrize("mode", [SIGNED_TRAILER, UNSIGNED_TRAILER])
async def test_str_052_a_trailer_that_was_not_declared(gateway: Gateway, mode: str) -> None:
    await control(gateway, mode)
    request, body = put(gateway, mode)
    body.trailers = [("x-amz-checksum-crc32c", "AAAAAA==")]
    await not_committed(gateway, wire.reframe(request, body), 400, "MalformedTrailerError")


LENGTH = len(DATA)


@pytest.mark.parametrize("mode", STREAMING)
@pytest.mark.parametrize(
    ("stated", "status", "code"),
    [
        (None, 411, "MissingContentLength"),
        (str(LENGTH + 1), 400, "IncompleteBody"),
        (str(LENGTH - 1), 400, "IncompleteBody"),
        ("-1", 400, None),
        (f"+{LENGTH}", 400, None),
        (f"{LENGTH}_0", 400, None),
        (str(2**63), 400, None),
        (str(2**64 + 5), 400, None),
        ("many", 400, None),
        ("٣", 400, None),
    ],
)
async def test_str_053_the_decoded_length(
    gateway: Gateway, mode: str, stated: str | None, status: int, code: str | None
) -> None:
    await control(gateway, mode)
    if stated is not None:
        stated = stated.encode().decode("latin-1")
    await not_committed(gateway, put(gateway, mode, decoded_length=stated)[0], status, code)


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, UNSIGNED_TRAILER])
@pytest.mark.parametrize(
    "header",
    [
        b"FFFFFFFFFFFFFFFFF",
        b"FFFFFFFFFFFFFFFF",
        b"50000000000",
        b"-1",
        b"0x5",
        b" 5",
        b"5 ",
        b"+5",
        b"",
        b"5;foo=bar",
        b"5;" + b"a" * (1 << 20),
        b"5" * 4096,
    ],
    ids=lambda header: header[:20].decode(),
)
async def test_str_055_chunk_headers(gateway: Gateway, mode: str, header: bytes) -> None:
    """A size that is none, or that announces five terabytes: refused, and nothing is made room for."""
    await control(gateway, mode)
    request, body = put(gateway, mode)
    right = body.chunks[1].wire()
    signature = right.partition(b"\r\n")[0].partition(b";")[2]
    line = header + (b";" + signature if signature and b";" not in header else b"")
    request.body = body.wire().replace(right, line + b"\r\n" + right.partition(b"\r\n")[2])
    await not_committed(gateway, wire.reframe(request, None), (400, 403), ("IncompleteBody", "SignatureDoesNotMatch"))


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, UNSIGNED_TRAILER])
@pytest.mark.parametrize("fault", ["no CRLF after data", "LF for CRLF", "space before the extension"])
async def test_str_055_chunk_framing(gateway: Gateway, mode: str, fault: str) -> None:
    await control(gateway, mode)
    request, body = put(gateway, mode)
    match fault:
        case "no CRLF after data":
            body.chunks[1].data_end = b""
        case "LF for CRLF":
            body.chunks[1].line_end = b"\n"
        case _:
            body.chunks[1].extension = " ;chunk-signature="
            body.chunks[1].signature = body.chunks[1].signature or "0" * 64
    await not_committed(gateway, wire.reframe(request, body), 400, "IncompleteBody")


@pytest.mark.parametrize("mode", STREAMING)
async def test_str_056_one_byte_at_a_time(gateway: Gateway, mode: str) -> None:
    """However TCP cuts the stream, the bytes and the verdict are the same."""
    data = b"abcdefghij" * 3
    for te in (False, True):
        request, body = upload(KA, gateway.request("PUT", "/alpha/k").drop("content-length"), mode, data, te=te)
        assert body is not None
        wire_bytes = request.wire()
        async with await wire.Client.open(gateway.port) as client:
            for at in range(len(wire_bytes)):
                await client.send(wire_bytes[at : at + 1])
                await asyncio.sleep(0)
            assert (await client.reply()).status == 200
        assert gateway.backend.body_of("t1--alpha", "k") == data


@pytest.mark.parametrize("mode", STREAMING)
async def test_str_056_split_anywhere_in_a_chunk_header(gateway: Gateway, mode: str) -> None:
    """The honest stream passes and the tampered one is refused, wherever the header is cut."""
    honest, body = put(gateway, mode)
    second = honest.body.index(body.chunks[1].wire()[:20], 100)
    spoilt, wrong = put(gateway, mode)
    wrong.chunks[1].data = b"X" + wrong.chunks[1].data[1:]
    wire.reframe(spoilt, wrong)
    for request, status in ((honest, 200), (spoilt, 400 if mode == UNSIGNED_TRAILER else 403)):
        start = len(request.head()) + second
        for at in range(start - 3, start + len(body.chunks[1].wire().partition(b"\r\n")[0]) + 3, 5):
            data = request.wire()
            async with await wire.Client.open(gateway.port) as client:
                await client.send(data[:at])
                await asyncio.sleep(0.001)
                await client.try_send(data[at:])
                assert (await client.reply()).status == status
        assert gateway.backend.body_of("t1--alpha", "k") == DATA


@pytest.mark.parametrize("size", [1, 24 * 1024, 128 * 1024, 128 * 1024 + 1, 8 << 20])
async def test_str_058_another_bodys_hash(gateway: Gateway, size: int) -> None:
    """The hash was signed, the body was exchanged: refused at every size, read first or passed while checked."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"before"))
    request = gateway.signed("PUT", "/alpha/k", body=bytes(size), payload=wire.sha256(b"other"))
    reply = await not_committed(gateway, request, 400, "XAmzContentSHA256Mismatch")
    assert reply.element("S3ComputedContentSHA256") == wire.sha256(bytes(size))


@pytest.mark.parametrize(
    "value",
    ["", "unsigned-payload", "a" * 63, "g" * 64, wire.sha256(b"x").upper(), "STREAMING-FOO", "UNSIGNED-PAYLOADS"],
)
async def test_str_059_a_payload_value_that_is_none(gateway: Gateway, value: str) -> None:
    """Never handled as unsigned."""
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", body=b"x"))
    await refused(gateway, gateway.signed("PUT", "/alpha/k", body=b"x", payload=value), 400, "InvalidArgument")


async def test_str_059_blanks_around_the_payload_value(gateway: Gateway) -> None:
    """Blanks around a header value are no part of it; the signature is over what remains."""
    request = gateway.signed("PUT", "/alpha/k", body=b"x", payload=f"{UNSIGNED} ")
    await refused(gateway, request, (400, 403))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-md5": wire.md5(b"other")}, "BadDigest"),
        ({"content-md5": "not base64"}, "InvalidDigest"),
        ({"content-md5": "AAAA"}, "InvalidDigest"),
        ({"x-amz-checksum-sha256": wire.b64(bytes(32))}, "BadDigest"),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest"),
        ({"x-amz-checksum-crc32": "AAA="}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": wire.b64(bytes(20))}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "InvalidRequest"),
    ],
)
async def test_str_062_declared_checksums(gateway: Gateway, size: str, headers: dict[str, str], code: str) -> None:
    data = SIZES[size][0]
    right = [("content-md5", wire.md5(data)), ("x-amz-checksum-crc32", wire.crc32(data))]
    await accepted(gateway, gateway.signed("PUT", "/alpha/k", *right, body=data))
    await not_committed(gateway, gateway.signed("PUT", "/alpha/k", *headers.items(), body=data), 400, code)


@pytest.mark.parametrize("mode", STREAMING)
async def test_str_063_no_length_at_all(gateway: Gateway, mode: str) -> None:
    await control(gateway, mode)
    await refused(gateway, put(gateway, mode, length=False)[0], (411, 400), "MissingContentLength")


# --- STR-064: the client vanishes --------------------------------------------------------------------------

_FRAMINGS = ["content-length", "aws-chunked", "aws-chunked in transfer-encoding", "part"]


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("share", [0, 1, 50, 99.9])
@pytest.mark.parametrize("framing", _FRAMINGS)
async def test_str_064_the_client_vanishes(gateway: Gateway, framing: str, share: float, how: str) -> None:
    """Wherever it breaks off, the backend never sees a complete request, and its connection is not used again."""
    gateway.backend.uploads["u"] = {}
    target = "/alpha/k?partNumber=1&uploadId=u" if framing == "part" else "/alpha/k"
    mode = "hex" if framing in ("content-length", "part") else SIGNED_CHUNKS
    te = framing.endswith("transfer-encoding")
    await accepted(gateway, put(gateway, mode, "large", target=target, te=te)[0])
    seen, committed = len(gateway.backend.requests), len(gateway.backend.committed)
    before = gateway.backend.body_of("t1--alpha", "k")
    request, _ = put(gateway, mode, "large", target=target, te=te)
    client = await wire.Client.open(gateway.port)
    sent = int(len(request.body) * share / 100)
    finished = len(gateway.traces.finished)
    await client.send(request.head() + request.body[:sent])
    await gateway.traces.until_started(finished + 1)
    if share > 50:  # up to there it may all be in one piece, which is held back
        await gateway.backend.until(lambda: len(gateway.backend.requests) > seen, "the upload to begin")
    if how == "RST":
        client.reset()
    else:
        client.half_close()
        while await client.more():
            pass
        client.close()
    await gateway.traces.until(finished + 1)
    await nothing_open(gateway)
    assert len(gateway.backend.committed) == committed
    assert gateway.backend.body_of("t1--alpha", "k") == before
    await gateway.alive()
    broken = {id(one.connection) for one in gateway.backend.requests if not one.complete}
    assert id(gateway.backend.requests[-1].connection) not in broken


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER])
async def test_str_067_nobody_streams(gateway: Gateway, mode: str) -> None:
    """No credential at all, and a mode that seems to bring its own."""
    await control(gateway, mode)
    request, _ = put(gateway, mode)
    await refused(gateway, request.drop("authorization"), (400, 403))


@pytest.mark.parametrize("size", SIZES)
async def test_str_checksums_reach_a_store_that_keeps_them(gateway: Gateway, size: str) -> None:
    """What came in a trailer goes on in a trailer or a header, with the value of the client (K16)."""
    await accepted(gateway, put(gateway, SIGNED_TRAILER, size)[0])
    seen = gateway.backend.requests[-1]
    value = wire.crc32(SIZES[size][0]).encode()
    assert value in bytes(seen.body) + seen.raw_head


async def test_str_a_store_without_trailers_gets_a_plain_body() -> None:
    async with open_gateway(trailers=False) as gateway:
        for mode in STREAMING:
            await control(gateway, mode, "large")
            seen = gateway.backend.requests[-1]
            assert seen.get("x-amz-content-sha256") == UNSIGNED
            assert bytes(seen.body) == LARGE
            request, body = put(gateway, mode, "large")
            body.chunks[3].data = bytes(65536)
            await not_committed(gateway, wire.reframe(request, body), (400, 403))
