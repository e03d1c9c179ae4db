"""The real gateway as child processes over a real database, and what a test needs to talk to them.

A `World` is a store, a database with a tenant, a bucket and an operator token, and any number of gateways in front.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.embedded.child import die_with_parent, free_ports
from keystore.migrate import migrate
from keystore.sealing import new_kek, parse_kek
from keystore.store import open_store
from tests import wire
from tests.backends import Backend
from tests.waiting import until
from tests.wire import Client, Key, Reply, Request

ROOT = Path(__file__).parents[1]
TENANT = "studio"
BUCKET = "photos"
_SERIES = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


class GatewayProcess:
    """`bucketwarden serve` on three ports of 127.0.0.1. `settings` are named section__key."""

    def __init__(self, log: Path, settings: dict[str, object]) -> None:
        self.s3, self.operator, self.metrics = free_ports(3)
        self.log = log
        listeners = {
            "s3__listen": f"127.0.0.1:{self.s3}",
            "operator__listen": f"127.0.0.1:{self.operator}",
            "metrics__listen": f"127.0.0.1:{self.metrics}",
        }
        environment = {f"BUCKETWARDEN_{n.upper()}": str(value) for n, value in (listeners | settings).items()}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve"],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    @property
    def host(self) -> str:
        """What the Host header of an S3 request says."""
        return f"127.0.0.1:{self.s3}"

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def readiness(self) -> list[str] | None:
        """Why it should get no traffic; None if the listener does not answer at all."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=2) as answer:
                reasons: list[str] = json.load(answer)["reasons"]
        except urllib.error.HTTPError as error:
            reasons = json.load(error)["reasons"]
        except OSError:
            return None
        return reasons

    def started(self) -> None:
        """Wait until it serves."""
        until(lambda: self.readiness() == [] or self.exit_status is not None, "the gateway to be ready", seconds=30)
        assert self.exit_status is None, f"the gateway ended:\n{self.log.read_text()}"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 15) -> int:
        """Wait for its end; returns the exit status."""
        return self._process.wait(seconds)

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self.exit_status is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def exposition(self) -> str:
        """The text of /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of a metric that carry these labels."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        return sum(value for found, given, value in self.series() if found == name and wanted <= set(given.split(",")))

    def series(self) -> list[tuple[str, str, float]]:
        """Every series of /metrics: name, labels as text, value."""
        matches = [_SERIES.match(line) for line in self.exposition().splitlines()]
        return [(match[1], match[2] or "", float(match[3])) for match in matches if match]

    def lines(self) -> list[dict[str, Any]]:
        """All log lines so far; a line that is no JSON object fails the test."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert all(isinstance(line, dict) for line in found)
        return found

    def access_line(self, request_id: str | None) -> dict[str, Any]:
        """The one access line of a request; waits for it."""

        def matching() -> list[dict[str, Any]]:
            return [
                line for line in self.lines() if line.get("request_id") == request_id and line["event"] == "request"
            ]

        until(lambda: bool(matching()), f"the access line of {request_id}")
        [line] = matching()
        return line

    # --- S3 ---------------------------------------------------------------------------------------------

    def request(self, method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> Request:
        """An unsigned request for this gateway, framed."""
        request = Request(method, target, [("Host", self.host), *headers], body)
        if body or method in ("PUT", "POST"):
            request.add("Content-Length", str(len(body)))
        return request

    def signed(self, key: Key, method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> Request:
        """A request signed now, in the Authorization header."""
        return wire.sign(key, self.request(method, target, *headers, body=body), when=datetime.now(UTC))

    async def send(self, request: Request, *, head_only: bool = False) -> Reply:
        """Send on a connection of its own and return the answer."""
        return await send(self.s3, request, head_only=head_only)

    # --- the operator API -------------------------------------------------------------------------------

    async def operate(self, token: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A call of the operator API: (status, JSON or None)."""
        headers = [("Host", f"127.0.0.1:{self.operator}"), ("Authorization", f"Bearer {token}")]
        request = Request(method, f"/api/v1{path}", headers)
        if body is not None:
            request.body = json.dumps(body).encode()
            request.add("Content-Type", "application/json")
        if method in ("POST", "PUT"):
            request.add("Content-Length", str(len(request.body)))
        reply = await send(self.operator, request)
        return reply.status, json.loads(reply.body) if reply.body else None


async def send(port: int, request: Request, *, head_only: bool = False) -> Reply:
    """Send a request on a connection of its own and return the answer."""
    async with await Client.open(port) as client:
        await client.try_send(request.wire())
        return await client.reply(head_only=head_only)


@dataclass
class World:
    """A store, a database that is set up, and the gateways that were started over both."""

    store: Backend
    dsn: str
    directory: Path
    kek: str
    token: str = field(repr=False)
    backend_bucket: str = ""
    gateways: list[GatewayProcess] = field(default_factory=list)

    def launch(self, **settings: object) -> GatewayProcess:
        """Start a gateway and do not wait for it. `settings` are named section__key and go over the usual ones."""
        usual: dict[str, object] = {
            "backend__endpoint": self.store.endpoint,
            "backend__region": self.store.region,
            "backend__access_key_id": self.store.access_key,
            "backend__secret_access_key": self.store.secret_key,
            "database__url": self.dsn,
            "keys__kek": self.kek,
        }
        gateway = GatewayProcess(self.directory / f"gateway-{len(self.gateways)}.log", usual | settings)
        self.gateways.append(gateway)
        return gateway

    def start(self, **settings: object) -> GatewayProcess:
        """Start a gateway and wait until it serves."""
        gateway = self.launch(**settings)
        gateway.started()
        return gateway

    async def new_key(self, gateway: GatewayProcess, **more: object) -> Key:
        """Make a key for every bucket over a gateway's operator API; `more` are fields of the body."""
        body = {"tenant": TENANT, "access": "all_buckets", **more}
        status, made = await gateway.operate(self.token, "POST", "/keys", body)
        assert status == 201, made
        return Key(made["access_key_id"], made["secret_access_key"])

    # --- the store itself, asked with its administrator's key ---------------------------------------------

    async def direct(self, method: str, key: str = "", query: str = "", body: bytes = b"") -> Reply:
        """Ask the store for an object of the bucket, or for the bucket; the gateways know nothing of it."""
        host = self.store.endpoint.partition("://")[2]
        target = wire.path_of(self.backend_bucket, key) + (f"?{query}" if query else "")
        request = Request(method, target, [("Host", host)], body)
        if method in ("PUT", "POST"):
            request.add("Content-Length", str(len(body)))
        admin = Key(self.store.access_key, self.store.secret_key)
        wire.sign(admin, request, when=datetime.now(UTC), region=self.store.region)
        return await send(int(host.partition(":")[2]), request)

    async def put(self, key: str, body: bytes) -> None:
        """Store an object behind the gateways' back."""
        reply = await self.direct("PUT", key, body=body)
        assert reply.status == 200, str(reply)

    async def stored(self, key: str) -> bytes | None:
        """The object as the store has it, or None."""
        reply = await self.direct("GET", key)
        assert reply.status in (200, 404), str(reply)
        return reply.body if reply.status == 200 else None

    async def parts(self, key: str, upload_id: str) -> list[int]:
        """The numbers of the parts that the store holds of an upload."""
        reply = await self.direct("GET", key, f"uploadId={upload_id}")
        assert reply.status == 200, str(reply)
        return [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", reply.body)]


@contextmanager
def open_world(store: Backend, dsn: str, directory: Path) -> Iterator[World]:
    """Set up an empty database and a bucket of the store's; stop every gateway at the end."""
    kek = new_kek()
    bucket = f"backend-{BUCKET}-{secrets.token_hex(4)}"
    world = World(store, dsn, directory, kek, asyncio.run(_set_up(dsn, kek, bucket)), bucket)
    made = asyncio.run(world.direct("PUT"))
    assert made.status == 200, str(made)
    try:
        yield world
    finally:
        for gateway in world.gateways:
            gateway.stop()


async def _set_up(dsn: str, kek: str, backend_bucket: str) -> str:
    """Tenant, bucket and operator token; returns the token."""
    await migrate(dsn)
    store = await open_store(dsn, parse_kek(kek), replica_name="set-up")
    try:
        tenant = await store.admin.create_tenant(TENANT)
        await store.admin.add_bucket(tenant.id, BUCKET, backend_bucket)
        return await store.admin.create_token(name="tests", actor="test")
    finally:
        await store.close()
