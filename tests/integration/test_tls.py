"""TLS on both sides: the S3 listener with a certificate, and a store behind that has to prove who it is."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests import wire
from tests.clients.gateways import Authority
from tests.gateways import BUCKET, GatewayProcess, World
from tests.recorder import Recorder
from tests.waiting import until_true
from tests.wire import MODES, Key, Reply, Request

BODY = random.Random(6).randbytes(3 << 20)  # noqa: S311 - test data


async def send_tls(port: int, request: Request, context: ssl.SSLContext) -> Reply:
    """Send over TLS on a connection of its own and return the answer, which states its length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        async with asyncio.timeout(10):
            writer.write(request.wire())
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            reply = Reply(int(first.split(" ")[1]), headers, raw_head=head)
            reply.body = await reader.readexactly(int(reply.get("content-length") or 0))
            return reply
    finally:
        writer.transport.abort()


# --- the S3 listener ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(world: World, authority: Authority) -> GatewayProcess:
    """Serves S3 over TLS."""
    return world.start(s3__tls_certificate=authority.certificate, s3__tls_private_key=authority.private_key)


@pytest.fixture(scope="module")
def key(world: World, gateway: GatewayProcess) -> Key:
    return asyncio.run(world.new_key(gateway))


def put(gateway: GatewayProcess, key: Key, mode: str, name: str) -> Request:
    request = gateway.request("PUT", f"/{BUCKET}/{name}").drop("content-length")
    return wire.upload(key, request, mode, BODY, when=datetime.now(UTC))[0]


@pytest.mark.parametrize("mode", MODES)
async def test_every_mode_passes_over_tls(
    world: World, gateway: GatewayProcess, key: Key, authority: Authority, mode: str
) -> None:
    """There and back."""
    stored = await send_tls(gateway.s3, put(gateway, key, mode, "tls"), authority.client_context())
    assert stored.status == 200, str(stored)
    assert await world.stored("tls") == BODY
    loaded = await send_tls(gateway.s3, gateway.signed(key, "GET", f"/{BUCKET}/tls"), authority.client_context())
    assert (loaded.status, loaded.body) == (200, BODY)


@pytest.mark.parametrize("part", [0.5, 0.999])
@pytest.mark.parametrize("mode", MODES)
async def test_an_upload_that_breaks_off_under_tls_is_not_committed(
    world: World, gateway: GatewayProcess, key: Key, authority: Authority, mode: str, part: float
) -> None:
    """TLS knows no half-closed connection: the client is gone, with or without the word that says so."""
    await world.put("broken", b"old")
    request = put(gateway, key, mode, "broken")
    for properly in (False, True):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.s3, ssl=authority.client_context())
        writer.write(request.head() + request.body[: int(part * len(request.body))])
        await writer.drain()
        if properly:
            writer.close()
        else:
            writer.transport.abort()
    await until_true(lambda: gateway.metric("bucketwarden_requests_in_flight") == 0, "the uploads to end")
    assert await world.stored("broken") == b"old"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_protocols_and_plain_http_get_nowhere(gateway: GatewayProcess, authority: Authority) -> None:
    """TLS 1.1 is refused in the handshake; plain HTTP is not answered, and not logged as anything worse."""
    old = authority.client_context()
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", gateway.s3, ssl=old)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.s3)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/1." not in await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert all(line["level"] != "error" for line in gateway.lines())


def test_a_certificate_that_cannot_be_used_is_named(world: World, authority: Authority) -> None:
    """A start that fails says which setting is wrong."""
    gateway = world.launch(s3__tls_certificate=authority.bundle, s3__tls_private_key=authority.private_key)
    assert gateway.wait() != 0
    told = gateway.log.read_text()
    assert "s3.tls_certificate" in told
    assert "Traceback" not in told


