"""The data path's door: answers from memory while it is proven to be current, else from the database.

An answer leaves here in one of two ways only: from the cache while the lease is held, or from a query that
started after the question was asked. Nothing else is ever an answer; in doubt it is `KeyStoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar
from uuid import UUID

import structlog

from keystore.changes import Change, Kind, bucket_of_target
from keystore.connections import answering
from keystore.listener import Lease
from keystore.lookups import Answer, LookUps
from keystore.model import AccessKey, Bucket, KeyStoreUnavailable
from keystore.shelf import Shelf
from keystore.stats import CacheStats

_log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_ENTRIES = 100_000
"""Answers kept of each sort (keys, buckets, lists of buckets); a key needs about 1 KiB."""


class KeyCache:
    """A `KeyReader` of one gateway process, and the `Sink` of its listener.

    Between a `find_key` that returned and the moment the caller enters its request where its watcher looks,
    nothing may be awaited: a change that arrives in between would find nothing to cut off.
    """

    def __init__(
        self,
        look_ups: LookUps,
        lease: Lease,
        stats: CacheStats,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._look_ups = look_ups
        self._lease = lease
        self._clock = lease.clock
        self._stats = stats
        self._keys: Shelf[str, AccessKey | None] = Shelf(max_entries)
        self._buckets: Shelf[tuple[UUID, str], Bucket | None] = Shelf(max_entries)
        self._lists: Shelf[UUID, tuple[Bucket, ...]] = Shelf(max_entries)
        self._timeline = 0
        self._watchers: list[Callable[[str], None]] = []

    async def find_key(self, access_key_id: str) -> AccessKey | None:
        """The key with this id, whatever its status; None when there is certainly none."""
        # Written out, not shared with the look-ups below: this is the hot path, and nothing in it awaits.
        if self._clock() < self._lease.until:
            entry = self._keys.get(access_key_id)
            if entry is not None:
                self._stats.hits += 1
                if entry.value is None:
                    self._stats.negative_hits += 1
                return entry.value
        return await self._ask(self._keys, access_key_id, lambda proven: self._look_ups.key(access_key_id, proven))

    async def find_bucket(self, tenant_id: UUID, name: str) -> Bucket | None:
        """The tenant's bucket of this name; None when there is certainly none."""
        key = (tenant_id, name)
        if self._clock() < self._lease.until:
            entry = self._buckets.get(key)
            if entry is not None:
                self._stats.hits += 1
                if entry.value is None:
                    self._stats.negative_hits += 1
                return entry.value
        return await self._ask(self._buckets, key, lambda proven: self._look_ups.bucket(tenant_id, name, proven))

    async def list_buckets(self, tenant_id: UUID) -> Sequence[Bucket]:
        """All buckets of a tenant, sorted by name."""
        if self._clock() < self._lease.until:
            entry = self._lists.get(tenant_id)
            if entry is not None:
                self._stats.hits += 1
                return entry.value
        return await self._ask(self._lists, tenant_id, lambda proven: self._look_ups.buckets(tenant_id, proven))

    def watch(self, callback: Callable[[str], None]) -> None:
        """Call `callback(access_key_id)` when a key was made, revoked or deleted; from the event loop, before the
        change is acknowledged. The callback returns quickly and awaits nothing."""
        self._watchers.append(callback)

    def apply(self, change: Change) -> None:
        """Forget what this change made untrue, in either direction, and tell the watchers."""
        if change.kind is Kind.GRANTS:
            self._keys.drop(change.target)
        elif change.kind is Kind.KEY:
            self._keys.drop(change.target)
            self._tell(change.target)
        else:
            tenant_id, name = bucket_of_target(change.target)
            self._buckets.drop((tenant_id, name))
            self._lists.drop(tenant_id)
        self._count()

    def drop_everything(self) -> None:
        """Forget all answers, those being fetched included."""
        self._keys.clear()
        self._buckets.clear()
        self._lists.clear()
        self._count()

    def on_timeline(self, timeline: int) -> None:
        """Keep only answers of servers on this timeline from now on."""
        self._timeline = timeline

    async def _ask(self, shelf: Shelf[K, V], key: K, question: Callable[[bool], Awaitable[Answer[V]]]) -> V:
        self._stats.misses += 1

        async def ask_to_keep() -> tuple[V, bool]:
            # Bounded on its own: it goes on when everybody who waited for it has left.
            async with answering("look-up"):
                answer = await question(False)
            return answer.value, answer.timeline == self._timeline

        try:
            async with answering("look-up"):
                while self._lease.held():
                    entry = shelf.get(key) or await shelf.fetch(key, ask_to_keep)
                    self._count()
                    # Looked at after the waiting: lease or answer may have become void meanwhile.
                    if self._lease.held() and not entry.dropped:
                        return entry.value
                # Past the lease nobody's query but one's own is new enough, so none is shared.
                return (await question(True)).value
        except KeyStoreUnavailable:
            self._stats.db_errors += 1
            raise

    def _tell(self, access_key_id: str) -> None:
        for callback in self._watchers:
            try:
                callback(access_key_id)
            except Exception:  # noqa: BLE001 - any callback's, logged with its traceback
                # One watcher's mistake must not keep the others from hearing, nor the change unacknowledged.
                _log.exception("key_watcher_failed")

    def _count(self) -> None:
        self._stats.entries = len(self._keys) + len(self._buckets) + len(self._lists)
