"""`bucketwarden demo`, which is what `make run` runs: a whole installation in one directory.

An embedded Postgres, an embedded store, a bucket, a key and an operator token in front of it. The first start makes
them; later ones find them again. What a client needs to know lies in DIRECTORY/demo.env, to be sourced by a shell.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import click
from pydantic import SecretStr

from gateway.app import serve_forever
from gateway.backend_admin import BotoBuckets
from gateway.config import Config
from gateway.credentials import BackendCredential
from gateway.embedded.child import EmbeddedError, end_with_parent
from gateway.embedded.files import write_private
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.store import EmbeddedStore
from gateway.kek import load_kek
from gateway.naming import DEFAULT_TENANT
from keystore.migrate import migrate
from keystore.model import Access, Conflict, KeyStatus, Permission
from keystore.protocols import KeyAdmin
from keystore.store import Store, open_store

BUCKET = "demo"
ACTOR = "demo"


@dataclass(frozen=True, slots=True, repr=False)
class DemoKey:
    """An access key with its secret, and an operator token. Has no repr: both would be in it."""

    access_key_id: str
    secret: str
    token: str

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The key that an earlier start wrote to the file; None if there is none, or not all of it."""
        if not path.exists():
            return None
        found = dict(word.partition("=")[::2] for word in shlex.split(path.read_text(encoding="utf-8"), comments=True))
        try:
            return cls(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], found["BUCKETWARDEN_TOKEN"])
        except KeyError:
            return None

    def write(self, path: Path, config: Config) -> None:
        """Write what a client needs as shell assignments, mode 0600."""
        values = {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": config.s3.endpoint_url,
            "AWS_DEFAULT_REGION": config.s3.region,
            "BUCKETWARDEN_BUCKET": BUCKET,
            "BUCKETWARDEN_URL": f"http://{config.operator.listen.reachable}",
            "BUCKETWARDEN_TOKEN": self.token,
            "BUCKETWARDEN_METRICS_URL": f"http://{config.metrics.listen.reachable}/metrics",
        }
        write_private(path, "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))


def run_demo(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. `config` gives the listeners and the directory; backend and database are ours.

    Raises:
        EmbeddedError: a port is taken, or a service cannot be started.
        StartError, KeyStoreError: as `gateway.app.run`.
    """
    if "MAKELEVEL" in os.environ:
        # Started by make: who kills that means us.
        end_with_parent()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        # Another account's, or demo.env itself: a profile named there would be looked for, and may not exist.
        del os.environ[name]
    check_ports(config)
    directory = config.embedded.directory
    env_file = directory / "demo.env"
    click.echo("Starting Postgres ...")
    with EmbeddedPostgres(directory) as postgres:
        click.echo("Starting the store (SeaweedFS) ...")
        with EmbeddedStore(directory) as store:
            config = in_front_of(config, store.endpoint, store.access_key, store.secret_key)
            key = asyncio.run(_prepare(config, postgres.dsn, env_file))

            async def announce() -> None:
                click.echo(_guide(config, env_file, key))

            asyncio.run(serve_forever(config, postgres.dsn, announce))
            click.echo("Stopping ...")


def in_front_of(config: Config, endpoint: str, access_key: str, secret_key: str, region: str = "us-east-1") -> Config:
    """The same configuration with this store behind it."""
    changes = {
        "endpoint": endpoint,
        "region": region,
        "access_key_id": access_key,
        "secret_access_key": SecretStr(secret_key),
        "session_token": None,
        "profile": None,
    }
    return config.model_copy(update={"backend": config.backend.model_copy(update=changes)})


def check_ports(config: Config) -> None:
    """Tell about a taken port before anything is started. Raises EmbeddedError naming it and the way out."""
    for name, listen in (
        ("S3", config.s3.listen),
        ("OPERATOR", config.operator.listen),
        ("METRICS", config.metrics.listen),
    ):
        with socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((listen.host, listen.port))
            except OSError as error:
                raise EmbeddedError(
                    f"cannot listen on {listen}: {error.strerror}; stop what uses port {listen.port}, or choose "
                    f"another: BUCKETWARDEN_{name}__LISTEN={listen.host}:PORT"
                ) from None


async def open_key_store(config: Config, dsn: str) -> Store:
    """The key store of this configuration, for a process that prepares it and does not serve."""
    return await open_store(
        dsn,
        load_kek(config),
        replica_name=f"{ACTOR} on {socket.gethostname()}",
        prefix=config.keys.prefix,
        max_stale=config.keys.max_stale,
        heartbeat=config.keys.heartbeat,
    )


async def add_bucket(config: Config, admin: KeyAdmin, tenant: str, name: str, backend_name: str) -> None:
    """Make sure that the store has the bucket and that the tenant has it under `name`."""
    credential = await BackendCredential.find(config.backend)
    await BotoBuckets(config.backend, credential).create(backend_name)
    with suppress(Conflict):  # an earlier start recorded it
        await admin.add_bucket((await admin.get_tenant(tenant)).id, name, backend_name)


async def _prepare(config: Config, dsn: str, env_file: Path) -> DemoKey:
    await migrate(dsn)
    store = await open_key_store(config, dsn)
    try:
        await add_bucket(config, store.admin, DEFAULT_TENANT, BUCKET, BUCKET)
        key = DemoKey.read(env_file)
        if key is None or not await _is_valid(key, store):
            key = await _make_key(store.admin)
        key.write(env_file, config)
        return key
    finally:
        await store.close()


async def _is_valid(key: DemoKey, store: Store) -> bool:
    found = await store.reader.find_key(key.access_key_id)
    return (
        found is not None
        and found.status(datetime.now(UTC)) is KeyStatus.ACTIVE
        and await store.admin.find_token(key.token) is not None
    )


async def _make_key(admin: KeyAdmin) -> DemoKey:
    info, secret = await admin.create_key(
        tenant=DEFAULT_TENANT,
        access=Access.ALL_BUCKETS,
        permission=Permission.READ_WRITE,
        grants=(),
        label="demo",
        expires_at=None,
        actor=ACTOR,
    )
    # Names of tokens are unique, and an earlier demo.env that was lost had one too.
    token = await admin.create_token(name=f"demo {info.access_key_id}", actor=ACTOR)
    return DemoKey(info.access_key_id, secret.reveal(), token)


def _guide(config: Config, env_file: Path, key: DemoKey) -> str:
    """What to paste into another terminal."""
    endpoint, region = config.s3.endpoint_url, config.s3.region
    python = Path(sys.executable)
    aws = python.with_name("aws") if python.with_name("aws").exists() else "aws"
    return f"""
Bucketwarden serves.

  endpoint  {endpoint}
  region    {region}
  bucket    {BUCKET}
  key       {key.access_key_id} (its secret is in {env_file})

In another terminal, in this directory:

  set -a; . {env_file}; set +a

  {aws} s3 cp Makefile s3://{BUCKET}/
  {aws} s3 ls s3://{BUCKET}/
  {python} -c 'import boto3; print(boto3.client("s3").list_objects_v2(Bucket="{BUCKET}")["KeyCount"])'
  rclone ls ':s3,provider=Other,env_auth,region={region},endpoint="{endpoint}":{BUCKET}'
  {python.with_name("bucketwarden")} keys list
  curl $BUCKETWARDEN_METRICS_URL

Ctrl-C ends everything; what was stored stays in {config.embedded.directory}.
"""
