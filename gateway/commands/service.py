"""Commands that run on the machine of the gateway: they read its configuration, not the operator API."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gateway.commands.failures import CommandError, told_plainly
from gateway.commands.options import config_option
from gateway.config import Config, ConfigError, Problem
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.kek import load_kek
from keystore.migrate import migrate as apply_migrations
from keystore.migrate import pending
from keystore.sealing import new_kek
from keystore.store import open_store


@click.command()
@config_option
def serve(config_path: Path | None) -> None:
    """Serve S3, the operator API and metrics until SIGTERM."""
    # Here, because the other commands need nothing of what serving imports.
    from gateway.app import run

    with told_plainly(), start_told_plainly():
        config = Config.load(config_path, os.environ)
        if config.backend.endpoint is None:
            raise ConfigError([Problem("backend.endpoint", "is needed to serve: the URL of the store behind")])
        run(config)


@click.command("check-config")
@config_option
@click.option("--online", is_flag=True, help="Also ask the database and the backend.")
def check_config(config_path: Path | None, online: bool) -> None:
    """Print the effective settings, secrets as stars; or every fault, and exit 1."""
    with told_plainly():
        config = Config.load(config_path, os.environ)
    click.echo(config.describe())
    if online:
        from gateway.commands.online import check_online

        problems = check_online(config)
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise CommandError(f"the settings are well formed, but do not work{lines}")
    click.echo("The configuration is usable.", err=True)


@click.command()
@config_option
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if something is left to apply.")
def migrate(config_path: Path | None, check: bool) -> None:
    """Bring the database to this version's schema."""
    with told_plainly(), database(Config.load(config_path, os.environ)) as dsn:
        names = asyncio.run(pending(dsn) if check else apply_migrations(dsn))
    for name in names:
        click.echo(f"{'pending' if check else 'applied'} {name}")
    if not names:
        click.echo("The schema is up to date.", err=True)
    elif check:
        raise CommandError(f"{len(names)} migrations are pending")


@click.command("generate-kek")
def generate_kek() -> None:
    """Print a new key-encryption key: 32 random bytes in base64, for `keys.kek` or `keys.kek_file`."""
    click.echo(new_kek())
    click.echo("Keep a copy apart from the database: without it no access key can be opened again.", err=True)


@click.command()
@config_option
@click.option("--name", default="bootstrap", show_default=True, help="What the audit trail calls its bearer.")
def bootstrap(config_path: Path | None, name: str) -> None:
    """Print the first operator token, once. Refuses, exit 5, when there is one already.

    Works on the database itself: before the first token nobody could ask the operator API.
    """
    with told_plainly():
        config = Config.load(config_path, os.environ)
        kek = load_kek(config)
        with database(config) as dsn:
            if config.database.url is None:
                asyncio.run(apply_migrations(dsn))  # as `serve` does with its embedded database
            token = asyncio.run(_first_token(dsn, kek, config, name))
    click.echo(token)
    click.echo("The token is shown this once. `export BUCKETWARDEN_TOKEN=...` lets the commands use it.", err=True)


async def _first_token(dsn: str, kek: bytes, config: Config, name: str) -> str:
    store = await open_store(
        dsn,
        kek,
        replica_name=f"bootstrap on {socket.gethostname()}",
        max_stale=config.keys.max_stale,
        heartbeat=config.keys.heartbeat,
    )
    try:
        return await store.admin.bootstrap_token(name=name, actor="bootstrap")
    finally:
        await store.close()


@click.command()
@config_option
def demo(config_path: Path | None) -> None:
    """Run everything here: an embedded Postgres, an embedded store, a first key, and the gateway."""
    from gateway.demo import run_demo

    # DATABASE_URL belongs to whatever else is developed in this shell; the demo has a database of its own.
    environ = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with told_plainly(), start_told_plainly():
        run_demo(Config.load(config_path, environ))


@contextmanager
def start_told_plainly() -> Iterator[None]:
    """What `told_plainly` does, for the one error that only serving can raise."""
    from gateway.app import StartError

    try:
        yield
    except StartError as error:
        raise CommandError(str(error)) from None


@contextmanager
def database(config: Config) -> Iterator[str]:
    """The URL of the configured database; the embedded one is started for the while if nobody runs it."""
    if config.database.url is not None:
        yield config.database.url.get_secret_value()
        return
    postgres = EmbeddedPostgres(config.embedded.directory)
    running = postgres.attach()
    if running is not None:
        yield running
        return
    with postgres:
        yield postgres.dsn
