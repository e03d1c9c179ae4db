"""The real gateway as child processes, one on plain HTTP and one on TLS, over one database and one store."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import ssl
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import boto3
import botocore.config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.embedded.child import Child, free_ports
from keystore.migrate import migrate
from keystore.model import Access, Grant, Permission
from keystore.sealing import new_kek, parse_kek
from keystore.store import open_store
from tests.backends import Backend
from tests.recorder import Recorder, Seen

Transport = Literal["http", "https"]

ROOT = Path(__file__).parents[2]
REGION = "eu-central-1"
SUFFIX = "s3.bucketwarden.test"
"""Virtual hosts are BUCKET.SUFFIX. No resolver knows the name: clients are told that it is 127.0.0.1."""


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """`owner` reads and writes every bucket, `reader` only reads `photos`; `forged` has the owner's id, no secret."""

    owner: Key
    reader: Key

    @property
    def forged(self) -> Key:
        return Key(self.owner.id, self.owner.secret[::-1])


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of the test's own, in the forms that clients want, and a certificate of it."""

    bundle: Path
    java_trust_store: Path
    certificate: Path
    private_key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.private_key)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.bundle))


@dataclass(slots=True)
class Door:
    """How one client reaches one gateway: its URL leads through a recorder."""

    transport: Transport
    port: int
    keys: Keys
    store: Backend
    authority: Authority
    recorder: Recorder
    direct: Any
    """A boto3 client of the store itself, with the store's own credential."""
    bucket: str = "photos"
    other_bucket: str = "archive"

    @property
    def url(self) -> str:
        return f"{self.transport}://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Seen]:
        return self.recorder.requests

    def stored(self, key: str) -> Any:
        """The answer of the store itself to GetObject."""
        return self.direct.get_object(Bucket=backend_name(self.bucket), Key=key)


def backend_name(bucket: str) -> str:
    """What the store calls a bucket: another name than clients use, so that a name not rewritten shows."""
    return f"backend-{bucket}"


@dataclass(frozen=True, slots=True)
class Gateways:
    """Both gateway processes of a store."""

    store: Backend
    keys: Keys
    authority: Authority
    ports: dict[Transport, int]
    processes: dict[Transport, Child]
    direct: Any

    @contextmanager
    def door(self, transport: Transport) -> Iterator[Door]:
        """A way in that records what passes."""
        front = back = None
        if transport == "https":
            front, back = self.authority.server_context(), self.authority.client_context()
        with Recorder(self.ports[transport], front, back) as recorder:
            yield Door(transport, recorder.port, self.keys, self.store, self.authority, recorder, self.direct)


@contextmanager
def running_gateways(store: Backend, dsn: str, directory: Path, authority: Authority) -> Iterator[Gateways]:
    """Migrate the empty database, make tenant, buckets and keys, start both gateways."""
    kek = new_kek()
    direct = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name=store.region,
        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
    )
    for bucket in ("photos", "archive"):
        direct.create_bucket(Bucket=backend_name(bucket))
    keys = asyncio.run(_set_up(dsn, kek))
    ports: dict[Transport, int] = {}
    processes: dict[Transport, Child] = {}
    with ExitStack() as stack:
        for transport in ("http", "https"):
            ports[transport], processes[transport] = _start(transport, store, dsn, kek, directory, authority)
            stack.callback(processes[transport].stop)
        yield Gateways(store, keys, authority, ports, processes, direct)
    for bucket in ("photos", "archive"):
        _remove(direct, backend_name(bucket))


async def _set_up(dsn: str, kek: str) -> Keys:
    await migrate(dsn)
    store = await open_store(dsn, parse_kek(kek), replica_name="set-up")
    try:
        tenant = await store.admin.create_tenant("studio")
        for bucket in ("photos", "archive"):
            await store.admin.add_bucket(tenant.id, bucket, backend_name(bucket))

        async def key(access: Access, permission: Permission, *grants: Grant) -> Key:
            info, secret = await store.admin.create_key(
                tenant=tenant.name,
                access=access,
                permission=permission,
                grants=grants,
                label=None,
                expires_at=None,
                actor="test",
            )
            return Key(info.access_key_id, secret.reveal())

        return Keys(
            owner=await key(Access.ALL_BUCKETS, Permission.READ_WRITE),
            reader=await key(Access.BUCKETS, Permission.READ, Grant("photos", Permission.READ)),
        )
    finally:
        await store.close()


def _start(
    transport: Transport, store: Backend, dsn: str, kek: str, directory: Path, authority: Authority
) -> tuple[int, Child]:
    s3, operator, metrics = free_ports(3)
    settings = {
        "s3__listen": f"127.0.0.1:{s3}",
        "s3__region": REGION,
        "s3__virtual_host_suffixes": SUFFIX,
        "operator__listen": f"127.0.0.1:{operator}",
        "metrics__listen": f"127.0.0.1:{metrics}",
        "backend__endpoint": store.endpoint,
        "backend__region": store.region,
        "backend__access_key_id": store.access_key,
        "backend__secret_access_key": store.secret_key,
        "database__url": dsn,
        "keys__kek": kek,
    }
    if transport == "https":
        settings["s3__tls_certificate"] = str(authority.certificate)
        settings["s3__tls_private_key"] = str(authority.private_key)
    process = Child(
        [sys.executable, "-m", "gateway", "serve"],
        log=directory / f"gateway-{transport}.log",
        env={"PATH": os.environ["PATH"], **{f"BUCKETWARDEN_{name.upper()}": value for name, value in settings.items()}},
        cwd=ROOT,
    )
    process.wait_until(lambda: _answers(f"http://127.0.0.1:{metrics}/readyz"), timeout=30)
    return s3, process


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - http to ourselves
            return bool(answer.status == 200)
    except OSError:
        return False


def _remove(direct: Any, bucket: str) -> None:
    for page in direct.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            direct.delete_object(Bucket=bucket, Key=found["Key"])
    for page in direct.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            direct.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    direct.delete_bucket(Bucket=bucket)


def make_authority(directory: Path) -> Authority:
    """An authority, and a certificate for 127.0.0.1 and the virtual hosts."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Bucketwarden tests")])
    authority = (
        _certificate(name, name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    server_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    server = (
        _certificate(server_name, name, server_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                    x509.DNSName(SUFFIX),
                    x509.DNSName(f"*.{SUFFIX}"),
                ]
            ),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    made = Authority(*(directory / name for name in ("ca.pem", "ca.p12", "server.pem", "server.key")))
    made.bundle.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    made.private_key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    made.java_trust_store.write_bytes(
        pkcs12.serialize_java_truststore(
            [pkcs12.PKCS12Certificate(authority, b"bucketwarden")],
            serialization.BestAvailableEncryption(b"changeit"),
        )
    )
    return made


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
