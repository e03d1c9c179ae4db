"""Gateways in front of each store, clients of every kind at them, and the files that they carry."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.backends import Backend
from tests.clients.catalogue import clients
from tests.clients.client import Client
from tests.clients.gateways import SUFFIX, Authority, Door, Gateways, Key, Transport, make_authority, running_gateways
from tests.clients.modes import Table, render
from tests.clients.programs import BUILT
from tests.conftest import empty_database

Opener = Callable[..., Client]
FileOf = Callable[[int], Path]

OBSERVED: Table = {}
"""What the clients of this run were seen to send."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def gateways(
    store: Backend, postgres_dsn: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateways]:
    """Two gateway processes, HTTP and HTTPS, in front of each store in turn."""
    directory = tmp_path_factory.mktemp(f"gateways-{store.name}")
    with empty_database(postgres_dsn) as dsn, running_gateways(store, dsn, directory, authority) as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def virtual_hosts_resolve() -> Iterator[None]:
    """For clients in this process: names below SUFFIX are 127.0.0.1."""
    original = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return original("127.0.0.1" if str(host).endswith(SUFFIX) else host, *rest, **more)

    socket.getaddrinfo = resolve
    yield
    socket.getaddrinfo = original


@pytest.fixture(scope="session")
def opened(gateways: Gateways, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """`opened(kind, transport)` is a client with the owner's key, started once and at a door of its own."""
    cache: dict[tuple[type[Client], Transport], Client] = {}
    with ExitStack() as stack:

        def open_one(kind: type[Client], transport: Transport, key: Key | None = None) -> Client:
            if key is None and (kind, transport) in cache:
                return cache[kind, transport]
            door = stack.enter_context(gateways.door(transport))
            client = kind(door, tmp_path_factory.mktemp("home"), key)
            stack.callback(client.close)
            if key is None:
                cache[kind, transport] = client
            return client

        yield open_one


@pytest.fixture
def transport() -> Transport:
    """Plain HTTP, unless a test asks for both."""
    return "http"


@pytest.fixture(params=clients())
def client(request: pytest.FixtureRequest, opened: Opener, transport: Transport) -> Client:
    """Every client with the owner's key."""
    return opened(request.param, transport)


@pytest.fixture
def door(client: Client) -> Door:
    """The client's way in."""
    return client.door


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own, ending in a slash."""
    return f"{random.randbytes(6).hex()}/"  # noqa: S311 - a name, not a secret


@pytest.fixture(scope="session")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> FileOf:
    """`file_of(size)` is a file of so many bytes that look random and are the same in every run."""
    directory = tmp_path_factory.mktemp("files")

    def make(size: int) -> Path:
        path = directory / f"{size}.bin"
        if not path.exists():
            numbers = random.Random(size)  # noqa: S311 - test data
            with path.open("wb") as file:
                for start in range(0, size, 1 << 24):
                    file.write(numbers.randbytes(min(1 << 24, size - start)))
        return path

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the clients sent, and leave it where docs/clients.md can be made from it."""
    if not OBSERVED:
        return
    table = render(OBSERVED)
    BUILT.mkdir(parents=True, exist_ok=True)
    (BUILT / "modes.md").write_text(table, encoding="utf-8")
    terminalreporter.section("what the clients sent (docs/clients.md)")
    terminalreporter.write(table)
