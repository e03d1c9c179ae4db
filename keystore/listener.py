"""One process's ear: hears of changes, proves once a second that it hears, and acknowledges.

    connect, LISTEN, enter the list of replicas    from here on nothing is missed
    drop the whole cache, catch up                 what was missed before is dropped unseen
    heartbeat                                      UPDATE own row + NOTIFY in one transaction
    hear it come back                              every change committed before it was heard: lease renewed

The lease runs `max_stale` seconds from the moment the heartbeat was *sent*. Whoever changes something waits
until each process has acknowledged it or can no longer have a lease; that is the whole proof (F6, F9).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from typing import Protocol
from uuid import UUID, uuid4

import asyncpg
import structlog

from keystore import changes, replicas
from keystore.changes import Change
from keystore.connections import CALL_LIMIT, Link, Timelines, answering, open_link
from keystore.model import KeyStoreUnavailable
from keystore.replicas import CHANGES_CHANNEL, REPLICAS_CHANNEL, Roster
from keystore.stats import CacheStats

_log = structlog.get_logger()

_NEVER = float("-inf")
_FIRST_PAUSE = 0.05  # seconds before the first attempt to reconnect; doubled up to the longest
_LONGEST_PAUSE = 1.0
_LOG_EVERY = 10.0  # seconds between log lines about the same outage
_SWEEP_EVERY = 30.0  # seconds between looks for rows of dead processes
_DEAD_AFTER_LEASES = 10.0


class Silent(KeyStoreUnavailable):
    """The server takes our notifications but does not deliver them."""


class Lease:
    """Until when answers may come from the cache; `until` is in seconds of the clock given."""

    __slots__ = ("clock", "until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.until = _NEVER

    def held(self) -> bool:
        """Whether the cache may answer now."""
        return self.clock() < self.until


class Sink(Protocol):
    """Who is told of changes. Must not raise: it runs inside the driver's callbacks."""

    def apply(self, change: Change) -> None:
        """Forget what this change made untrue."""

    def drop_everything(self) -> None:
        """Forget everything: changes may have been missed."""

    def on_timeline(self, timeline: int) -> None:
        """The listening connection now speaks to a server on this timeline."""


