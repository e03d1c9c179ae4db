"""Opening and holding connections to the Postgres primary so that no fault of the network goes unnoticed.

asyncpg sets no keepalive and tries the hosts of a DSN one after the other under one time limit, so a single
host that accepts and never answers hides the healthy ones behind it (F7, F8). Hence: hosts in parallel, each
checked to be a primary; socket options of our own; an outer time limit on every call; and every error of the
driver becomes `KeyStoreUnavailable` here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from keystore.model import KeyStoreError, KeyStoreUnavailable

CALL_LIMIT = 2.0
"""Seconds that any call to the database may take, connecting included."""

_SECOND_PRIMARY_GRACE = 0.25
"""Seconds that slower hosts get to claim a higher timeline once one primary has answered (F3, F7)."""

_KEEPALIVE_SECONDS = 1
_KEEPALIVE_PROBES = 3
_USER_TIMEOUT_MS = 3000

# InternalClientError is neither a PostgresError nor an InterfaceError, and asyncpg raises it for servers that
# die at the wrong moment (F8). OSError covers TimeoutError, refused connections and failed name look-ups.
DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

# A client that dies inside a transaction must not hold the change counter's lock until the server's TCP
# stack notices, nor stop the cleaning of the notification queue (F13).
_GREETING = """
    SELECT set_config('idle_in_transaction_session_timeout', '5s', false),
           pg_is_in_recovery() AS in_recovery,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS wal_file
"""

T = TypeVar("T")


@contextlib.asynccontextmanager
async def answering(what: str, limit: float = CALL_LIMIT) -> AsyncIterator[None]:
    """Bound a call to the database by `limit` seconds; its errors come out as `KeyStoreUnavailable`."""
    try:
        async with asyncio.timeout(limit):
            yield
    except DATABASE_ERRORS as error:
        raise KeyStoreUnavailable(f"{what}: the database did not answer ({type(error).__name__})") from error


class Link:
    """An open connection to a server that is a primary, and the timeline that server writes.

    `unreplicated` becomes true when the server warned that a commit was not confirmed by its standby. asyncpg
    reports such a commit as a success, only this warning tells (F5).
    """

    __slots__ = ("connection", "timeline", "unreplicated")

    def __init__(self, connection: asyncpg.Connection, timeline: int) -> None:
        self.connection = connection
        self.timeline = timeline
        self.unreplicated = False
        connection.add_log_listener(self._on_log)

    def _on_log(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        # None of our statements gives another warning; the text itself depends on the server's language.
        if message.severity_en == "WARNING":
            self.unreplicated = True


class _NotPrimaryError(OSError):
    """The server answers but is a standby."""


async def open_link(dsn: str) -> Link:
    """Connect to the primary among the hosts of `dsn`; of several, to the one with the highest timeline.

    Raises one of `DATABASE_ERRORS`; takes no longer than `CALL_LIMIT`.
    """
    attempts = [asyncio.create_task(_open_one(dsn, host, port)) for host, port in hosts_of(dsn)]
    chosen: Link | None = None
    try:
        waiting = set(attempts)
        patience = CALL_LIMIT
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            if any(attempt.exception() is None for attempt in done):
                patience = _SECOND_PRIMARY_GRACE
        links = [attempt.result() for attempt in attempts if attempt.done() and attempt.exception() is None]
        if not links:
            raise _reason(attempts)
        chosen = max(links, key=lambda link: link.timeline)
        return chosen
    finally:
        for attempt in attempts:
            attempt.cancel()
        for outcome in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(outcome, Link) and outcome is not chosen:
                outcome.connection.terminate()


def hosts_of(dsn: str) -> list[tuple[str, int]]:
    """The (host, port) pairs of a `postgresql://` DSN: `h1:p1,h2:p2` or `?host=...&port=...`, as in libpq.

    A host that starts with `/` is the directory of a Unix socket. Raises `ValueError` for a port that is no
    number.
    """
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    listed = parts.netloc.rpartition("@")[2] or query.get("host", [""])[-1] or os.environ.get("PGHOST", "")
    ports = [int(port) for port in query.get("port", [os.environ.get("PGPORT", "5432")])[-1].split(",")]
    hosts = []
    for index, entry in enumerate((listed or "localhost").split(",")):
        host, port = _split_port(unquote(entry))
        hosts.append((host, port or ports[index if len(ports) > 1 else 0]))
    return hosts


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("/"):
        return entry, None
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, int(rest[1:]) if rest else None
    host, _, port = entry.partition(":")
    return host, int(port) if port else None


async def _open_one(dsn: str, host: str, port: int) -> Link:
    async with asyncio.timeout(CALL_LIMIT):
        connection = await asyncpg.connect(
            dsn,
            host=host,
            port=port,
            timeout=CALL_LIMIT,
            server_settings={"application_name": "bucketwarden"},
        )
        try:
            _watch_the_wire(connection)
            greeting = await connection.fetchrow(_GREETING)
            if greeting["in_recovery"]:
                raise _NotPrimaryError(f"{host} is a standby")
            # The first 8 hex digits of the WAL file's name: pg_control_checkpoint() lags after a promotion.
            return Link(connection, int(greeting["wal_file"][:8], 16))
        except BaseException:
            connection.terminate()
            raise


def _watch_the_wire(connection: asyncpg.Connection) -> None:
    """Let the kernel notice a peer that went silent within seconds instead of hours (F8)."""
    wire = connection._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg has no public door to it
    if wire is None or wire.family == socket.AF_UNIX:
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    if hasattr(socket, "TCP_KEEPINTVL"):
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


def _reason(attempts: list[asyncio.Task[Link]]) -> BaseException:
    """The most telling of several failures: any other before 'is a standby', any before 'no answer'."""
    failures = [attempt.exception() for attempt in attempts if attempt.done() and not attempt.cancelled()]
    told = [failure for failure in failures if failure is not None]
    told.sort(key=lambda failure: (isinstance(failure, TimeoutError), isinstance(failure, _NotPrimaryError)))
    return told[0] if told else TimeoutError("no host of the database answered")


class Timelines:
    """The newest timeline that this process has met on any connection.

    A server on an older one was the primary once, and may not have noticed that it is no more (F3).
    """

    def __init__(self) -> None:
        self.newest = 0

    def admit(self, link: Link) -> None:
        """Raise the bar to this link's timeline; close the link and raise `OSError` if it is below."""
        if link.timeline < self.newest:
            link.connection.terminate()
            raise _NotPrimaryError("the only server that answers was replaced by a newer primary")
        self.newest = link.timeline


