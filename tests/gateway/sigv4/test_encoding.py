"""Percent-encoding and canonical forms (C1 to C13), also against the published suite."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.sigv4.encoding import canonical_path, canonical_query, decode, encode, parse_query
from tests.gateway.sigv4.vectors import load, wire_text

WIRE = st.binary(max_size=60).map(lambda data: data.decode("latin-1"))
SUITE = load("aws-c-auth-v4.json")


@given(WIRE)
def test_encode_is_the_rule_of_aws(text: str) -> None:
    """Everything but letters, digits and `-._~` is %XX in upper case, byte by byte (C1)."""
    expected = "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-._~") else f"%{byte:02X}"
        for byte in text.encode("latin-1")
    )
    assert encode(text) == expected
    assert encode(text, slash=True) == expected.replace("%2F", "/")


@given(WIRE)
def test_decode_undoes_encode(text: str) -> None:
    assert decode(encode(text)) == text


@given(st.binary(max_size=40))
def test_decode_is_done_once(data: bytes) -> None:
    """What looks like an escape after decoding stays as it is (C4)."""
    once = quote_from_bytes(data, safe="")
    assert decode(once.replace("%", "%25")) == once


@pytest.mark.parametrize("text", ["%", "%4", "%zz", "a%", "%u002e", "%%41", "%-1", "% 41", "%4%31"])
def test_a_broken_escape_means_nothing(text: str) -> None:
    with pytest.raises(S3Error) as refusal:
        decode(text)
    assert refusal.value.code == "InvalidURI"


@given(WIRE.filter(lambda text: "?" not in text))
@example("/a/../b/./c//d/")
@example("/%7e%41")
def test_a_canonical_path_is_its_own_canonical_path(path: str) -> None:
    try:
        once = canonical_path(path)
    except S3Error:
        return
    assert canonical_path(once) == once
    assert decode(once) == (decode(path) or "/")


def test_paths_are_not_normalised() -> None:
    assert canonical_path("/a//b/./../c/") == "/a//b/./../c/"
    assert canonical_path("") == "/"


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("/%7e", "/~"),
        ("/%e1%88%b4", "/%E1%88%B4"),
        ("/a+b", "/a%2Bb"),
        ("/!$&'()*,;=:@", "/%21%24%26%27%28%29%2A%2C%3B%3D%3A%40"),
        ("/a%2fb", "/a/b"),
        ("/%252e%252e", "/%252e%252e"),
        ("/k#frag", "/k%23frag"),
    ],
)
def test_one_spelling_for_every_path(raw: str, canonical: str) -> None:
    assert canonical_path(raw) == canonical


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", []),
        ("acl", [("acl", "")]),
        ("acl=", [("acl", "")]),
        ("&&a=1&", [("a", "1")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1+2", [("a", "1 2")]),
        ("a%3Db=c", [("a=b", "c")]),
        ("%61cl", [("acl", "")]),
        ("=x", [("", "x")]),
        ("a=1&a=0", [("a", "1"), ("a", "0")]),
    ],
)
def test_queries_are_split_then_decoded(query: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_query(query) == pairs


@given(st.lists(st.tuples(WIRE, WIRE), max_size=8))
def test_a_canonical_query_is_its_own_canonical_query(pairs: list[tuple[str, str]]) -> None:
    """Written and read again it is the same, and it is sorted by encoded pairs (C8, C9)."""
    text = canonical_query(pairs)
    again = parse_query(text)
    assert sorted(again) == sorted(pair for pair in pairs)
    assert canonical_query(again) == text


def test_pairs_are_sorted_and_not_text() -> None:
    assert canonical_query([("Param-3", "v"), ("Param", "v")]) == "Param=v&Param-3=v"
    assert canonical_query([("a", "2"), ("a", "1"), ("A", "3")]) == "A=3&a=1&a=2"


@pytest.mark.parametrize("case", SUITE, ids=lambda case: case["name"])
def test_published_suite(case: dict[str, Any]) -> None:
    """Path and query of the suite; cases for services that normalise paths, which S3 does not, without their path."""
    first = case["request"].split("\n")[0].removesuffix(" HTTP/1.1")
    path, _, query = wire_text(first.partition(" ")[2]).partition("?")
    _, canonical, canonical_q = case["header"]["canonical_request"].split("\n")[:3]
    assert canonical_query(parse_query(query)) == canonical_q
    if not case["context"]["normalize"] or ("." not in path and "//" not in path):
        assert canonical_path(path) == canonical
