"""A world of each module's own: a store, a set-up database, gateways as processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends import Backend
from tests.gateways import World, open_world


@pytest.fixture(scope="module")
def every_world(store: Backend, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world over each of the real stores in turn."""
    with open_world(store, module_database, tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture(scope="module")
def world(seaweedfs: Backend, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world over the store that comes with the project's packages."""
    with open_world(seaweedfs, module_database, tmp_path_factory.mktemp("world")) as world:
        yield world
