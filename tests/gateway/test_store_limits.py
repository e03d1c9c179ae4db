"""What a store would make something else of is refused before the store sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.harness import KAO, Gateway, open_gateway
from tests.gateway.threats.judging import accepted, refused

SOURCE = ("x-amz-copy-source", "/alpha/control")


@pytest.fixture
async def folding() -> AsyncIterator[Gateway]:
    """In front of a store that folds keys in every way we know."""
    async with open_gateway(literal_keys=False) as running:
        yield running


async def test_data_under_a_key_that_ends_with_a_slash(folding: Gateway) -> None:
    """SeaweedFS drops it. An empty object is the directory that such a store keeps."""
    await accepted(folding, folding.signed("PUT", "/alpha/dir/"))
    await accepted(folding, folding.signed("PUT", "/alpha/dir", SOURCE))
    await accepted(folding, folding.signed("POST", "/alpha/dir?uploads"))
    for request in (
        folding.signed("PUT", "/alpha/dir/", body=b"x"),
        folding.signed("PUT", "/alpha/dir/", SOURCE),
        folding.signed("POST", "/alpha/dir/?uploads"),
    ):
        await refused(folding, request, 400, "InvalidArgument")


async def test_a_backslash_that_would_be_a_slash(folding: Gateway) -> None:
    await accepted(folding, folding.signed("PUT", "/alpha/a", body=b"x"))
    await refused(folding, folding.signed("PUT", "/alpha/a%5Cb", body=b"x"), 400, "InvalidArgument")
    source = ("x-amz-copy-source", "/alpha/a%5Cb")
    await refused(folding, folding.signed("PUT", "/alpha/a", source), 400, "InvalidArgument")


async def test_a_bucket_is_not_deleted_under_a_condition_that_nobody_holds(gateway: Gateway) -> None:
    await accepted(gateway, gateway.signed("PUT", "/made", key=KAO))
    owner = ("x-amz-expected-bucket-owner", "111122223333")
    await refused(gateway, gateway.signed("DELETE", "/made", owner, key=KAO), 501, "NotImplemented")
    await accepted(gateway, gateway.signed("DELETE", "/made", key=KAO), 204)
