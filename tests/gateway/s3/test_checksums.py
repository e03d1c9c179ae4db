"""Declared checksums: the right value passes, a wrong one is BadDigest, a confused declaration is refused."""

from __future__ import annotations

import base64
import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.messages import Headers
from gateway.s3.checksums import Digests, declared_trailers

ALGORITHMS = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]
NONE: frozenset[str] = frozenset()


def reflected_crc(data: bytes, polynomial: int, size: int) -> bytes:
    """A CRC bit by bit, from its definition: nothing shared with the libraries."""
    mask = (1 << 8 * size) - 1
    crc = mask
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (polynomial if crc & 1 else 0)
    return (crc ^ mask).to_bytes(size, "big")


def checksum(algorithm: str, data: bytes) -> str:
    polynomials = {"crc32": (0xEDB88320, 4), "crc32c": (0x82F63B78, 4), "crc64nvme": (0x9A6C9329AC4BC9B5, 8)}
    if algorithm in polynomials:
        return base64.b64encode(reflected_crc(data, *polynomials[algorithm])).decode()
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def run(data: bytes, headers: dict[str, str], trailers: dict[str, str] | None = None, at: int = 3) -> None:
    digests = Digests.expected(Headers(headers.items()), frozenset(trailers or ()))
    digests.update(memoryview(data)[:at])
    digests.update(data[at:])
    digests.check(trailers or {})


def refusal(headers: dict[str, str], trailers: frozenset[str] = NONE) -> S3Error:
    with pytest.raises(S3Error) as caught:
        Digests.expected(Headers(headers.items()), trailers)
    return caught.value


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256)) * 40])
def test_the_right_checksum_passes_in_header_and_trailer(algorithm: str, data: bytes) -> None:
    value = {f"x-amz-checksum-{algorithm}": checksum(algorithm, data)}
    run(data, value)
    run(data, value | {"x-amz-sdk-checksum-algorithm": algorithm.upper()})
    run(data, {"x-amz-sdk-checksum-algorithm": algorithm.upper()}, value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_is_a_bad_digest(algorithm: str) -> None:
    value = {f"x-amz-checksum-{algorithm}": checksum(algorithm, b"hellp")}
    for how in ((value, None), ({}, value)):
        with pytest.raises(S3Error) as caught:
            run(b"hello", *how)
        assert (caught.value.code, caught.value.reason) == ("BadDigest", "payload_mismatch")
        assert caught.value.message == (f"The {algorithm.upper()} you specified did not match the calculated checksum.")


@pytest.mark.parametrize(
    ("algorithm", "data", "value"),
    [
        ("crc32", b"hello", "NhCmhg=="),
        ("crc32c", b"a" * 66560, "sOO8/Q=="),  # AWS's own example of a trailer
        ("crc32c", b"123456789", "4waSgw=="),
        ("crc64nvme", b"123456789", "rosUhgp5mIg="),
    ],
)
def test_published_values(algorithm: str, data: bytes, value: str) -> None:
    run(data, {f"x-amz-checksum-{algorithm}": value})


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200)), algorithm=st.sampled_from(ALGORITHMS))
def test_the_split_of_the_body_does_not_matter(data: bytes, cuts: list[int], algorithm: str) -> None:
    name = f"x-amz-checksum-{algorithm}"
    digests = Digests.expected(Headers([(name, checksum(algorithm, data))]), NONE)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        digests.update(memoryview(data)[start:end])
    digests.check({})


def test_a_body_that_declares_nothing_needs_no_work() -> None:
    assert not Digests.expected(Headers([("x-amz-checksum-mode", "ENABLED")]), NONE).active
    assert not Digests.expected(Headers([("x-amz-checksum-type", "FULL_OBJECT")]), NONE).active
    assert Digests.expected(Headers([]), frozenset({"x-amz-checksum-crc32"})).active


