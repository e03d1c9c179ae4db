"""The proxies that people put in front of us, run with the settings that we ship or with settings of a test."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.child import die_with_parent, free_ports
from tests import lanes
from tests.clients.gateways import Authority
from tests.gateways import ROOT
from tests.waiting import until

SHIPPED = ROOT / "deploy" / "proxies"
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

_NGINX_AROUND = """
daemon off;
error_log stderr;
pid nginx.pid;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{servers}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running proxy on 127.0.0.1: plain HTTP on `port`, HTTP/1.1 and HTTP/2 over TLS on `tls_port`."""

    name: str
    port: int
    tls_port: int


def program(name: str) -> str | None:
    """The path of a proxy's program."""
    return shutil.which(name, path=_PATH)


NGINX = lanes.lane("nginx", program("nginx") is not None, "not found: nginx (Debian: nginx-light)")
HAPROXY = lanes.lane("haproxy", program("haproxy") is not None, "not found: haproxy (Debian: haproxy)")


@contextmanager
def nginx(directory: Path, servers: str, port: int, tls_port: int = 0) -> Iterator[Proxy]:
    """Run nginx with these contents of its http section, which listen on `port`."""
    (directory / "nginx.conf").write_text(_NGINX_AROUND.format(servers=servers))
    argv = [program("nginx") or "nginx", "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    with _running(argv, directory / "nginx.log", port):
        yield Proxy("nginx", port, tls_port)


@contextmanager
def shipped_nginx(directory: Path, authority: Authority, upstream: int) -> Iterator[Proxy]:
    """nginx with the settings that we ship; only ports and certificates are others."""
    port, tls_port = free_ports(2)
    servers = _substituted(
        SHIPPED / "nginx.conf",
        {
            "127.0.0.1:9900": f"127.0.0.1:{upstream}",
            "listen 80;": f"listen 127.0.0.1:{port};",
            "listen 443 ": f"listen 127.0.0.1:{tls_port} ",
            "/etc/nginx/tls/s3.crt": str(authority.certificate),
            "/etc/nginx/tls/s3.key": str(authority.private_key),
        },
    )
    with nginx(directory, servers, port, tls_port) as proxy:
        yield proxy


@contextmanager
def shipped_haproxy(directory: Path, authority: Authority, upstream: int) -> Iterator[Proxy]:
    """HAProxy with the settings that we ship; only ports and certificates are others."""
    port, tls_port = free_ports(2)
    both = directory / "s3.pem"
    both.write_bytes(authority.certificate.read_bytes() + authority.private_key.read_bytes())
    (directory / "haproxy.cfg").write_text(
        _substituted(
            SHIPPED / "haproxy.cfg",
            {
                "server gateway1 127.0.0.1:9900": f"server gateway1 127.0.0.1:{upstream}",
                "bind :80\n": f"bind 127.0.0.1:{port}\n",
                "bind :443 ": f"bind 127.0.0.1:{tls_port} ",
                "/etc/haproxy/tls/s3.pem": str(both),
            },
        )
    )
    argv = [program("haproxy") or "haproxy", "-db", "-f", str(directory / "haproxy.cfg")]
    with _running(argv, directory / "haproxy.log", port):
        yield Proxy("haproxy", port, tls_port)


SHIPPED_PROXIES = {"nginx": shipped_nginx, "haproxy": shipped_haproxy}


def _substituted(path: Path, texts: dict[str, str]) -> str:
    text = path.read_text()
    for old, new in texts.items():
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    return text


@contextmanager
def _running(argv: list[str], log: Path, port: int) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
    try:
        until(lambda: _listens(port) or process.poll() is not None, f"{argv[0]} to listen")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
