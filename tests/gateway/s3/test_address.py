"""Which bucket and key a request names, and which object a copy source names."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.s3.address import (
    EVERY_FOLD,
    Address,
    CopySource,
    Fold,
    locate,
    parse_copy_source,
    printable,
    refuse_folded,
)
from gateway.sigv4.encoding import encode

SUFFIXES = ("s3.gw.test", "other.test")


def refusal(call: object) -> str | None:
    try:
        call()  # type: ignore[operator]
    except S3Error as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("host", "path", "address"),
    [
        ("s3.gw.test", "/", Address()),
        ("s3.gw.test:9900", "/", Address()),
        ("127.0.0.1:9900", "/alpha", Address("alpha")),
        ("s3.gw.test", "/alpha/", Address("alpha")),
        ("s3.gw.test", "/alpha/k", Address("alpha", "k")),
        ("s3.gw.test", "/alpha//k", Address("alpha", "/k")),
        ("s3.gw.test", "/alpha/a/../b", Address("alpha", "a/../b")),
        ("s3.gw.test", "/alpha/a%2Fb", Address("alpha", "a/b")),
        ("s3.gw.test", "/%61lpha/k", Address("alpha", "k")),
        ("alpha.s3.gw.test", "/", Address("alpha")),
        ("alpha.s3.gw.test:9900", "/k", Address("alpha", "k")),
        ("ALPHA.S3.GW.TEST", "/k", Address("alpha", "k")),
        ("my.alpha.s3.gw.test", "/k", Address("my.alpha", "k")),
        ("alpha.other.test", "/beta/k", Address("alpha", "beta/k")),
        ("alpha.s3.gw.test.evil.test", "/beta/k", Address("beta", "k")),
        ("xs3.gw.test", "/beta/k", Address("beta", "k")),
        ("", "/beta/k", Address("beta", "k")),
    ],
)
def test_path_style_and_virtual_hosts(host: str, path: str, address: Address) -> None:
    assert locate(host, path, SUFFIXES) == address


@pytest.mark.parametrize(
    ("host", "path", "code"),
    [
        ("h", "", "InvalidURI"),
        ("h", "*", "InvalidURI"),
        ("h", "http://h/alpha/k", "InvalidURI"),
        ("h", "//", "InvalidBucketName"),
        ("h", "//alpha/k", "InvalidBucketName"),
        ("h", "/%2f", "InvalidBucketName"),
        ("h", "/.minio.sys/config", "InvalidBucketName"),
        ("h", "/tenant:bucket/k", "InvalidBucketName"),
        (".s3.gw.test", "/k", "InvalidBucketName"),
        ("a_b.s3.gw.test", "/k", "InvalidBucketName"),
        ("h", "/alpha/%00", "InvalidURI"),
        ("h", "/alpha/%ff", "InvalidURI"),
        ("h", "/alpha/%zz", "InvalidURI"),
        ("h", "/alpha/" + "k" * 1025, "KeyTooLongError"),
        ("h", "/alpha/" + "%C3%A9" * 513, "KeyTooLongError"),
    ],
)
def test_what_is_no_address(host: str, path: str, code: str) -> None:
    assert refusal(lambda: locate(host, path, SUFFIXES)) == code


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200))
@example("..")
@example("a//b/")
def test_any_key_is_found_again(key: str) -> None:
    """For every text that is a key: path style, virtual host and copy source all name it."""
    wire = key.encode().decode("latin-1")
    if len(wire) > 1024:
        return
    path = encode(wire, slash=True)
    assert locate("h", f"/alpha/{path}", SUFFIXES) == Address("alpha", wire)
    assert locate("alpha.s3.gw.test", f"/{path}", SUFFIXES) == Address("alpha", wire)
    assert parse_copy_source(f"/alpha/{path}") == CopySource("alpha", wire)
    assert parse_copy_source(encode(f"alpha/{wire}")) == CopySource("alpha", wire)
    assert printable(wire) == key


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("alpha/k", CopySource("alpha", "k")),
        ("/alpha/k", CopySource("alpha", "k")),
        ("%2Falpha%2Fk", CopySource("alpha", "k")),
        ("alpha/k?versionId=v1", CopySource("alpha", "k", "v1")),
        ("alpha/k?versionId=a%2Fb", CopySource("alpha", "k", "a/b")),
        ("alpha/k%3FversionId=v1", CopySource("alpha", "k?versionId=v1")),
        ("alpha/k%3FversionId=x?versionId=v1", CopySource("alpha", "k?versionId=x", "v1")),
        ("alpha//k", CopySource("alpha", "/k")),
        ("alpha/a%2Bb", CopySource("alpha", "a+b")),
    ],
)
def test_copy_sources(text: str, source: CopySource) -> None:
    """The version is split off before anything is decoded (W3)."""
    assert parse_copy_source(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "alpha",
        "alpha/",
        "//alpha/k",
        "?versionId=v",
        "alpha/k?versionId=",
        "alpha/k?acl",
        "https://h/alpha/k",
        "arn:aws:s3:::alpha/k",
        "arn%3Aaws%3As3%3Areg%3A1%3Aaccesspoint%2Fp%2Fobject%2Fk",
        "tenant:alpha/k",
        "Alpha/k",
        ".minio.sys/k",
        "alpha/%zz",
        "alpha/%00",
        "alpha/%ff",
        "alpha/" + "k" * 1025,
    ],
)
def test_what_is_no_copy_source(text: str) -> None:
    assert refusal(lambda: parse_copy_source(text)) in ("InvalidArgument", "InvalidURI")


@pytest.mark.parametrize("key", ["..", ".", "a/../b", "a//b", "/a", "./a", "a/."])
def test_keys_that_some_stores_fold(key: str) -> None:
    assert refusal(lambda: refuse_folded(key, EVERY_FOLD)) == "InvalidArgument"
    assert refusal(lambda: refuse_folded(key, frozenset())) is None
    assert refusal(lambda: refuse_folded(key, frozenset({Fold.BACKSLASH}))) is None


@pytest.mark.parametrize("key", ["a", "a/b", "...", "a..b", "a/..b", ".a/b.", "a/"])
def test_keys_that_every_store_keeps(key: str) -> None:
    assert refusal(lambda: refuse_folded(key, EVERY_FOLD)) is None
