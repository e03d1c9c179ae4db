"""Options that several commands share."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.commands.client import DEFAULT_URL, OperatorClient
from gateway.commands.failures import AuthenticationError

Command = TypeVar("Command", bound=Callable[..., Any])

_DURATION = re.compile(r"([1-9][0-9]{0,4})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def config_option(command: Command) -> Command:
    """`--config FILE`, also BUCKETWARDEN_CONFIG; None means environment and defaults alone."""
    return click.option(
        "--config",
        "config_path",
        envvar="BUCKETWARDEN_CONFIG",
        type=click.Path(path_type=Path),
        help="TOML file with the settings.",
    )(command)


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Hand the command an OperatorClient as its first argument.

    The token comes from the environment or a file, never from an argument: every user can read those in `ps`.
    """

    @click.option("--url", envvar="BUCKETWARDEN_URL", default=DEFAULT_URL, help="The operator API.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="File with the operator token; otherwise BUCKETWARDEN_TOKEN.",
    )
    @functools.wraps(command)
    def run(url: str, token_file: Path | None, **arguments: object) -> None:
        command(OperatorClient(url, _read_token(token_file)), **arguments)

    return run


def output_option(*forms: str) -> Callable[[Command], Command]:
    """`-o FORM`; the first one is the default."""
    return click.option("-o", "--output", type=click.Choice(forms), default=forms[0], show_default=True)


def confirmed(question: str, *, yes: bool) -> None:
    """Ask on a terminal; without one `--yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this cannot be undone: repeat it with --yes")
    click.confirm(question, abort=True, err=True)


def in_future(text: str, now: datetime) -> datetime:
    """`90d` and the like (s, m, h, d, w) from `now`. Raises click.BadParameter."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter("must be a number and s, m, h, d or w, such as 90d", param_hint="--expires-in")
    return now.astimezone(UTC) + timedelta(**{_UNITS[match[2]]: int(match[1])})


def _read_token(token_file: Path | None) -> str:
    if token_file is None:
        token = os.environ.get("BUCKETWARDEN_TOKEN", "")
    else:
        try:
            token = token_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AuthenticationError(f"{token_file} cannot be read: {type(error).__name__}") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise AuthenticationError("set BUCKETWARDEN_TOKEN or give --token-file")
    return token
