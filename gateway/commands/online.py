"""`check-config --online`: do database and backend answer, is our credential good, do the clocks agree?"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import click

from gateway.config import BackendSection, Config, Problem
from gateway.connect import open_backend, probe
from gateway.credentials import NoCredentialError
from keystore.migrate import pending
from keystore.model import KeyStoreError

CLOCK_LIMIT_SECONDS = 300.0
"""Stores refuse signatures that are 15 minutes off; at a third of that somebody should know."""


def check_online(config: Config) -> list[Problem]:
    """What does not work, as problems of the settings that lead there."""
    problems: list[Problem] = []
    if config.database.url is not None:
        problems += _check_database(config.database.url.get_secret_value())
    if config.backend.endpoint is not None:
        problems += _check_backend(config.backend.endpoint, config.backend)
    return problems


def _check_database(dsn: str) -> list[Problem]:
    try:
        names = asyncio.run(pending(dsn))
    except KeyStoreError as error:
        return [Problem("database.url", str(error))]
    return [Problem("database.url", f"`bucketwarden migrate` has to apply {', '.join(names)}")] if names else []


def _check_backend(endpoint: str, backend: BackendSection) -> list[Problem]:
    url = urlsplit(endpoint)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=backend.connect_timeout)
    try:
        if url.scheme == "https":
            connection = http.client.HTTPSConnection(
                url.hostname or "",
                url.port,
                timeout=backend.connect_timeout,
                context=ssl.create_default_context(cafile=backend.ca_file),
            )
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
    except (OSError, http.client.HTTPException) as error:
        return [Problem("backend.endpoint", f"does not answer: {error}")]
    finally:
        connection.close()
    return _check_clock(date) + asyncio.run(_check_credential(backend))


def _check_clock(date: str | None) -> list[Problem]:
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return []  # a store that does not tell the time is no fault
    seconds = abs((datetime.now(UTC) - theirs).total_seconds())
    if seconds < CLOCK_LIMIT_SECONDS:
        return []
    return [Problem("backend.endpoint", f"its clock and ours differ by {seconds:.0f} seconds")]


async def _check_credential(backend: BackendSection) -> list[Problem]:
    try:
        connection = await open_backend(backend, lambda: datetime.now(UTC))
    except NoCredentialError as error:
        return [Problem("backend.access_key_id", str(error))]
    try:
        refusal = await probe(connection.backend, backend.upload_mode)
        traits = connection.backend.traits
    finally:
        await connection.close()
    if refusal is not None:
        return [Problem("backend.access_key_id", refusal)]
    mode = "trailer" if traits.trailers else "plain"
    click.echo(f"The backend is {traits.name}; upload mode {mode}.", err=True)
    return []
