"""The processes of a bench: Postgres, a real store, the least possible ones, gateways and nginx in front of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import ROOT
from bench.signed import BUCKET, write_object
from gateway.config import Config
from gateway.demo import add_bucket, in_front_of, open_key_store
from gateway.embedded.child import Child, free_ports
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.store import EmbeddedStore
from gateway.naming import DEFAULT_TENANT
from gateway.sigv4.sign import Credential
from keystore.migrate import migrate
from keystore.model import Access, Permission

HOST = "127.0.0.1"
SMALL = 4 * 1024
LARGE = 64 << 20
_REGION = "us-east-1"

_COMMON = """
daemon off;
master_process off;
pid {directory}/{name}.pid;
error_log {directory}/{name}.error error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_temp_path {directory}/{name}.body;
    proxy_temp_path {directory}/{name}.proxy;
    fastcgi_temp_path {directory}/{name}.fastcgi;
    uwsgi_temp_path {directory}/{name}.uwsgi;
    scgi_temp_path {directory}/{name}.scgi;
    default_type binary/octet-stream;
{servers}
}}
"""
_FILES = """
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    server {{ listen {host}:{port}; root {root}; }}
"""
_PROXY = """
    upstream back{port} {{ server {host}:{behind}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://back{port};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Front:
    """Something that listens: where, and the process to measure (None: nobody's business)."""

    name: str
    port: int
    pid: int | None
    credential: Credential


@dataclass(frozen=True, slots=True)
class Behind:
    """A backend, and what stands in front of it; `proxy` is None where nginx is not installed."""

    direct: Front
    proxy: Front | None
    gateway: Front


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that runs. `files` serves objects from memory, `sink` takes uploads, `store` is real."""

    directory: Path
    files: Behind
    sink: Behind
    store: Behind
    gateways: Gateways


class Gateways:
    """Starts gateways over one key store; all of them know one key and one bucket."""

    def __init__(self, stack: ExitStack, directory: Path, dsn: str, config: Config, credential: Credential) -> None:
        self._stack = stack
        self._directory = directory
        self._dsn = dsn
        self._config = config
        self._credential = credential

    def start(self, name: str, backend: Front, watched: Path | None = None) -> tuple[Front, Child]:
        """A gateway process in front of `backend`; with `watched`, its loop is probed and the report goes there."""
        s3, operator, metrics = free_ports(3)
        settings = {
            "S3__LISTEN": f"{HOST}:{s3}",
            "S3__REGION": _REGION,
            "OPERATOR__LISTEN": f"{HOST}:{operator}",
            "METRICS__LISTEN": f"{HOST}:{metrics}",
            "DATABASE__URL": self._dsn,
            "KEYS__KEK_FILE": str(self._config.embedded.directory / "kek"),
            "BACKEND__ENDPOINT": f"http://{HOST}:{backend.port}",
            "BACKEND__ACCESS_KEY_ID": backend.credential.access_key_id,
            "BACKEND__SECRET_ACCESS_KEY": backend.credential.secret_access_key,
            # As MinIO and SeaweedFS are served; the bare backends would be taken for stores that can do nothing.
            "BACKEND__UPLOAD_MODE": "trailer",
        }
        arguments = ["-m", "gateway", "serve"] if watched is None else ["-m", "bench.watched", str(watched)]
        child = self._run(
            [sys.executable, *arguments], name, {f"BUCKETWARDEN_{key}": value for key, value in settings.items()}
        )
        child.wait_until(lambda: _is_ready(metrics), timeout=30)
        return Front(name, s3, child.pid, self._credential), child

    def _run(self, argv: list[str], name: str, env: Mapping[str, str]) -> Child:
        own = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "BUCKETWARDEN_"))}
        child = Child(argv, log=self._directory / f"{name}.log", env=own | dict(env), cwd=ROOT)
        self._stack.callback(child.stop)
        return child


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """Start everything below `directory`, which is best in memory. For the main thread, before any event loop."""
    objects = directory / "objects" / BUCKET
    objects.mkdir(parents=True)
    for size in (SMALL, LARGE):
        write_object(objects / str(size), size)
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(directory))
        real = stack.enter_context(EmbeddedStore(directory))
        config = Config.load(None, {"BUCKETWARDEN_EMBEDDED__DIRECTORY": str(directory)})
        store_key = Credential(real.access_key, real.secret_key, None, _REGION)
        config = in_front_of(config, real.endpoint, real.access_key, real.secret_key)
        credential = asyncio.run(_prepare(config, postgres.dsn))
        gateways = Gateways(stack, directory, postgres.dsn, config, credential)

        stub_port, files_port, *proxies = free_ports(5)
        stub = Child([sys.executable, "-m", "bench.stub", str(stub_port)], log=directory / "stub.log", cwd=ROOT)
        stack.callback(stub.stop)
        stub.wait_until(lambda: _listens(stub_port), timeout=10)
        sink = Front("direct", stub_port, None, store_key)
        store = Front("direct", int(real.endpoint.rpartition(":")[2]), None, store_key)
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        files = sink
        if nginx is not None:
            files = Front("direct", files_port, None, store_key)
            servers = _FILES.format(host=HOST, port=files_port, root=objects.parent)
            _start_nginx(nginx, "files", servers, files_port, directory, stack)

        backends = (files, sink, store)
        proxy_pid = None
        if nginx is not None:
            servers = "".join(
                _PROXY.format(host=HOST, port=port, behind=backend.port)
                for port, backend in zip(proxies, backends, strict=True)
            )
            proxy_pid = _start_nginx(nginx, "proxy", servers, proxies[0], directory, stack)
        of_files, of_sink, of_store = (
            Behind(
                backend,
                None if proxy_pid is None else Front("nginx proxy_pass", port, proxy_pid, store_key),
                gateways.start(f"gateway-{name}", backend)[0],
            )
            for name, port, backend in zip(("files", "sink", "store"), proxies, backends, strict=True)
        )
        yield Scene(directory, of_files, of_sink, of_store, gateways)


async def _prepare(config: Config, dsn: str) -> Credential:
    """The schema, a bucket in the real store, and a key for it."""
    await migrate(dsn)
    store = await open_key_store(config, dsn)
    try:
        await add_bucket(config, store.admin, DEFAULT_TENANT, BUCKET, BUCKET)
        info, secret = await store.admin.create_key(
            tenant=DEFAULT_TENANT,
            access=Access.ALL_BUCKETS,
            permission=Permission.READ_WRITE,
            grants=(),
            label=None,
            expires_at=None,
            actor="bench",
        )
        return Credential(info.access_key_id, secret.reveal(), None, _REGION)
    finally:
        await store.close()


def _start_nginx(program: str, name: str, servers: str, port: int, directory: Path, stack: ExitStack) -> int:
    configuration = directory / f"{name}.conf"
    configuration.write_text(_COMMON.format(directory=directory, name=name, servers=servers), encoding="ascii")
    child = Child([program, "-p", directory, "-c", configuration], log=directory / f"{name}.log")
    stack.callback(child.stop)
    child.wait_until(lambda: _listens(port), timeout=10)
    return child.pid


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
