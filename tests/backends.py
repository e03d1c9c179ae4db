"""The real stores behind the gateway in tests: child processes, each with its data in its own directory."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.child import Child, free_ports
from gateway.embedded.store import EmbeddedStore

CEPH_SCRIPTS = Path(__file__).parent.parent / "deploy" / "ceph"
CEPH_PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")


@dataclass(frozen=True, slots=True)
class Backend:
    """A store's endpoint (path style, plain HTTP, loopback) and its administrator's key."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"


@contextmanager
def seaweedfs(directory: Path) -> Iterator[Backend]:
    with EmbeddedStore(directory) as store:
        yield Backend("seaweedfs", store.endpoint, store.access_key, store.secret_key)


@contextmanager
def ceph(directory: Path) -> Iterator[Backend]:
    """One monitor, one OSD in memory, one radosgw."""
    # radosgw takes PORT, the monitor PORT + 1, the OSD PORT + 10 to PORT + 29.
    [port] = free_ports(1)
    access_key, secret_key = "CEPHADMIN" + secrets.token_hex(4).upper(), secrets.token_hex(20)
    child = Child(
        ["bash", CEPH_SCRIPTS / "run.sh", directory / "ceph", str(port)],
        log=directory / "ceph.log",
        death_signal=signal.SIGTERM,
        env={"PATH": os.environ["PATH"], "CEPH_ACCESS_KEY": access_key, "CEPH_SECRET_KEY": secret_key},
    )
    try:
        child.wait_until(lambda: b"endpoint=" in child.log.read_bytes(), timeout=120)
        yield Backend("ceph", f"http://127.0.0.1:{port}", access_key, secret_key)
    finally:
        child.stop(timeout=60)


@contextmanager
def minio(directory: Path) -> Iterator[Backend]:
    program = find_minio()
    assert program is not None
    port, console = free_ports(2)
    access_key, secret_key = "minio" + secrets.token_hex(4), secrets.token_hex(20)
    child = Child(
        [
            program,
            "server",
            directory / "minio",
            f"--address=127.0.0.1:{port}",
            f"--console-address=127.0.0.1:{console}",
        ],
        log=directory / "minio.log",
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "MINIO_ROOT_USER": access_key,
            "MINIO_ROOT_PASSWORD": secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        },
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        child.wait_until(lambda: _is_ready(f"{endpoint}/minio/health/ready"), timeout=60)
        yield Backend("minio", endpoint, access_key, secret_key)
    finally:
        child.stop()


STORES: dict[str, Callable[[Path], AbstractContextManager[Backend]]] = {
    "seaweedfs": seaweedfs,
    "ceph": ceph,
    "minio": minio,
}


def missing_ceph_programs() -> list[str]:
    return [name for name in CEPH_PROGRAMS if shutil.which(name) is None]


def find_minio() -> Path | None:
    """`minio` on PATH or where `go install` puts it."""
    found = shutil.which("minio", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path.home() / 'go/bin'}")
    return Path(found) if found is not None else None


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - http to ourselves
            return bool(answer.status == 200)
    except OSError:
        return False