# --- the store behind ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind_tls(every_world: World, authority: Authority) -> Iterator[GatewayProcess]:
    """A gateway that reaches each real store in turn over TLS, with a certificate for 127.0.0.1."""
    port = int(every_world.store.endpoint.rpartition(":")[2])
    with Recorder(port, front=authority.server_context()) as front:
        yield every_world.start(backend__endpoint=f"https://127.0.0.1:{front.port}", backend__ca_file=authority.bundle)


@pytest.mark.parametrize("mode", MODES)
async def test_a_store_behind_tls_serves_whom_it_is_known_to(
    every_world: World, behind_tls: GatewayProcess, mode: str
) -> None:
    """With `backend.ca_file` all works as over plain HTTP."""
    gateway = behind_tls
    key = await every_world.new_key(gateway)
    stored = await gateway.send(put(gateway, key, mode, "behind"))
    assert stored.status == 200, str(stored)
    assert await every_world.stored("behind") == BODY
    loaded = await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/behind"))
    assert (loaded.status, loaded.body) == (200, BODY)


@pytest.fixture
def front(world: World, authority: Authority) -> Iterator[Recorder]:
    """TLS in front of the world's store; tells what came through."""
    port = int(world.store.endpoint.rpartition(":")[2])
    with Recorder(port, front=authority.server_context()) as recorder:
        yield recorder


Setting = Callable[[World, Recorder, Authority], dict[str, object]]
IMPOSTORS: dict[str, Setting] = {
    "unknown-authority": lambda _, front, __: {"backend__endpoint": f"https://127.0.0.1:{front.port}"},
    "another-name": lambda _, front, authority: {
        "backend__endpoint": f"https://localhost:{front.port}",
        "backend__ca_file": authority.bundle,
    },
    "no-tls-at-all": lambda world, _, authority: {
        "backend__endpoint": world.store.endpoint.replace("http:", "https:"),
        "backend__ca_file": authority.bundle,
    },
}


@pytest.mark.parametrize("impostor", IMPOSTORS)
async def test_a_store_that_does_not_prove_who_it_is_sees_nothing(
    world: World, front: Recorder, authority: Authority, impostor: str
) -> None:
    """503, reason tls in metric and log; not a byte of a request, and nothing of it in the answer."""
    gateway = world.start(**IMPOSTORS[impostor](world, front, authority))
    key = await world.new_key(gateway)
    before = gateway.metric("bucketwarden_upstream_errors_total", reason="tls")
    replies = [
        await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/k")),
        await gateway.send(put(gateway, key, wire.UNSIGNED, "k")),
    ]
    for reply in replies:
        assert (reply.status, reply.code) == (503, "ServiceUnavailable"), str(reply)
        assert reply.get("retry-after")
        assert b"certificate" not in reply.body.lower()
        assert gateway.access_line(reply.get("x-amz-request-id"))["upstream_error"] == "tls"
    assert gateway.metric("bucketwarden_upstream_errors_total", reason="tls") == before + 2
    assert front.requests == []


@pytest.mark.parametrize("properly", [True, False], ids=["closed", "broken-off"])
async def test_a_download_that_ends_early_behind_tls_is_no_whole_one(
    world: World, authority: Authority, properly: bool
) -> None:
    """R6: whether the store's TLS says goodbye or not."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000))
        await writer.drain()
        await asyncio.sleep(0.1)
        if properly:
            writer.close()
        else:
            writer.transport.abort()

    server = await asyncio.start_server(half, "127.0.0.1", 0, ssl=authority.server_context())
    endpoint = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    gateway = world.launch(backend__endpoint=endpoint, backend__ca_file=authority.bundle)
    # Not `start`, which would stop this loop and with it the store.
    await until_true(lambda: gateway.readiness() == [], "the gateway to be ready", seconds=30)
    key = await world.new_key(gateway)
    reply = await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/k"))
    assert (reply.status, reply.complete) == (200, False)
    assert len(reply.body) <= 50_000
    server.close()
