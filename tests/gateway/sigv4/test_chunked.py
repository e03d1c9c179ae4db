"""aws-chunked bodies: what is sent is what comes out at any split, and nothing altered gets through."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.sigv4.chunked import ChunkedDecoder, ChunkSigner
from gateway.sigv4.scope import Scope, derive_signing_key

VECTORS = Path(__file__).parents[2] / "vectors"
KEY = bytes(range(32))
DATE = "20260102T030405Z"
SCOPE = "20260102/us-east-1/s3/aws4_request"
SEED = "5e" * 32
CRC = "x-amz-checksum-crc32"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def link(*lines: str, key: bytes = KEY) -> str:
    return hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()


@dataclass
class Stream:
    """A test encoder that shares no code with the decoder."""

    chunks: list[bytes]
    signed: bool = True
    trailers: tuple[tuple[str, str], ...] = ()
    lf: bytes = b""  # minio-go's

    def wire(self) -> bytes:
        out, previous = b"", SEED
        for data in [*self.chunks, b""]:
            out += b"%x" % len(data)
            if self.signed:
                previous = link("AWS4-HMAC-SHA256-PAYLOAD", DATE, SCOPE, previous, sha(b""), sha(data))
                out += b";chunk-signature=" + previous.encode()
            out += b"\r\n" + (data + b"\r\n" if data else b"")
        for name, value in self.trailers:
            out += f"{name}:{value}".encode() + self.lf + b"\r\n"
        if self.signed and self.trailers:
            block = "".join(f"{name}:{value}\n" for name, value in sorted(self.trailers))
            signature = link("AWS4-HMAC-SHA256-TRAILER", DATE, SCOPE, previous, sha(block.encode()))
            out += b"x-amz-trailer-signature:" + signature.encode() + b"\r\n"
        return out + b"\r\n"

    def decoder(self, *, length: int | None = -1, minimum_chunk: int = 8192) -> ChunkedDecoder:
        return ChunkedDecoder(
            decoded_length=len(b"".join(self.chunks)) if length == -1 else length,
            trailers=frozenset(name for name, _ in self.trailers),
            signer=ChunkSigner(KEY, DATE, SCOPE, SEED) if self.signed else None,
            minimum_chunk=minimum_chunk,
        )


def pieces(data: bytes, cuts: list[int] | int) -> list[bytes]:
    if isinstance(cuts, int):
        cuts = list(range(cuts, len(data), cuts))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def decode(decoder: ChunkedDecoder, wire: bytes, cuts: list[int] | int = 1 << 30) -> tuple[bytes, dict[str, str]]:
    out = b"".join(bytes(view) for piece in pieces(wire, cuts) for view in decoder.feed(piece))
    return out, decoder.finish()


def refusal(stream: Stream, wire: bytes, cuts: list[int] | int = 1 << 30, **how: Any) -> S3Error:
    with pytest.raises(S3Error) as caught:
        decode(stream.decoder(**how), wire, cuts)
    return caught.value


BIG = [b"a" * 8192, bytes(range(256)) * 40, b"end"]
SHAPES = {
    "signed": Stream(BIG),
    "signed trailer": Stream(BIG, trailers=((CRC, "NhCmhg=="),)),
    "signed trailer, minio-go": Stream(BIG, trailers=((CRC, "NhCmhg=="),), lf=b"\n"),
    "unsigned trailer": Stream(BIG, signed=False, trailers=((CRC, "NhCmhg=="),)),
    "unsigned trailer, minio-go": Stream(BIG, signed=False, trailers=((CRC, "NhCmhg=="),), lf=b"\n"),
    "unsigned, no trailer declared": Stream(BIG, signed=False),
    "empty signed": Stream([]),
    "empty unsigned trailer": Stream([], signed=False, trailers=((CRC, "AAAAAA=="),)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cuts", [1 << 30, 1, 2, 7, 97, 8193])
def test_what_was_encoded_comes_out_at_any_split(shape: str, cuts: int) -> None:
    stream = SHAPES[shape]
    out, trailers = decode(stream.decoder(), stream.wire(), cuts)
    assert out == b"".join(stream.chunks)
    assert trailers == dict(stream.trailers)


@settings(max_examples=200, deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    signed=st.booleans(),
    trailer=st.booleans(),
    lf=st.sampled_from([b"", b"\n"]),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
)
def test_any_chunks_come_out_of_any_split(
    chunks: list[bytes], signed: bool, trailer: bool, lf: bytes, cuts: list[int]
) -> None:
    stream = Stream(chunks, signed, ((CRC, "NhCmhg=="),) if trailer else (), lf)
    out, _ = decode(stream.decoder(minimum_chunk=1), stream.wire(), cuts)
    assert out == b"".join(chunks)


@settings(max_examples=500, deadline=None)
@given(data=st.data(), trailer=st.booleans())
def test_a_signed_stream_with_one_byte_altered_is_refused(data: st.DataObject, trailer: bool) -> None:
    """Whatever still decodes is the same object and trailer: only the case of a size may change."""
    stream = Stream([b"x" * 40, b"yz"], trailers=((CRC, "NhCmhg=="),) if trailer else ())
    wire = bytearray(stream.wire())
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= data.draw(st.integers(1, 255))
    cuts = data.draw(st.integers(1, len(wire)))
    try:
        out, trailers = decode(stream.decoder(minimum_chunk=1), bytes(wire), cuts)
    except S3Error:
        return
    assert (out, trailers) == (b"".join(stream.chunks), dict(stream.trailers))
    assert bytes(wire).lower() == stream.wire().lower()


@pytest.mark.parametrize("trailer", [False, True])
def test_every_bit_of_a_signed_stream_counts(trailer: bool) -> None:
    stream = Stream([b"hello"], trailers=((CRC, "NhCmhg=="),) if trailer else ())
    wire = stream.wire()
    for at in range(len(wire)):
        for bit in range(8):
            bent = bytearray(wire)
            bent[at] ^= 1 << bit
            if bytes(bent).lower() != wire.lower():  # names of trailers may come in any case
                refusal(stream, bytes(bent))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_cut_anywhere_is_incomplete(shape: str) -> None:
    stream = SHAPES[shape]
    wire = stream.wire()
    cuts = {0, 1, 50, len(wire) // 2, len(wire) * 999 // 1000, *range(max(0, len(wire) - 250), len(wire))}
    for cut in cuts - {50} if len(wire) <= 50 else cuts:
        assert refusal(stream, wire[:cut]).code == "IncompleteBody", cut


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rest", [b"\r\n", b"x", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_bytes_after_the_end_are_refused(shape: str, rest: bytes) -> None:
    stream = SHAPES[shape]
    assert refusal(stream, stream.wire() + rest).code == "IncompleteBody"
    assert refusal(stream, stream.wire() + rest, 1).code == "IncompleteBody"


# --- vectors ----------------------------------------------------------------------------------------------


def cases(name: str) -> dict[str, dict[str, Any]]:
    return {case["name"]: case for case in json.loads((VECTORS / name).read_text())["cases"]}


def vector_decoder(case: dict[str, Any], seed: str) -> ChunkedDecoder:
    scope = Scope(case["amz_date"][:8], case["region"])
    headers = {name.lower(): value for name, value in case["request"]["headers"]}
    return ChunkedDecoder(
        decoded_length=int(headers["x-amz-decoded-content-length"]),
        trailers=frozenset(filter(None, [headers.get("x-amz-trailer")])),
        signer=ChunkSigner(derive_signing_key(case["secret_access_key"], scope), case["amz_date"], str(scope), seed),
    )


@pytest.mark.parametrize("name", ["s3-chunked-seed", "s3-chunked-trailer-seed"])
@pytest.mark.parametrize("cuts", [1 << 30, 1000, 1])
def test_the_examples_that_aws_published(name: str, cuts: int) -> None:
    case = cases("aws-s3-docs.json")[name]
    wire = b""
    for chunk in case["chunks"]:
        data = chunk["data"]["repeat"].encode() * chunk["data"]["count"]
        wire += chunk["chunk_header"].encode() + b"\r\n" + (data + b"\r\n" if data else b"")
    trailers = {}
    if "trailer" in case:
        trailers = {"x-amz-checksum-crc32c": "sOO8/Q=="}
        wire += b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"
        wire += case["trailer"]["signature"].encode() + b"\r\n"
    wire += b"\r\n"
    assert (len(wire), sha(wire)) == (case["wire_body_length"], case["wire_body_sha256"])
    assert decode(vector_decoder(case, case["signature"]), wire, cuts) == (b"a" * 66560, trailers)


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("signed-trailer-small", "standard"),
        ("signed-trailer-small", "minio_go"),
        ("signed-streaming-zero-bytes", "standard"),
    ],
)
def test_the_generated_streams(name: str, spelling: str) -> None:
    case = cases("s3-generated.json")[name]
    wire = case["wire"][spelling].encode()
    out, _ = decode(vector_decoder(case, case["seed_signature"]), wire, 1)
    assert out == case["decoded_body"].encode()


# --- refusals ---------------------------------------------------------------------------------------------


def test_a_wrong_chunk_signature_is_refused_before_the_next_chunk() -> None:
    stream = Stream([b"a" * 8192, b"b"])
    wire = stream.wire()
    at = wire.index(b"=") + 1
    bent = wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]
    decoder = stream.decoder()
    with pytest.raises(S3Error) as caught:
        decoder.feed(bent[: wire.index(b"\r\n") + 2 + 8192])
    assert (caught.value.code, caught.value.reason) == ("SignatureDoesNotMatch", "chunk_signature_mismatch")


def test_chunks_in_another_order_are_refused() -> None:
    one, two = Stream([b"a" * 8192, b"b" * 8192]).wire(), len(b"2000;chunk-signature=") + 64 + 2 + 8192 + 2
    assert refusal(Stream([b"a" * 8192, b"b" * 8192]), one[two : 2 * two] + one[:two] + one[2 * two :]).code == (
        "SignatureDoesNotMatch"
    )


@pytest.mark.parametrize("shape", ["signed", "signed trailer"])
def test_the_last_chunk_must_be_signed(shape: str) -> None:
    stream = SHAPES[shape]
    wire = stream.wire()
    at = wire.rindex(b"0;chunk-signature=")
    assert refusal(stream, wire[:at] + b"0\r\n" + wire[at + 82 + 2 :]).code == "IncompleteBody"
    assert refusal(stream, wire[:at] + b"0;chunk-signature=" + b"0" * 64 + wire[at + 82 :]).code == (
        "SignatureDoesNotMatch"
    )


@pytest.mark.parametrize("spelling", ["", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "é" * 30])
def test_a_signature_that_is_none_is_a_wrong_one(spelling: str) -> None:
    wire = b"5;chunk-signature=" + spelling.encode() + b"\r\nhello\r\n0"
    assert refusal(Stream([b"hello"]), wire).code in {"SignatureDoesNotMatch", "IncompleteBody"}


def test_an_upper_case_signature_is_refused() -> None:
    wire = Stream([b"hello"]).wire()
    upper = wire[:18] + wire[18:82].upper() + wire[82:]
    assert refusal(Stream([b"hello"]), upper).code == "SignatureDoesNotMatch"


SIZES = [
    "F" * 17,
    "-5",
    "0x5",
    " 5",
    "5 ",
    "+5",
    "zz",
    "",
    "0_5",
    "5;foo=bar",
    "4",
    "6",
    "5;x=" + "a" * (1 << 20),
]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cuts", [1 << 30, 13])
def test_a_chunk_header_has_one_spelling(signed: bool, size: str, cuts: int) -> None:
    stream = Stream([b"hello"], signed, () if signed else ((CRC, "NhCmhg=="),))
    wire = stream.wire()
    assert refusal(stream, size.encode() + wire[1:], cuts).code in {"IncompleteBody", "SignatureDoesNotMatch"}


@pytest.mark.parametrize("size", ["0005", "0000000000000005"])
def test_a_size_may_have_up_to_sixteen_digits(size: str) -> None:
    stream = Stream([b"hello"])
    assert decode(stream.decoder(), size.encode() + stream.wire()[1:])[0] == b"hello"


def test_a_size_may_be_in_either_case() -> None:
    stream = Stream([b"a" * 0xABCD], signed=False)
    assert decode(stream.decoder(), stream.wire().replace(b"abcd", b"AbCD"))[0] == b"a" * 0xABCD


@pytest.mark.parametrize("name", [b";Chunk-Signature=", b";chunk-signature ="])
def test_the_extension_has_one_name(name: bytes) -> None:
    wire = Stream([b"hello"]).wire().replace(b";chunk-signature=", name)
    assert refusal(Stream([b"hello"]), wire).code == "IncompleteBody"


def test_an_unsigned_stream_has_no_signatures() -> None:
    """A signature that nobody checks would look like one that was."""
    assert refusal(Stream([b"hello"], signed=False), Stream([b"hello"]).wire()).code == "IncompleteBody"


@pytest.mark.parametrize("eol", [b"", b"\n", b"\r", b"xx", b"\n\r"])
def test_chunks_end_with_cr_lf(eol: bytes) -> None:
    stream = Stream([b"hello"], signed=False, trailers=((CRC, "NhCmhg=="),))
    wire = stream.wire()
    assert refusal(stream, wire.replace(b"5\r\n", b"5" + eol, 1), 1).code == "IncompleteBody"
    assert refusal(stream, wire.replace(b"hello\r\n", b"hello" + eol, 1), 1).code == "IncompleteBody"


@pytest.mark.parametrize("length", [0, 19, 21, 1 << 63])
@pytest.mark.parametrize("signed", [False, True])
def test_the_decoded_length_is_compared(length: int, signed: bool) -> None:
    error = refusal(Stream([b"x" * 20], signed), Stream([b"x" * 20], signed).wire(), length=length)
    assert error.code == "IncompleteBody"
    assert error.fields == {"NumberBytesExpected": str(length), "NumberBytesProvided": "20"}


def test_without_a_decoded_length_the_stream_says_how_long_it_is() -> None:
    stream = Stream([b"x" * 20])
    assert decode(stream.decoder(length=None), stream.wire())[0] == b"x" * 20


@pytest.mark.parametrize("signed", [False, True])
def test_only_the_last_chunk_may_be_small(signed: bool) -> None:
    error = refusal(Stream([b"hel", b"lo"], signed), Stream([b"hel", b"lo"], signed).wire())
    assert (error.code, error.fields) == ("InvalidChunkSizeError", {"Chunk": "2", "BadChunkSize": "3"})
    error = refusal(
        Stream([b"x" * 8192, b"x" * 8191, b"y"], signed),
        Stream([b"x" * 8192, b"x" * 8191, b"y"], signed).wire(),
    )
    assert error.fields == {"Chunk": "3", "BadChunkSize": "8191"}


def test_an_announced_chunk_of_many_terabytes_allocates_nothing() -> None:
    decoder = Stream([], signed=False).decoder(length=None)
    decoder.feed(b"FFFFFFFFFFFFFFF\r\n" + b"x" * 10)
    assert decoder.decoded == 10


TRAILERS = {
    "undeclared name": (b"x-amz-checksum-sha1:NhCmhg==", "MalformedTrailerError"),
    "no colon": (b"x-amz-checksum-crc32 NhCmhg==", "MalformedTrailerError"),
    "empty name": (b":NhCmhg==", "MalformedTrailerError"),
    "twice": (b"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-checksum-crc32:NhCmhg==", "MalformedTrailerError"),
    "blank inside": (b"x-amz-checksum-crc32:Nh Cmhg==", "MalformedTrailerError"),
    "two line feeds": (b"x-amz-checksum-crc32:NhCmhg==\n\n", "MalformedTrailerError"),
    "line feed inside": (b"x-amz-checksum-crc32:Nh\nCmhg==", "MalformedTrailerError"),
    "NUL": (b"x-amz-checksum-crc32:\0", "MalformedTrailerError"),
    "signature of nothing": (b"x-amz-trailer-signature:" + b"0" * 64, "MalformedTrailerError"),
    "too long": (b"x-amz-checksum-crc32:" + b"A" * 1100, "IncompleteBody"),
    "missing": (b"", "IncompleteBody"),
}


@pytest.mark.parametrize("case", TRAILERS)
@pytest.mark.parametrize("cuts", [1 << 30, 1])
def test_a_trailer_is_what_was_declared(case: str, cuts: int) -> None:
    line, code = TRAILERS[case]
    stream = Stream([b"hello"], signed=False, trailers=((CRC, "NhCmhg=="),))
    wire = b"5\r\nhello\r\n0\r\n" + line + (b"\r\n" if line else b"") + b"\r\n"
    assert refusal(stream, wire, cuts).code == code


def test_a_trailer_that_nobody_declared_is_refused() -> None:
    wire = Stream([b"hello"], signed=False, trailers=((CRC, "NhCmhg=="),)).wire()
    assert refusal(Stream([b"hello"], signed=False), wire).code == "MalformedTrailerError"
    wire = Stream([b"hello"], trailers=((CRC, "NhCmhg=="),)).wire()
    assert refusal(Stream([b"hello"]), wire).code == "MalformedTrailerError"


def test_white_space_around_a_trailer_value_is_not_part_of_it() -> None:
    stream = Stream([b"hello"], trailers=((CRC, "NhCmhg=="),))
    wire = stream.wire().replace(b"crc32:NhCmhg==", b"CRC32 : NhCmhg== ")
    assert decode(stream.decoder(), wire)[1] == {CRC: "NhCmhg=="}


def test_a_signed_trailer_needs_its_signature() -> None:
    stream = Stream([b"hello"], trailers=((CRC, "NhCmhg=="),))
    wire = stream.wire()
    at = wire.index(b"x-amz-trailer-signature")
    assert refusal(stream, wire[:at] + b"\r\n").code == "MalformedTrailerError"
    assert refusal(stream, wire[:at] + b"x-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n").code == (
        "SignatureDoesNotMatch"
    )
    first = wire[:at].index(CRC.encode())
    swapped = wire[:first] + wire[at:-2] + wire[first:at] + b"\r\n"
    assert refusal(stream, swapped).code == "MalformedTrailerError"
    altered = wire.replace(b"NhCmhg==", b"NhCmhh==")
    assert refusal(stream, altered).code == "SignatureDoesNotMatch"
