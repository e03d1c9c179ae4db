"""Every kind of bad byte that an upload can have, for every mode, with the answer that AWS gives to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests import wire
from tests.wire import MODES, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Chunk, Chunked, Request

Refusal = tuple[int, str]

STREAMING = (SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER)
SIGNED = (SIGNED_CHUNKS, SIGNED_TRAILER)
TRAILED = (SIGNED_TRAILER, UNSIGNED_TRAILER)
PLAIN = ("hex", UNSIGNED)

INCOMPLETE = (400, "IncompleteBody")
BAD_DIGEST = (400, "BadDigest")
BAD_SIGNATURE = (403, "SignatureDoesNotMatch")
BAD_TRAILER = (400, "MalformedTrailerError")
_FLIPPED = {
    "hex": (400, "XAmzContentSHA256Mismatch"),
    SIGNED_CHUNKS: BAD_SIGNATURE,
    SIGNED_TRAILER: BAD_SIGNATURE,
    UNSIGNED_TRAILER: BAD_DIGEST,
}


@dataclass
class Upload:
    """An upload as it is made. `headers` are set before it is signed, the rest is spoilt afterwards."""

    mode: str
    data: bytes
    sign: Callable[..., tuple[Request, Chunked | None]]
    """Takes the keyword arguments of `wire.upload`, and `headers`."""

    def plain(self, **knobs: object) -> Request:
        return self.sign(**knobs)[0]

    def chunked(self, **knobs: object) -> tuple[Request, Chunked]:
        request, body = self.sign(**knobs)
        assert body is not None
        return request, body


@dataclass(frozen=True)
class Fault:
    """One kind of bad byte: how a good upload is spoilt (returns the bytes to send), and what AWS says to it."""

    name: str
    mode: str
    spoil: Callable[[Upload], bytes]
    refusal: Refusal

    def __str__(self) -> str:
        return self.name


def faults() -> list[Fault]:
    """All of them."""
    return [fault for mode in MODES for fault in _of(mode)]


def _of(mode: str) -> Iterator[Fault]:
    yield from _flips(mode)
    yield from _cuts(mode)
    yield from _digests(mode)
    if mode in STREAMING:
        yield from _framing(mode)
    if mode in SIGNED:
        yield from _chunk_signatures(mode)
    if mode in TRAILED:
        yield from _trailers(mode)


# --- the object's bytes -------------------------------------------------------------------------------------


def _flips(mode: str) -> Iterator[Fault]:
    if mode == UNSIGNED:
        return  # nothing in the request says what its bytes should be
    for place, at in (("first", 0.0), ("middle", 0.5), ("last", 1.0)):
        yield Fault(f"the-{place}-byte-flipped", mode, _flip(at), _FLIPPED[mode])


def _flip(at: float) -> Callable[[Upload], bytes]:
    def spoil(upload: Upload) -> bytes:
        request, body = upload.sign()
        if body is None:
            request.body = _flipped(request.body, at)
            return request.wire()
        chunk = body.chunks[round(at * (len(body.chunks) - 2))]  # the last one is empty
        chunk.data = _flipped(chunk.data, at)
        return wire.reframe(request, body).wire()

    return spoil


def _flipped(data: bytes, at: float) -> bytes:
    place = round(at * (len(data) - 1))
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _digests(mode: str) -> Iterator[Fault]:
    def wrong(header: str, value: str) -> Callable[[Upload], bytes]:
        return lambda upload: upload.plain(headers=[(header, value)]).wire()

    yield Fault("another-md5", mode, wrong("Content-MD5", wire.md5(b"another")), BAD_DIGEST)
    yield Fault("no-md5-at-all", mode, wrong("Content-MD5", "bm9uZQ=="), (400, "InvalidDigest"))
    if mode in TRAILED:
        return  # their checksum comes in the trailer
    for name, size in (("crc32", 4), ("crc32c", 4), ("crc64nvme", 8), ("sha1", 20), ("sha256", 32)):
        value = wire.b64(bytes(size))
        yield Fault(f"another-{name}", mode, wrong(f"x-amz-checksum-{name}", value), BAD_DIGEST)


# --- cut off ------------------------------------------------------------------------------------------------


def _cuts(mode: str) -> Iterator[Fault]:
    for name, part in (("0", 0.0), ("50-percent", 0.5), ("99.9-percent", 0.999)):
        yield Fault(f"cut-off-at-{name}", mode, _cut(lambda size, part=part: int(size * part)), INCOMPLETE)
    yield Fault("cut-off-after-1-byte", mode, _cut(lambda _: 1), INCOMPLETE)
    yield Fault("cut-off-before-the-last-byte", mode, _cut(lambda size: size - 1), INCOMPLETE)
    if mode in STREAMING:
        for name, part in (("50-percent", 0.5), ("99.9-percent", 0.999)):
            yield Fault(
                f"http-chunks-cut-off-at-{name}",
                mode,
                _cut(lambda size, part=part: int(size * part), te=True),
                INCOMPLETE,
            )
        # 5: "0 CR LF CR LF" ends the HTTP chunks.
        yield Fault("http-chunks-without-their-end", mode, _cut(lambda size: size - 5, te=True), INCOMPLETE)


def _cut(place: Callable[[int], int], *, te: bool = False) -> Callable[[Upload], bytes]:
    def spoil(upload: Upload) -> bytes:
        request = upload.plain(te=te)
        return request.head() + request.body[: place(len(request.body))]

    return spoil


# --- aws-chunked --------------------------------------------------------------------------------------------


def _changed(change: Callable[[Chunked], object], **knobs: object) -> Callable[[Upload], bytes]:
    """The body is changed and then framed rightly by Content-Length: nothing but the change is wrong."""

    def spoil(upload: Upload) -> bytes:
        request, body = upload.chunked(**knobs)
        change(body)
        return wire.reframe(request, body).wire()

    return spoil


def _framing(mode: str) -> Iterator[Fault]:
    def end_early(body: Chunked) -> None:
        """After the data, without the empty chunk and all that follows it."""
        body.chunks.pop()
        body.trailers, body.trailer_signature, body.end = [], None, b""

    def no_final_chunk(body: Chunked) -> None:
        body.chunks.pop()

    def final_chunk_with_data(body: Chunked) -> None:
        body.chunks[-1].size, body.chunks[-1].data = "1", b"x"

    def no_end(body: Chunked) -> None:
        body.end = b""

    def more_after_the_end(body: Chunked) -> None:
        body.end += b"0\r\n\r\n"

    def size_too_large(body: Chunked) -> None:
        body.chunks[0].size = f"{len(body.chunks[0].data) + 1:x}"

    def size_too_small(body: Chunked) -> None:
        body.chunks[0].size = f"{len(body.chunks[0].data) - 1:x}"

    def no_size(body: Chunked) -> None:
        body.chunks[1].size = "zz"

    def five_terabytes(body: Chunked) -> None:
        body.chunks[-2].size = f"{5 << 40:x}"

    # A chunk read one byte too long or short has another signature; without signatures only its end shows it.
    off_by_one = BAD_SIGNATURE if mode in SIGNED else INCOMPLETE
    yield Fault("ends-after-the-data", mode, _changed(end_early), INCOMPLETE)
    yield Fault("no-final-chunk", mode, _changed(no_final_chunk), INCOMPLETE)
    yield Fault("final-chunk-with-data", mode, _changed(final_chunk_with_data), INCOMPLETE)
    yield Fault("no-empty-line-at-the-end", mode, _changed(no_end), INCOMPLETE)
    yield Fault("more-after-the-end", mode, _changed(more_after_the_end), INCOMPLETE)
    yield Fault("chunk-size-too-large", mode, _changed(size_too_large), off_by_one)
    yield Fault("chunk-size-too-small", mode, _changed(size_too_small), off_by_one)
    yield Fault("chunk-size-no-number", mode, _changed(no_size), INCOMPLETE)
    yield Fault("chunk-of-5-terabytes", mode, _changed(five_terabytes), INCOMPLETE)
    yield Fault(
        "chunks-too-small", mode, lambda upload: upload.plain(chunk=8191).wire(), (400, "InvalidChunkSizeError")
    )
    for name, difference in (("small", -1), ("large", 1)):
        yield Fault(f"decoded-length-too-{name}", mode, _decoded_length(difference), INCOMPLETE)


def _decoded_length(difference: int) -> Callable[[Upload], bytes]:
    return lambda upload: upload.plain(decoded_length=str(len(upload.data) + difference)).wire()


def _chunk_signatures(mode: str) -> Iterator[Fault]:
    def another(place: float) -> Callable[[Chunked], None]:
        def change(body: Chunked) -> None:
            body.chunks[round(place * (len(body.chunks) - 2))].signature = "0" * 64

        return change

    def another_final(body: Chunked) -> None:
        body.chunks[-1].signature = "0" * 64

    def none_final(body: Chunked) -> None:
        body.chunks[-1].signature = None

    def swapped(body: Chunked) -> None:
        body.chunks[0], body.chunks[1] = body.chunks[1], body.chunks[0]

    def one_left_out(body: Chunked) -> None:
        del body.chunks[1]

    def one_twice(body: Chunked) -> None:
        first = body.chunks[0]
        body.chunks[1] = Chunk(first.data, first.size, first.signature)

    for name, place in (("first", 0.0), ("middle", 0.5), ("last", 1.0)):
        yield Fault(f"signature-of-the-{name}-chunk", mode, _changed(another(place)), BAD_SIGNATURE)
    yield Fault("signature-of-the-final-chunk", mode, _changed(another_final), BAD_SIGNATURE)
    yield Fault("no-signature-of-the-final-chunk", mode, _changed(none_final), INCOMPLETE)
    yield Fault("two-chunks-swapped", mode, _changed(swapped), BAD_SIGNATURE)
    yield Fault("one-chunk-left-out", mode, _changed(one_left_out), BAD_SIGNATURE)
    yield Fault("one-chunk-twice", mode, _changed(one_twice), BAD_SIGNATURE)


def _trailers(mode: str) -> Iterator[Fault]:
    name = "x-amz-checksum-crc32"
    other = ("x-amz-checksum-sha1", wire.b64(bytes(20)))
    undeclared = [(name, wire.crc32(b""))]

    def knobs(trailer: tuple[str, str] | None) -> Callable[[Upload], bytes]:
        return lambda upload: upload.plain(trailer=trailer).wire()

    def sent(*trailers: tuple[str, str]) -> Callable[[Upload], bytes]:
        """These trailers instead of the declared one, with the signature that fits them."""

        def spoil(upload: Upload) -> bytes:
            request, body = upload.chunked()
            body.trailers = list(trailers)
            _sign_trailer(request, body)
            return wire.reframe(request, body).wire()

        return spoil

    def not_declared(upload: Upload) -> bytes:
        request, body = upload.chunked(trailer=None)
        body.trailers = undeclared
        _sign_trailer(request, body)
        return wire.reframe(request, body).wire()

    yield Fault("another-checksum-in-the-trailer", mode, knobs((name, wire.crc32(b"another"))), BAD_DIGEST)
    yield Fault("no-checksum-in-the-trailer", mode, knobs((name, "none")), (400, "InvalidRequest"))
    yield Fault("trailer-not-declared", mode, not_declared, BAD_TRAILER)
    yield Fault("trailer-other-than-declared", mode, sent(other), BAD_TRAILER)
    yield Fault("trailer-beside-the-declared-one", mode, sent((name, "AAAAAA=="), other), BAD_TRAILER)
    yield Fault("trailer-missing", mode, sent(), INCOMPLETE)
    if mode == SIGNED_TRAILER:

        def another_signature(body: Chunked) -> None:
            body.trailer_signature = "0" * 64

        def no_signature(body: Chunked) -> None:
            body.trailer_signature = None

        def another_value(body: Chunked) -> None:
            body.trailers = [(name, "AAAAAA==")]

        yield Fault("signature-of-the-trailer", mode, _changed(another_signature), BAD_SIGNATURE)
        yield Fault("no-signature-of-the-trailer", mode, _changed(no_signature), BAD_TRAILER)
        yield Fault("trailer-changed-after-it-was-signed", mode, _changed(another_value), BAD_SIGNATURE)


def _sign_trailer(request: Request, body: Chunked) -> None:
    if body.trailer_signature is not None:
        assert request.seal is not None
        last = body.chunks[-1].signature
        assert last is not None
        body.trailer_signature = wire.sign_trailer(request.seal, last, body.trailers)