class Listener:
    """Keeps a listening session alive for ever; `start` opens the first one."""

    def __init__(
        self,
        dsn: str,
        *,
        name: str,
        max_stale: float,
        heartbeat: float,
        lease: Lease,
        timelines: Timelines,
        roster: Roster,
        sink: Sink,
        stats: CacheStats,
    ) -> None:
        self._dsn = dsn
        self._id: UUID = uuid4()
        self._name = name
        self._max_stale = max_stale
        self._period = heartbeat
        self._lease = lease
        self._clock = lease.clock
        self._timelines = timelines
        self._roster = roster
        self._sink = sink
        self._stats = stats
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: asyncpg.Connection | None = None
        self._lost_because = ""
        self._applied: int | None = None  # None while catching up
        self._last_applied: int | None = None
        self._early: list[Change] = []
        self._beat = 0
        self._sent_at = _NEVER
        self._echo = asyncio.Event()
        self._wake = asyncio.Event()
        self._next_sweep = _NEVER
        self._log_after = _NEVER

    async def start(self) -> None:
        """Return with the lease held. Raises `KeyStoreUnavailable`; `Silent` where LISTEN does not work."""
        self._task = asyncio.create_task(self._run(), name="keystore-listener")
        await asyncio.shield(self._ready)

    async def close(self) -> None:
        """Stop answering from the cache, leave the list of replicas, disconnect. Never raises."""
        self._lease.until = _NEVER
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(KeyStoreUnavailable):
            async with answering("leaving"):
                link = await open_link(self._dsn)
                try:
                    await replicas.leave(link.connection, self._id)
                finally:
                    link.connection.terminate()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            began = self._clock()
            try:
                await self._session()
            except KeyStoreUnavailable as error:
                self._stats.db_errors += 1
                if not self._ready.done():
                    self._ready.set_exception(error)
                    return
                self._complain(error)
            # A session that lasted was a good one: its successor is tried at once.
            pause = _FIRST_PAUSE if self._clock() - began > self._max_stale else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnections

    def _complain(self, error: KeyStoreUnavailable) -> None:
        if self._clock() >= self._log_after:
            self._log_after = self._clock() + _LOG_EVERY
            _log.warning("keystore_listener_lost", reason=str(error))

    async def _session(self) -> None:
        """One listening connection, from its opening to its loss. Always ends in an exception."""
        async with answering("listening"):
            link = await open_link(self._dsn)
            self._timelines.admit(link)
        self._connection = link.connection
        self._lost_because = "the listening connection was closed"
        try:
            async with answering("listening"):
                await self._enter(link)
            while True:
                await self._send_beat(link)
                if self._clock() >= self._next_sweep:
                    await self._sweep(link.connection)
                await self._sleep_until_wanted()
                if link.connection.is_closed():
                    raise KeyStoreUnavailable(self._lost_because)
        finally:
            self._stats.connected = 0
            self._applied = None
            link.connection.terminate()

    async def _enter(self, link: Link) -> None:
        connection = link.connection
        self._wake.clear()
        self._early.clear()
        connection.add_termination_listener(lambda _: self._stir())
        await connection.add_listener(CHANGES_CHANNEL, self._on_change)
        await connection.add_listener(REPLICAS_CHANNEL, self._on_replica)
        await replicas.join(connection, self._id, self._name, self._beat, self._max_stale)
        number = await changes.last_number(connection)
        missed: list[Change] = []
        if self._last_applied is not None:
            missed = await changes.since(connection, self._last_applied)
        # From here to the end nothing is awaited: no notification can slip in between.
        self._sink.on_timeline(link.timeline)
        self._sink.drop_everything()
        self._stats.cache_drops += 1
        for change in missed:
            self._sink.apply(change)
        self._applied = self._last_applied = max([number, *(change.number for change in missed)])
        for change in self._early:
            self._apply(change)

    async def _send_beat(self, link: Link) -> None:
        """Send a heartbeat and hear it; raises `KeyStoreUnavailable` if either exceeds `CALL_LIMIT`."""
        applied = self._applied
        if applied is None:
            raise KeyStoreUnavailable(self._lost_because)
        self._beat += 1
        self._echo.clear()
        self._sent_at = self._clock()
        async with answering("heartbeat"):
            listed = await replicas.send_beat(link.connection, self._id, self._beat, applied)
        if not listed:
            raise KeyStoreUnavailable("this process was removed from the list of replicas")
        try:
            async with asyncio.timeout(CALL_LIMIT):
                await self._echo.wait()
        except TimeoutError:
            raise Silent("notifications are not delivered on the listening connection") from None
        if link.unreplicated:
            raise KeyStoreUnavailable("a heartbeat was not confirmed by the standby")
        if self._applied is None or link.connection.is_closed():
            raise KeyStoreUnavailable(self._lost_because)
        self._lease.until = self._sent_at + self._max_stale
        self._stats.connected = 1
        self._stats.last_event_unix = time.time()
        if not self._ready.done():
            self._ready.set_result(None)

    async def _sleep_until_wanted(self) -> None:
        """Until the next heartbeat is due, or a change is to be acknowledged, or the connection is lost."""
        try:
            async with asyncio.timeout(self._period):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _sweep(self, connection: asyncpg.Connection) -> None:
        """Remove rows of processes that died long ago, so that nobody waits for them."""
        self._next_sweep = self._clock() + _SWEEP_EVERY
        async with answering("sweep"):
            rows = await replicas.listed(connection)
            for row in rows:
                silent_for = self._clock() - self._roster.note(row.id, row.beat, self._clock())
                if silent_for > _DEAD_AFTER_LEASES * row.lease_seconds:
                    await replicas.forget(connection, row)
        self._roster.forget_all_but(rows)

    def _on_change(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            change = changes.parse(str(payload))
        except ValueError:
            self._lose("a notification that is no change")
            return
        if self._applied is None:
            self._early.append(change)
        else:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        if self._applied is None or change.number <= self._applied:
            return
        if change.number != self._applied + 1:
            self._lose(f"changes between {self._applied} and {change.number} were not heard")
            return
        self._sink.apply(change)
        self._stats.changes_seen += 1
        self._applied = self._last_applied = change.number
        self._wake.set()

    def _on_replica(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            fields = json.loads(str(payload))
            replica_id, beat = UUID(fields["replica"]), int(fields["beat"])
        except (ValueError, KeyError, TypeError, AttributeError):
            self._lose("a notification that is no heartbeat")
            return
        self._roster.note(replica_id, beat, self._clock())
        if replica_id == self._id and beat == self._beat:
            self._echo.set()

    def _lose(self, reason: str) -> None:
        """Trust nothing any more and start over; safe to call from the driver's callbacks."""
        self._lease.until = _NEVER
        self._lost_because = reason
        self._applied = None
        if self._connection is not None:
            self._connection.terminate()
        self._stir()

    def _stir(self) -> None:
        """Let the session notice at once that its connection is gone."""
        self._echo.set()
        self._wake.set()
