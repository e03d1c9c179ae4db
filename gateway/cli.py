"""The command line: one group, and each command in `gateway.commands`."""

from __future__ import annotations

import sys

import click
import structlog

from gateway import __version__
from gateway.commands.buckets import buckets, tenants, whoami
from gateway.commands.keys import keys
from gateway.commands.service import bootstrap, check_config, demo, generate_kek, migrate, serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bucketwarden")
def main() -> None:
    """A SigV4 authentication gateway in front of an S3 store.

    serve, demo, migrate, bootstrap and check-config read the configuration: --config FILE and environment
    variables BUCKETWARDEN_SECTION__KEY. keys, buckets, tenants and whoami talk to a running gateway:
    BUCKETWARDEN_URL, BUCKETWARDEN_TOKEN.
    """
    # What a command prints is its result; what the key store logs meanwhile is not. `serve` sets its own log.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


for command in (serve, check_config, migrate, bootstrap, generate_kek, demo, keys, buckets, tenants, whoami):
    main.add_command(command)
