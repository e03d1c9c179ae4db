"""What the bench sends is what it says: otherwise it would measure refusals, or another work than the gateway's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.signed import SIGNED_CHUNK, Framing, Request, Signer, write_object
from gateway.bodies import CheckedBody
from gateway.errors import S3Error
from gateway.messages import Headers, RequestHead
from gateway.sigv4.claim import read_claim
from gateway.sigv4.sign import Credential
from gateway.sigv4.verify import verify

CREDENTIAL = Credential("BWAKAAAAAAAAAAAAAAAA", "s" * 40, None, "us-east-1")
SIZE = 3 * SIGNED_CHUNK + 1


class Stored:
    """`messages.Body` of a file."""

    chunked = False

    def __init__(self, data: bytes) -> None:
        self.length: int | None = len(data)
        self._pieces = [data[start : start + 10_000] for start in range(0, len(data), 10_000)]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_object(tmp_path / "plain", SIZE)


def received(request: Request) -> RequestHead:
    """The head as a server has it."""
    path, _, query = request.target.partition("?")
    fields = [tuple(line.split(": ", 1)) for line in request.head().decode("latin-1").split("\r\n")[1:-2]]
    return RequestHead(request.method, path, query, Headers((name, value) for name, value in fields))


def body_of(request: Request) -> bytes:
    assert request.body is not None
    return request.body.read_bytes()


async def stored_by(request: Request, body: bytes) -> bytes:
    head = received(request)
    verified = verify(read_claim(head), CREDENTIAL.secret_access_key)
    assert verified is not None
    pieces: AsyncIterator[bytes | memoryview] = CheckedBody(Stored(body), verified, head.headers).pieces()
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("framing", Framing, ids=lambda framing: framing.name)
async def test_every_framing_is_verified_and_carries_the_object(framing: Framing, plain: Path) -> None:
    unsigned = Signer(CREDENTIAL, "127.0.0.1", 9900).put(Framing.UNSIGNED, plain)
    request = Signer(CREDENTIAL, "127.0.0.1", 9900).put(framing, plain)
    assert await stored_by(request, body_of(request)) == body_of(unsigned)


@pytest.mark.parametrize(
    "framing", [framing for framing in Framing if framing is not Framing.UNSIGNED], ids=lambda framing: framing.name
)
async def test_every_framing_but_the_unsigned_notices_an_altered_byte(framing: Framing, plain: Path) -> None:
    request = Signer(CREDENTIAL, "127.0.0.1", 9900).put(framing, plain)
    body = bytearray(body_of(request))
    body[SIZE // 2] ^= 1
    with pytest.raises(S3Error):
        await stored_by(request, bytes(body))


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_presigned_url_is_verified(method: str) -> None:
    request = Signer(CREDENTIAL, "127.0.0.1", 9900).presigned(method, 4096)
    assert verify(read_claim(received(request)), CREDENTIAL.secret_access_key) is not None
