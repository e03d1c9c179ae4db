"""A body of very many very small chunks does not keep the event loop to itself."""

from __future__ import annotations

import asyncio

import pytest

from gateway.bodies import CheckedBody
from gateway.errors import S3Error
from gateway.messages import Headers, RequestHead
from gateway.sigv4.claim import read_claim
from gateway.sigv4.sign import Credential, sign
from gateway.sigv4.verify import Verified

CHUNKS = 10_000


class OneRead:
    """`messages.Body` that comes off the connection all at once."""

    chunked = False

    def __init__(self, data: bytes) -> None:
        self.length: int | None = len(data)
        self._data = data

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data


def checked(body: bytes) -> CheckedBody:
    _, fields = sign(
        Credential("id", "secret", None, "us-east-1"),
        method="PUT",
        path="/bucket/key",
        parameters=[],
        headers=[("host", "gateway"), ("x-amz-decoded-content-length", str(CHUNKS))],
        payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        timestamp="20260102T030405Z",
    )
    headers = Headers(fields)
    claim = read_claim(RequestHead("PUT", "/bucket/key", "", headers))
    return CheckedBody(OneRead(body), Verified(claim, bytes(32)), headers)


async def test_others_have_their_turn_between_many_small_chunks() -> None:
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(another())
    data = await checked(b"1\r\nx\r\n" * CHUNKS + b"0\r\n\r\n").read_all()
    other.cancel()
    assert data == b"x" * CHUNKS
    assert turns >= 2 * CHUNKS // 256


async def test_what_follows_the_end_is_refused_wherever_a_turn_ends() -> None:
    for more in range(250, 260):
        body = b"1\r\nx\r\n" * CHUNKS + b"0\r\n\r\n" + b"\r\n" * more
        with pytest.raises(S3Error, match="IncompleteBody"):
            await checked(body).read_all()
