"""`check-config --online`: do database and backend answer, and do our clocks agree?"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from gateway.config import Config, Problem
from keystore.migrate import pending
from keystore.model import KeyStoreError

CLOCK_LIMIT_SECONDS = 300.0
"""Stores refuse signatures 15 minutes off; past a third of that somebody should know."""


def check_online(config: Config) -> list[Problem]:
    """What does not work, as problems of the settings that lead there."""
    problems: list[Problem] = []
    if config.database.url is not None:
        problems += _check_database(config.database.url.get_secret_value())
    if config.backend.endpoint is not None:
        problems += _check_backend(config.backend.endpoint, config)
    return problems


def _check_database(dsn: str) -> list[Problem]:
    try:
        names = asyncio.run(pending(dsn))
    except KeyStoreError as error:
        return [Problem("database.url", str(error))]
    return (
        [Problem("database.url", f"`bucketwarden migrate` has to apply {', '.join(names)}")] if names else []
    )


def _check_backend(endpoint: str, config: Config) -> list[Problem]:
    """Any answer will do, also a refusal: this asks whether the way is open, with the checks of serving."""
    url = urlsplit(endpoint)
    host, port, limit = url.hostname or "", url.port, config.backend.connect_timeout
    if url.scheme == "https":
        try:
            context = ssl.create_default_context(cafile=config.backend.ca_file)
        except OSError as error:
            return [Problem("backend.ca_file", f"cannot be used: {error}")]
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=limit, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=limit)
    try:
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
    except (OSError, http.client.HTTPException) as error:
        return [Problem("backend.endpoint", f"does not answer: {error}")]
    finally:
        connection.close()
    return _check_clock(date)


def _check_clock(date: str | None) -> list[Problem]:
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return []  # a store that does not tell the time is no fault
    seconds = abs((datetime.now(UTC) - theirs).total_seconds())
    if seconds < CLOCK_LIMIT_SECONDS:
        return []
    return [Problem("backend.endpoint", f"its clock and ours differ by {seconds:.0f} seconds")]
