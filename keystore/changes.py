"""Changes: how one is recorded, and how long its author waits until every gateway has seen it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import asyncpg

from keystore import replicas
from keystore.connections import HeldConnections, Link, answering
from keystore.model import KeyStoreUnavailable, Propagation
from keystore.replicas import CHANGES_CHANNEL, Replica, Roster
from keystore.stats import CacheStats

_POLL_SECONDS = 0.25  # how often rows are read again if no heartbeat is heard meanwhile
_SLACK_SECONDS = 0.1

# The UPDATE locks the only row until the commit, so numbers appear in the order they were drawn (F9).
_DRAW = "UPDATE change_counter SET number = number + $1 RETURNING number"
_RECORD = f"""
    WITH drawn AS (
        INSERT INTO changes (number, kind, target)
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[])
        RETURNING number, kind, target
    )
    SELECT pg_notify(
        '{CHANGES_CHANNEL}', json_build_object('number', number, 'kind', kind, 'target', target)::text)
      FROM drawn ORDER BY number
"""  # noqa: S608 - joined from constants
_LAST = "SELECT number FROM change_counter"
_SINCE = "SELECT number, kind, target FROM changes WHERE number > $1 ORDER BY number"


class Kind(StrEnum):
    """What a change is about: its target is an access key id, or a bucket as `bucket_target` writes it.

    `GRANTS` is a key that goes on with fewer buckets: what it has under way elsewhere is not its end.
    """

    KEY = "key"
    GRANTS = "grants"
    BUCKET = "bucket"


@dataclass(frozen=True, slots=True)
class Change:
    """One numbered change, as every gateway hears of it."""

    number: int
    kind: Kind
    target: str


def bucket_target(tenant_id: UUID, name: str) -> str:
    """How a change names a bucket."""
    return f"{tenant_id}/{name}"


def bucket_of_target(target: str) -> tuple[UUID, str]:
    """(tenant id, bucket name) from `bucket_target`'s text; raises `ValueError`."""
    tenant, _, name = target.partition("/")
    return UUID(tenant), name


def parse(payload: str) -> Change:
    """The change in a notification; raises `ValueError` for anything else."""
    try:
        fields = json.loads(payload)
        change = Change(int(fields["number"]), Kind(fields["kind"]), str(fields["target"]))
        if change.kind is Kind.BUCKET:
            bucket_of_target(change.target)
        return change
    except (KeyError, TypeError) as error:
        raise ValueError("not a change") from error


async def record(connection: asyncpg.Connection, targets: Sequence[tuple[Kind, str]]) -> int:
    """Number and announce changes; the last statement of their transaction. Returns the last number drawn.

    Last, because from here to the commit no other change in the whole database can be made.
    """
    last: int = await connection.fetchval(_DRAW, len(targets))
    numbers = list(range(last - len(targets) + 1, last + 1))
    await connection.execute(_RECORD, numbers, [kind.value for kind, _ in targets], [name for _, name in targets])
    return last


async def last_number(connection: asyncpg.Connection) -> int:
    """The number of the last committed change, 0 if there was none."""
    number: int = await connection.fetchval(_LAST)
    return number


async def since(connection: asyncpg.Connection, number: int) -> list[Change]:
    """The committed changes after `number`, in order."""
    rows = await connection.fetch(_SINCE, number)
    return [Change(row["number"], Kind(row["kind"]), row["target"]) for row in rows]


class Settlement:
    """Waits until no gateway can be answering from before a change.

    A gateway is waited for until it acknowledges, or until every lease that it may have had when the change
    was committed has run out, whichever comes first.
    """

    def __init__(
        self,
        connections: HeldConnections,
        roster: Roster,
        max_stale: float,
        clock: Callable[[], float],
        stats: CacheStats,
    ) -> None:
        self._connections = connections
        self._roster = roster
        self._max_stale = max_stale
        self._clock = clock
        self._stats = stats

    async def of(self, number: int) -> Propagation:
        """Call right after the commit of change `number`. Takes at most `max_stale` seconds and a little, or
        one `CALL_LIMIT` more where the database went silent.

        Raises `KeyStoreUnavailable` only if it never learned which gateways there are.
        """
        committed = self._clock()
        propagation = await self._settle(number, committed)
        self._stats.propagations += 1
        self._stats.propagations_lagging += bool(propagation.lagging)
        self._stats.propagation_seconds.append(self._clock() - committed)
        return propagation

    async def _settle(self, number: int, committed: float) -> Propagation:
        deadline = committed + self._max_stale + _SLACK_SECONDS
        expected: dict[UUID, tuple[Replica, float]] = {}
        lagging: dict[UUID, tuple[Replica, float]] = {}
        first = True
        while True:
            moved = self._roster.next_move()
            try:
                rows = await self._read()
            except KeyStoreUnavailable:
                if first and self._clock() >= deadline:
                    raise
            else:
                if first:
                    expected = self._expected(rows, committed)
                    first = False
                # A row that is gone belongs to a process that left, or whose lease ended long ago.
                behind = {row.id for row in rows if row.applied_change < number}
                lagging = {key: value for key, value in expected.items() if key in behind}
            now = self._clock()
            running = [until for _, until in lagging.values() if until > now]
            if not first and (not running or now >= deadline):
                return Propagation(
                    expected=len(expected),
                    acknowledged=len(expected) - len(lagging),
                    lagging=tuple(replica.name for replica, _ in lagging.values()),
                    certain_in=max(running, default=now) - now,
                )
            wait = min([_POLL_SECONDS, deadline - now, *(until - now for until in running)])
            await _until(moved, max(wait, 0.001))

    def _expected(self, rows: Sequence[Replica], committed: float) -> dict[UUID, tuple[Replica, float]]:
        """The replicas that may have held a lease at `committed`, each with the moment at which that ends."""
        expected = {}
        for row in rows:
            sent_before = min(self._roster.note(row.id, row.beat, self._clock()), committed)
            until = sent_before + row.lease_seconds
            if until > committed:
                expected[row.id] = (row, until)
        return expected

    async def _read(self) -> Sequence[Replica]:
        async def read(link: Link) -> Sequence[Replica]:
            return await replicas.listed(link.connection)

        async with answering("waiting for the gateways"):
            return await self._connections.run(read)


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
