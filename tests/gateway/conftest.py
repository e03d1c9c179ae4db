"""The gateway in front of the byte-logging backend."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.harness import Gateway, open_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A running gateway; see `harness.open_gateway` for what can be set otherwise."""
    async with open_gateway() as running:
        yield running
