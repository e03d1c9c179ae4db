"""The rule of bodies: the last piece comes only when everything was right (K15)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bodies import MAX_OBJECT, CheckedBody, read_document
from gateway.errors import S3Error
from gateway.messages import Headers, RequestHead
from gateway.sigv4.claim import read_claim
from gateway.sigv4.verify import Verified, verify
from tests import wire
from tests.wire import MODES, SIGNED_CHUNKS, Chunked, Key, Request, upload

KEY = Key("BWAKAAAAAAAAAAAAAAAA", "secret")


class Pieces:
    """A request's body in the pieces that a test gives; counts how far it was read."""

    def __init__(self, pieces: Iterable[bytes], length: int | None) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self.length = length
        self.chunked = length is None
        self.taken = 0

    async def read(self) -> bytes:
        if self.taken == len(self._pieces):
            return b""
        self.taken += 1
        return self._pieces[self.taken - 1]


def received(mode: str, data: bytes, *, chunk: int = 16 * 1024) -> tuple[Request, Chunked | None, Verified, Headers]:
    """A signed upload as the pipeline sees it after verification."""
    request, body = upload(KEY, Request("PUT", "/b/k", [("Host", "h")]), mode, data, chunk=chunk)
    return request, body, *seen(request)


def seen(request: Request) -> tuple[Verified, Headers]:
    headers = Headers((name.lower(), value) for name, value in request.headers)
    verified = verify(read_claim(RequestHead("PUT", "/b/k", "", headers)), KEY.secret)
    assert verified is not None
    return verified, headers


def cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """`data` in pieces of these sizes, over and over."""
    pieces = []
    sizes = [size for size in sizes if size] or [1000]
    at = turn = 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at += len(pieces[-1])
        turn += 1
    return pieces


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(size=st.integers(0, 40_000), sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=4))
async def test_every_mode_gives_the_objects_bytes_however_it_is_cut(mode: str, size: int, sizes: list[int]) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    request, _, verified, headers = received(mode, data)
    checked = CheckedBody(Pieces(cut(request.body, sizes), len(request.body)), verified, headers)
    assert checked.length == size
    assert b"".join([piece async for piece in checked.pieces()]) == data


async def given_out(source: Pieces, verified: Verified, headers: Headers) -> tuple[bytes, S3Error | None]:
    """What came out, and the refusal that ended it."""
    out = b""
    try:
        async for piece in CheckedBody(source, verified, headers).pieces():
            out += piece
    except S3Error as refusal:
        return out, refusal
    return out, None


@pytest.mark.parametrize("step", [1000, 8192, 65536])
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != wire.UNSIGNED])
async def test_a_wrong_last_byte_never_lets_the_whole_object_out(mode: str, step: int) -> None:
    data = bytes(50_000)
    request, body, verified, headers = received(mode, data)
    if body is None:
        request.body = request.body[:-1] + b"X"
    else:
        last = body.chunks[-2]
        last.data = last.data[:-1] + b"X"
        wire.reframe(request, body)
    out, refusal = await given_out(Pieces(cut(request.body, [step]), len(request.body)), verified, headers)
    assert refusal is not None
    assert len(out) < len(data)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("missing", [1, 2, 100, 20_000])
async def test_a_body_that_ends_early_never_lets_the_whole_object_out(mode: str, missing: int) -> None:
    data = bytes(50_000)
    request, _, verified, headers = received(mode, data)
    source = Pieces(cut(request.body[:-missing], [8192]), len(request.body))
    out, refusal = await given_out(source, verified, headers)
    assert refusal is not None
    assert refusal.code == "IncompleteBody"
    assert len(out) < len(data)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.startswith("STREAMING-")])
async def test_bytes_behind_the_end_are_refused(mode: str) -> None:
    data = bytes(20_000)
    request, _, verified, headers = received(mode, data)
    out, refusal = await given_out(Pieces([request.body, b"x"], len(request.body) + 1), verified, headers)
    assert refusal is not None
    assert len(out) < len(data)


async def test_an_empty_object_is_checked_too() -> None:
    request, body, verified, headers = received(SIGNED_CHUNKS, b"")
    assert await given_out(Pieces([request.body], len(request.body)), verified, headers) == (b"", None)
    assert body is not None
    body.chunks[-1].signature = "0" * 64
    _, refusal = await given_out(Pieces([body.wire()], len(body.wire())), verified, headers)
    assert refusal is not None


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    """The length is known, and what cannot be stored refused, while the client still waits for its 100."""
    request, _, verified, headers = received("hex", b"x" * 100)
    source = Pieces([request.body], 100)
    assert CheckedBody(source, verified, headers).length == 100
    with pytest.raises(S3Error) as refusal:
        CheckedBody(Pieces([], MAX_OBJECT + 1), verified, headers)
    assert refusal.value.code == "EntityTooLarge"
    with pytest.raises(S3Error) as refusal:
        CheckedBody(Pieces([], None), verified, headers)
    assert refusal.value.code == "MissingContentLength"
    assert source.taken == 0


def signed_document(data: bytes, payload: str | None = None) -> tuple[Verified, Headers]:
    request = Request("PUT", "/b/k", [("Host", "h")], data)
    return seen(wire.sign(KEY, request, payload=payload))


async def test_documents_are_read_whole_and_checked() -> None:
    verified, headers = signed_document(b"<x/>")
    assert await read_document(Pieces([b"<x", b"/>"], 4), verified, headers, limit=4) == b"<x/>"
    assert await read_document(Pieces([b"<x", b"/>"], None), verified, headers, limit=4) == b"<x/>"
    with pytest.raises(S3Error) as refusal:
        await read_document(Pieces([b"<y/>"], 4), verified, headers, limit=4)
    assert refusal.value.code == "XAmzContentSHA256Mismatch"
    assert refusal.value.fields["S3ComputedContentSHA256"] == hashlib.sha256(b"<y/>").hexdigest()


@pytest.mark.parametrize("length", [5, None])
async def test_documents_are_bounded_whatever_was_announced(length: int | None) -> None:
    verified, headers = signed_document(b"12345")
    source = Pieces([b"123", b"45", b"6" * 1000], length)
    with pytest.raises(S3Error) as refusal:
        await read_document(source, verified, headers, limit=4)
    assert refusal.value.code == "MaxMessageLengthExceeded"
    assert source.taken <= 2


async def test_an_aws_chunked_document_is_refused() -> None:
    verified, headers = signed_document(b"", SIGNED_CHUNKS)
    with pytest.raises(S3Error) as refusal:
        await read_document(Pieces([], 0), verified, headers, limit=4)
    assert refusal.value.code == "InvalidRequest"
