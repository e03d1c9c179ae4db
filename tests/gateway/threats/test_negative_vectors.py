"""The published list of mutations with the status and code that each must give."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests import wire
from tests.gateway.harness import KA, Gateway
from tests.gateway.sigv4.vectors import load
from tests.gateway.threats.judging import not_committed
from tests.wire import NOW, SIGNED_CHUNKS, UNSIGNED_TRAILER, Request, upload

DATA = bytes(20_000)


def streamed(gateway: Gateway, mode: str, *, chunk: int = 8192, spoil: Callable[[wire.Chunked], None]) -> Request:
    request, body = upload(KA, gateway.request("PUT", "/alpha/k").drop("content-length"), mode, DATA, chunk=chunk)
    assert body is not None
    spoil(body)
    return wire.reframe(request, body)


def without_last(body: wire.Chunked) -> None:
    del body.chunks[-1]
    body.end = b""


def wrong_trailer(body: wire.Chunked) -> None:
    body.trailers = [("x-amz-checksum-crc32", "AAAAAA==")]


BUILDERS: dict[str, Callable[[Gateway], Request]] = {
    "unsigned x-amz-* header": lambda g: g.signed("PUT", "/alpha/k", body=b"x").add("x-amz-meta-a", "1"),
    "scope date differs": lambda g: g.signed("PUT", "/alpha/k", scope="20260101/us-east-1/s3/aws4_request"),
    "scope service not s3": lambda g: g.signed("PUT", "/alpha/k", scope="20260102/us-east-1/sts/aws4_request"),
    "Authorization header and X-Amz-Algorithm": lambda g: wire.sign(KA, g.presigned("PUT", "/alpha/k")),
    "X-Amz-Expires elapsed": lambda g: g.presigned("PUT", "/alpha/k", when=NOW - timedelta(hours=1)),
    "hex x-amz-content-sha256": lambda g: g.signed("PUT", "/alpha/k", body=b"x", payload=wire.sha256(b"y")),
    "final zero chunk missing": lambda g: streamed(g, SIGNED_CHUNKS, spoil=without_last),
    "non-final chunk smaller": lambda g: streamed(g, SIGNED_CHUNKS, chunk=8191, spoil=lambda _: None),
    "trailer checksum wrong": lambda g: streamed(g, UNSIGNED_TRAILER, spoil=wrong_trailer),
    "STREAMING-* value on an operation": lambda g: upload(
        KA, g.request("POST", "/alpha/k?uploads").drop("content-length"), SIGNED_CHUNKS, DATA
    )[0],
}


CASES = load("negative.json")


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case["case"]))
async def test_mutation(gateway: Gateway, case: dict[str, str | int]) -> None:
    await gateway.alive()
    (build,) = (build for start, build in BUILDERS.items() if str(case["case"]).startswith(start))
    await not_committed(gateway, build(gateway), int(case["expect_status"]), str(case["expect_code"]))
