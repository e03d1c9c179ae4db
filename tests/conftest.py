"""What all tests share: a real Postgres, the real stores, and the account of the lanes at the end.

Services start when the first test asks for them, once per run, and stop with it. They are children of this
process: nothing stays behind, not even after `kill -9`.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from gateway.embedded.postgres import EmbeddedPostgres, find_programs
from tests import backends, lanes
from tests.backends import Backend

# The data may be lost: the tests are about the program, not about the disk.
_POSTGRES_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_MISSING_CEPH = ", ".join(backends.missing_ceph_programs())
_STORES = {
    "seaweedfs": lanes.lane("seaweedfs", True, ""),
    "ceph": lanes.lane(
        "ceph",
        not _MISSING_CEPH,
        f"not on PATH: {_MISSING_CEPH} (Debian: ceph-mon ceph-osd ceph-common radosgw)",
    ),
    "minio": lanes.lane("minio", backends.find_minio() is not None, "no minio on PATH or in ~/go/bin"),
}


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`postgresql://` URL of the superuser of a Postgres that lives as long as the run."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), settings=_POSTGRES_SETTINGS) as server:
        yield server.dsn


@pytest.fixture
def fresh_database(postgres_dsn: str) -> Iterator[str]:
    """The DSN of an empty database of this test's own."""
    with empty_database(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def module_database(postgres_dsn: str) -> Iterator[str]:
    """The DSN of an empty database that the tests of a module share."""
    with empty_database(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """SeaweedFS, which comes with the project's own packages."""
    with backends.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as backend:
        yield backend


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Ceph's radosgw, where it is installed."""
    with backends.ceph(tmp_path_factory.mktemp("ceph")) as backend:
        yield backend


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """MinIO, where it is installed."""
    with backends.minio(tmp_path_factory.mktemp("minio")) as backend:
        yield backend


@pytest.fixture(scope="session", params=[pytest.param(name, marks=mark) for name, mark in _STORES.items()])
def store(request: pytest.FixtureRequest) -> Backend:
    """Each of the real stores in turn."""
    backend: Backend = request.getfixturevalue(request.param)
    return backend


@contextmanager
def empty_database(server_dsn: str) -> Iterator[str]:
    """Make a database on the server; yield its DSN; drop it, whoever is still connected to it."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(server_dsn, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server_dsn)._replace(path=f"/{name}").geturl()
    finally:
        _execute(server_dsn, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(dsn: str, statement: str) -> None:
    subprocess.run([find_programs() / "psql", "-qX", "-c", statement, dsn], check=True)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lane(name): needs something from the system; see tests/lanes.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark who uses a store by name; put first what needs no service, so that a plain mistake shows soon."""
    for item in items:
        for name in _STORES.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(_STORES[name])
    items.sort(key=_services_needed)


def _services_needed(item: pytest.Item) -> int:
    fixtures = set(getattr(item, "fixturenames", ()))
    return 2 * bool(fixtures & {"store", *_STORES}) + bool(fixtures & {"postgres_dsn", "server_dsn"})


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in {mark.args[0] for mark in item.iter_markers("lane")}:
        lanes.enter(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Tell about the lanes last of all, after the reporter's own closing line."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        for line in lanes.summary():
            reporter.write_line(line)
