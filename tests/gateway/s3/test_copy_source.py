"""x-amz-copy-source, as clients write it."""

from __future__ import annotations

import pytest

from gateway.s3.address import CopySource, parse_copy_source


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("photos/a%20b", "a b"),
        ("/photos/a+b", "a b"),  # s5cmd
        ("/photos/a%2Bb", "a+b"),
        ("photos%2Fa%252Bb", "a%2Bb"),
    ],
)
def test_a_bare_plus_is_a_blank_and_an_escaped_one_a_plus(text: str, key: str) -> None:
    assert parse_copy_source(text) == CopySource("photos", key, None)
