"""The listener under TLS: the same answers, and a client that vanishes without saying so."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import wire
from tests.gateway.harness import KA, Gateway, open_gateway
from tests.gateway.threats.judging import nothing_open


@pytest.fixture(scope="module")
def server_context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A context with a certificate of its own for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.fixture
async def secure(server_context: ssl.SSLContext) -> AsyncIterator[Gateway]:
    async with open_gateway(tls=server_context) as running:
        yield running


async def connect(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context)


async def status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(wire.PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
    return int(head.split(b" ")[1])


@pytest.mark.parametrize("mode", wire.MODES)
@pytest.mark.parametrize("size", [100, 300_000])
async def test_every_mode_over_tls(secure: Gateway, mode: str, size: int) -> None:
    request = secure.request("PUT", "/alpha/k").drop("content-length")
    request, _ = wire.upload(KA, request, mode, bytes(size))
    reader, writer = await connect(secure)
    writer.write(request.wire())
    assert await status(reader) == 200
    assert secure.backend.body_of("t1--alpha", "k") == bytes(size)
    writer.close()


@pytest.mark.parametrize("share", [0, 50, 99])
@pytest.mark.parametrize("mode", ["hex", wire.SIGNED_CHUNKS, wire.UNSIGNED_TRAILER])
async def test_str_064_the_client_vanishes_without_close_notify(secure: Gateway, mode: str, share: int) -> None:
    """No more than a lost TCP connection; nothing is committed, and upstream ends."""
    request = secure.request("PUT", "/alpha/k").drop("content-length")
    request, _ = wire.upload(KA, request, mode, bytes(1 << 20))
    _, writer = await connect(secure)
    writer.write(request.head() + request.body[: len(request.body) * share // 100])
    await writer.drain()
    await secure.traces.until_started(1)
    if share >= 50:
        await secure.backend.until(lambda: secure.backend.requests, "the upload to begin")
    writer.transport.abort()
    await secure.traces.until(1)
    await nothing_open(secure)
    assert not secure.backend.committed
    reader, writer = await connect(secure)
    writer.write(secure.signed("GET", "/alpha/control").wire())
    assert await status(reader) == 200
    writer.close()


async def test_plain_http_on_a_tls_port_is_no_answer_and_no_harm(secure: Gateway) -> None:
    async with await wire.Client.open(secure.port) as client:
        await client.send(secure.signed("GET", "/alpha/control").wire())
        with pytest.raises(wire.NoReply):
            await client.reply()
    reader, writer = await connect(secure)
    writer.write(secure.signed("GET", "/alpha/control").wire())
    assert await status(reader) == 200
    writer.close()


async def test_a_refused_upload_is_told_over_tls(secure: Gateway) -> None:
    """TLS has no half-close: the refusal has to arrive all the same."""
    request = secure.request("PUT", "/alpha/k", body=bytes(4 << 20))
    reader, writer = await connect(secure)
    writer.write(request.wire())
    assert await status(reader) == 403
    writer.transport.abort()
