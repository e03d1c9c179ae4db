"""The gateway processes that may be answering from a cache, as the database lists them.

Whether a replica's lease may still run is judged without comparing clocks of different machines: a replica
sends its heartbeat before the beat's number can appear anywhere, so a number first seen here at moment m of
*this* process's monotonic clock proves that the lease it renewed ends at m + lease at the latest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from keystore.rows import Row

CHANGES_CHANNEL = "bucketwarden_changes"
REPLICAS_CHANNEL = "bucketwarden_replicas"

_JOIN = """
    INSERT INTO replicas (id, name, beat, applied_change, lease_seconds) VALUES ($1, $2, $3, 0, $4)
    ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, updated_at = now()
"""
# One statement, one transaction: the commit of the UPDATE waits for the standby, and only then does Postgres
# deliver the notification. A notification alone would also work on a primary that was replaced (F6).
_BEAT = f"""
    WITH beat AS (
        UPDATE replicas SET beat = $2, applied_change = $3, updated_at = now() WHERE id = $1 RETURNING id
    )
    SELECT pg_notify('{REPLICAS_CHANNEL}', json_build_object('replica', $1::uuid, 'beat', $2::bigint)::text)
      FROM beat
"""  # noqa: S608 - joined from constants
_LEAVE = "DELETE FROM replicas WHERE id = $1"
_FORGET = "DELETE FROM replicas WHERE id = $1 AND beat = $2"
_LIST = "SELECT id, name, beat, applied_change, lease_seconds FROM replicas ORDER BY name, id"


@dataclass(frozen=True, slots=True)
class Replica:
    """One row: a gateway process, its newest heartbeat, the last change it applied, its lease in seconds."""

    id: UUID
    name: str
    beat: int
    applied_change: int
    lease_seconds: float


async def join(connection: asyncpg.Connection, replica_id: UUID, name: str, beat: int, lease: float) -> None:
    """Enter this process, before it caches anything."""
    await connection.execute(_JOIN, replica_id, name, beat, lease)


async def send_beat(connection: asyncpg.Connection, replica_id: UUID, beat: int, applied: int) -> bool:
    """Send a heartbeat that also acknowledges change `applied`; False if the row was removed meanwhile."""
    rows = await connection.fetch(_BEAT, replica_id, beat, applied)
    return bool(rows)


async def leave(connection: asyncpg.Connection, replica_id: UUID) -> None:
    """Remove this process, after it has stopped answering from its cache."""
    await connection.execute(_LEAVE, replica_id)


async def forget(connection: asyncpg.Connection, replica: Replica) -> None:
    """Remove a dead process's row, unless it has sent a heartbeat since `replica` was read."""
    await connection.execute(_FORGET, replica.id, replica.beat)


async def listed(connection: asyncpg.Connection) -> Sequence[Replica]:
    """All rows, sorted by name."""
    return [_replica_of(row) for row in await connection.fetch(_LIST)]


def _replica_of(row: Row) -> Replica:
    return Replica(row["id"], row["name"], row["beat"], row["applied_change"], row["lease_seconds"])


class Roster:
    """When each replica's newest heartbeat was first seen here, in seconds of the local monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[UUID, tuple[int, float]] = {}
        self._moved = asyncio.Event()

    def note(self, replica_id: UUID, beat: int, now: float) -> float:
        """Record that `beat` is known at `now`; the moment at which it was first seen."""
        seen = self._seen.get(replica_id)
        if seen is None or beat > seen[0]:
            seen = self._seen[replica_id] = (beat, now)
            self._moved.set()
            self._moved = asyncio.Event()
        return seen[1]

    def forget_all_but(self, replicas: Sequence[Replica]) -> None:
        """Drop what is known of replicas that are no longer listed."""
        listed_ids = {replica.id for replica in replicas}
        self._seen = {key: seen for key, seen in self._seen.items() if key in listed_ids}

    def next_move(self) -> asyncio.Event:
        """An event set at the next heartbeat of any replica."""
        return self._moved
