"""Fields that a presigner moved into the query."""

from __future__ import annotations

from gateway.messages import Headers
from gateway.s3.rewrite import with_hoisted

OWN = Headers([("host", "gw")])


def test_they_count_as_if_they_had_been_sent() -> None:
    assert with_hoisted(OWN, (("x-amz-acl", "private"),)).get("x-amz-acl") == "private"


def test_a_checksum_of_nothing_is_what_a_presigner_without_the_body_says_and_does_not_count() -> None:
    merged = with_hoisted(OWN, (("x-amz-sdk-checksum-algorithm", "CRC32"), ("x-amz-checksum-crc32", "AAAAAA==")))
    assert list(merged) == list(OWN)


def test_any_other_checksum_counts() -> None:
    hoisted = (("x-amz-sdk-checksum-algorithm", "CRC32"), ("x-amz-checksum-crc32", "NhCmhg=="))
    assert list(with_hoisted(OWN, hoisted)) == [*OWN, *hoisted]