class HeldConnections:
    """A fixed number of connections, opened when first needed and kept.

    Cheaper than asyncpg's pool, whose acquire and release cost more than a look-up (F14). A connection on
    which anything went wrong is thrown away, and so is one to a server that was replaced meanwhile.
    """

    def __init__(self, dsn: str, size: int, timelines: Timelines) -> None:
        self._dsn = dsn
        self._timelines = timelines
        self._idle: asyncio.LifoQueue[Link | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._idle.put_nowait(None)
        self._open: set[Link] = set()

    def close(self) -> None:
        """Close every connection. A call that is under way fails."""
        for link in list(self._open):
            self._discard(link)

    async def run(self, work: Callable[[Link], Awaitable[T]], *, fresh: bool = False) -> T:
        """Await `work(link)` on a connection of its own; `fresh` asks for a newly opened one.

        Raises what `work` raises and `DATABASE_ERRORS`. The caller bounds it in time (`answering`).
        """
        link = await self._idle.get()
        try:
            if link is not None and (fresh or not self._usable(link)):
                self._discard(link)
                link = None
            if link is None:
                link = await self._open_one_more()
            result = await work(link)
            if link.unreplicated:
                raise asyncpg.InterfaceError("the commit was not confirmed by the standby")
            return result
        except BaseException as error:
            if link is not None and not _harmless(error, link):
                self._discard(link)
                link = None
            raise
        finally:
            self._idle.put_nowait(link)

    def _usable(self, link: Link) -> bool:
        return not link.connection.is_closed() and link.timeline >= self._timelines.newest

    async def _open_one_more(self) -> Link:
        link = await open_link(self._dsn)
        self._timelines.admit(link)
        self._open.add(link)
        return link

    def _discard(self, link: Link) -> None:
        self._open.discard(link)
        link.connection.terminate()


def _harmless(error: BaseException, link: Link) -> bool:
    """Whether the connection is as good as before: a refusal of ours or of a constraint, rolled back."""
    return (
        isinstance(error, (KeyStoreError, asyncpg.IntegrityConstraintViolationError))
        and not link.unreplicated
        and not link.connection.is_closed()
        and not link.connection.is_in_transaction()
    )
