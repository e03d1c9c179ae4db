"""How a command ends (operator-surface 3.6).

0 ok, 1 failure, 2 usage, 3 authentication, 4 not found, 5 conflict; click's own usage errors are 2 as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from gateway.config import ConfigError
from gateway.embedded.child import EmbeddedError
from keystore.model import Conflict, KeyStoreError, NotFound


class CommandError(click.ClickException):
    """Ends the command; the message goes to standard error."""

    exit_code = 1


class RejectedError(CommandError):
    """The server understood the arguments and refuses them."""

    exit_code = 2


class AuthenticationError(CommandError):
    """No token, or one that is not valid."""

    exit_code = 3


class MissingError(CommandError):
    """What the command is about does not exist."""

    exit_code = 4


class ConflictError(CommandError):
    """The change does not fit the present state."""

    exit_code = 5


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn what can go wrong on this machine into one plain message and an exit code."""
    try:
        yield
    except ConfigError as error:
        lines = "".join(f"\n  {problem}" for problem in error.problems)
        raise CommandError(f"the configuration cannot be used{lines}") from None
    except NotFound as error:
        raise MissingError(str(error)) from None
    except Conflict as error:
        raise ConflictError(str(error)) from None
    except (KeyStoreError, EmbeddedError) as error:
        raise CommandError(str(error)) from None
