from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.operator_surface import Surface, operator_surface


@pytest.fixture
async def surface(fresh_database: str) -> AsyncIterator[Surface]:
    """The operator API on an empty key store, with TLS nowhere and a public URL."""
    async with operator_surface(fresh_database, BUCKETWARDEN_S3__PUBLIC_URL="https://s3.test") as running:
        yield running
