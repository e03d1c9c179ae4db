"""Opening the key store: checks first, then both doors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
import structlog

from keystore import ident
from keystore.admin import PostgresAdmin
from keystore.cache import KeyCache
from keystore.changes import Settlement
from keystore.connections import HeldConnections, Link, Timelines, answering, hosts_of
from keystore.listener import Lease, Listener, Silent
from keystore.lookups import LookUps
from keystore.migrate import pending
from keystore.model import Invalid, KeyStoreError
from keystore.protocols import KeyAdmin, KeyReader
from keystore.replicas import Roster
from keystore.sealing import SealBroken, Sealed, Sealer
from keystore.stats import CacheStats

_log = structlog.get_logger()

_LOOK_UP_CONNECTIONS = 4
_ADMIN_CONNECTIONS = 2

_PLANT_CANARY = """
    INSERT INTO canary (seal_version, wrap_nonce, wrapped_key, seal_nonce, sealed_value)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
_CANARY = "SELECT seal_version, wrap_nonce, wrapped_key, seal_nonce, sealed_value FROM canary"
_ANY_KEY = "SELECT EXISTS (SELECT FROM access_keys)"
_REPLICATION = """
    SELECT current_setting('synchronous_standby_names') AS standby_names,
           current_setting('synchronous_commit') AS commit_mode,
           (SELECT count(*) FROM pg_stat_replication) AS standbys
"""


class StartRefused(KeyStoreError):
    """The key store must not run like this; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open key store. `close` it at the end."""

    reader: KeyReader
    admin: KeyAdmin
    stats: CacheStats
    _lease: Lease
    _listener: Listener
    _connections: tuple[HeldConnections, ...]

    def ready(self) -> list[str]:
        """Why this process should not get new requests, one sentence each; empty when it is ready."""
        reasons = []
        if not self.stats.connected:
            reasons.append("key store: not listening to the database")
        if not self._lease.held():
            reasons.append("key store: the cache is past its lease, every look-up asks the database")
        return reasons

    async def close(self) -> None:
        """Stop answering, tell the other processes not to wait for this one, disconnect. Never raises."""
        await self._listener.close()
        for connections in self._connections:
            connections.close()


async def open_store(
    dsn: str,
    kek: bytes,
    *,
    replica_name: str,
    prefix: str = ident.DEFAULT_PREFIX,
    max_stale: float = 5.0,
    heartbeat: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
) -> Store:
    """Open the key store at `dsn` (a `postgresql://` URL, several hosts allowed) with a KEK of 32 bytes.

    `max_stale` seconds is the longest that a revoked key can live on where its revocation was not
    acknowledged; `heartbeat` seconds pass between two proofs of being current; `replica_name` is what
    operators read when this process lags; `clock` is monotonic, in seconds.

    Raises `StartRefused`, `SchemaMismatch`, `Invalid` and `KeyStoreUnavailable`.
    """
    ident.check_prefix(prefix)
    if not 0 < heartbeat <= max_stale / 2:
        raise Invalid("heartbeat: must be above 0 and at most half of max_stale")
    sealer = Sealer(kek)
    missing = await pending(dsn)
    if missing:
        raise StartRefused(f"the database lacks {len(missing)} migration(s): run `bucketwarden migrate` first")

    timelines = Timelines()
    look_up_connections = HeldConnections(dsn, _LOOK_UP_CONNECTIONS, timelines)
    admin_connections = HeldConnections(dsn, _ADMIN_CONNECTIONS, timelines)
    stats = CacheStats()
    lease = Lease(clock)
    roster = Roster()
    cache = KeyCache(LookUps(look_up_connections, sealer), lease, stats)
    listener = Listener(
        dsn,
        name=replica_name,
        max_stale=max_stale,
        heartbeat=heartbeat,
        lease=lease,
        timelines=timelines,
        roster=roster,
        sink=cache,
        stats=stats,
    )
    settlement = Settlement(admin_connections, roster, max_stale, clock, stats)
    admin = PostgresAdmin(admin_connections, sealer, settlement, prefix=prefix)
    store = Store(cache, admin, stats, lease, listener, (look_up_connections, admin_connections))
    try:
        async with answering("start"):
            await admin_connections.run(lambda link: _check(link, sealer, several_hosts=len(hosts_of(dsn)) > 1))
        await listener.start()
    except BaseException as error:
        await store.close()
        if isinstance(error, Silent):
            raise StartRefused(
                "the database accepts LISTEN but does not deliver notifications, as PgBouncer does in "
                "transaction mode: connect to Postgres directly, or through a pool in session mode"
            ) from error
        raise
    return store


async def _check(link: Link, sealer: Sealer, *, several_hosts: bool) -> None:
    await _check_canary(link.connection, sealer)
    await _warn_of_lossy_replication(link.connection, several_hosts=several_hosts)


async def _check_canary(connection: asyncpg.Connection, sealer: Sealer) -> None:
    """Refuse a key-encryption key that did not seal this database; the first start ever plants the canary."""
    row = await connection.fetchrow(_CANARY)
    if row is None:
        if await connection.fetchval(_ANY_KEY):
            raise StartRefused("the database has keys but no canary row: it was altered, restore it from a backup")
        planted = sealer.seal_canary()
        await connection.execute(
            _PLANT_CANARY,
            planted.version,
            planted.wrap_nonce,
            planted.wrapped_key,
            planted.nonce,
            planted.ciphertext,
        )
        # Read back: of two first starts at once, one plants and the other must fit.
        row = await connection.fetchrow(_CANARY)
    try:
        sealer.open_canary(Sealed(*row))
    except SealBroken:
        raise StartRefused(
            "the key-encryption key is not the one this database was sealed with: no stored secret would open"
        ) from None


async def _warn_of_lossy_replication(connection: asyncpg.Connection, *, several_hosts: bool) -> None:
    """Say what a failover can lose: an acknowledged revocation, under asynchronous replication (F4)."""
    row = await connection.fetchrow(_REPLICATION)
    if row["commit_mode"] in ("off", "local"):
        _log.warning(
            "keystore_commits_not_safe",
            synchronous_commit=row["commit_mode"],
            consequence="an acknowledged revocation can be lost when the database crashes or fails over",
        )
    if (row["standbys"] or several_hosts) and not row["standby_names"]:
        _log.warning(
            "keystore_replication_asynchronous",
            consequence="an acknowledged revocation can be lost when the database fails over",
            cure="set synchronous_standby_names (Patroni: synchronous_mode)",
        )