def test_content_md5_is_checked() -> None:
    right = base64.b64encode(hashlib.md5(b"hello", usedforsecurity=False).digest()).decode()
    wrong = base64.b64encode(hashlib.md5(b"hellp", usedforsecurity=False).digest()).decode()
    run(b"hello", {"content-md5": right})
    run(b"hello", {"content-md5": right}, {"x-amz-checksum-crc32": "NhCmhg=="})
    with pytest.raises(S3Error) as caught:
        run(b"hello", {"content-md5": wrong})
    assert caught.value.code == "BadDigest"
    assert caught.value.fields == {"ExpectedDigest": wrong, "CalculatedDigest": right}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "!!!",
        "AAAA",
        "é",
        "XUFAKrxLKna5cZ2REBfFkg",
        "XUFAKrxLKna5cZ2REBfFkh==",
        " XUFAKrxLKna5cZ2REBfFkg==",
    ],
)
def test_a_content_md5_that_is_none_is_an_invalid_digest(value: str) -> None:
    assert refusal({"content-md5": value}).code == "InvalidDigest"


@pytest.mark.parametrize(
    ("headers", "trailers"),
    [
        ({"x-amz-checksum-crc32": "!!"}, NONE),
        ({"x-amz-checksum-crc32": ""}, NONE),
        ({"x-amz-checksum-crc32": "AAAAAAA="}, NONE),
        ({"x-amz-checksum-crc32": "NhCmhh=="}, NONE),  # NhCmhg== with a stray bit
        ({"x-amz-checksum-sha512": "AAAA"}, NONE),
        ({"x-amz-checksum-": "AAAA"}, NONE),
        ({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "2jmj7l5rSw0yVb/vlWAYkK/YBwk="}, NONE),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, frozenset({"x-amz-checksum-crc32"})),
        ({}, frozenset({"x-amz-checksum-crc32", "x-amz-checksum-crc32c"})),
        ({}, frozenset({"x-amz-checksum-sha512"})),
        ({}, frozenset({"crc32"})),
        ({}, frozenset({"x-amz-meta-late"})),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, NONE),
        ({"x-amz-sdk-checksum-algorithm": ""}, NONE),
        ({"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": "AAAAAA=="}, NONE),
        ({"x-amz-sdk-checksum-algorithm": "SHA1"}, frozenset({"x-amz-checksum-crc32"})),
    ],
)
def test_a_confused_declaration_is_an_invalid_request(headers: dict[str, str], trailers: frozenset[str]) -> None:
    assert refusal(headers, trailers).code == "InvalidRequest"


@pytest.mark.parametrize("value", ["", "!!", "AAAA", "NhCmhh=="])
def test_a_trailer_value_that_is_no_checksum_is_an_invalid_request(value: str) -> None:
    with pytest.raises(S3Error) as caught:
        run(b"hello", {}, {"x-amz-checksum-crc32": value})
    assert caught.value.code == "InvalidRequest"
    assert caught.value.message == "Value for x-amz-checksum-crc32 trailing header is invalid."


@pytest.mark.parametrize(
    "pairs",
    [
        [("x-amz-trailer", "x-amz-checksum-crc32, X-Amz-Checksum-SHA1")],
        [("x-amz-trailer", "x-amz-checksum-crc32"), ("x-amz-trailer", "x-amz-checksum-sha1")],
        [("x-amz-trailer", "x-amz-checksum-crc32,,x-amz-checksum-sha1,")],
    ],
)
def test_trailers_are_declared_by_a_list_or_a_repeated_header(pairs: list[tuple[str, str]]) -> None:
    assert declared_trailers(Headers(pairs)) == {"x-amz-checksum-crc32", "x-amz-checksum-sha1"}


def test_no_trailer_is_declared_by_an_empty_header_or_none() -> None:
    assert declared_trailers(Headers([])) == NONE
    assert declared_trailers(Headers([("x-amz-trailer", " ")])) == NONE
