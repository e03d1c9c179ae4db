"""A world of each module's own: a store, a set-up database, gateways as processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends import Backend
from tests.clients.gateways import Authority, make_authority
from tests.conftest import empty_database
from tests.gateways import World, open_world


@pytest.fixture(scope="module")
def every_world(store: Backend, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world over each of the real stores in turn."""
    directory = tmp_path_factory.mktemp("world")
    with empty_database(postgres_dsn) as dsn, open_world(store, dsn, directory) as world:
        yield world


@pytest.fixture(scope="module")
def world(seaweedfs: Backend, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world over the store that comes with the project's packages."""
    directory = tmp_path_factory.mktemp("world")
    with empty_database(postgres_dsn) as dsn, open_world(seaweedfs, dsn, directory) as world:
        yield world


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority, and a certificate of it for 127.0.0.1."""
    return make_authority(tmp_path_factory.mktemp("authority"))
