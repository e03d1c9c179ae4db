"""A bounded shelf of cached answers that can be taken off at any moment, also while they are being fetched.

The race this exists for: a look-up reads the old row, the row changes, the change's message arrives and finds
nothing to drop, and then the look-up's answer is put on the shelf, to stay. Here the message marks the fetch
under way as dropped, so its answer is neither kept nor handed to anyone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Entry(Generic[V]):
    """One answer, fetched or being fetched. `dropped` turns true once: the answer is void, ask again."""

    __slots__ = ("dropped", "value")

    value: V

    def __init__(self) -> None:
        self.dropped = False


class Shelf(Generic[K, V]):
    """At most `limit` answers, the least recently used leaves first; one fetch at a time per key."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[K, Entry[V]] = OrderedDict()
        self._fetching: dict[K, tuple[Entry[V], asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> Entry[V] | None:
        """The kept answer, or None if there is none."""
        entry = self._kept.get(key)
        if entry is not None:
            self._kept.move_to_end(key)
        return entry

    async def fetch(self, key: K, ask: Callable[[], Awaitable[tuple[V, bool]]]) -> Entry[V]:
        """Await `ask()` -> (answer, whether to keep it), sharing a fetch of the same key already under way.

        Raises what `ask` raises. The caller looks at `dropped` right after: the answer may be void already.
        """
        under_way = self._fetching.get(key)
        if under_way is None:
            entry: Entry[V] = Entry()
            task = asyncio.create_task(self._fill(key, entry, ask))
            # Everyone who waits may have been cancelled; then nobody is left to take the exception.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            under_way = self._fetching[key] = (entry, task)
        entry, task = under_way
        # Shielded: one client that goes away must not take the answer from the others.
        await asyncio.shield(task)
        return entry

    def drop(self, key: K) -> None:
        """Forget the answer for `key` and disown the fetch under way, if any."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.dropped = True
        under_way = self._fetching.pop(key, None)
        if under_way is not None:
            under_way[0].dropped = True

    def clear(self) -> None:
        """`drop` for every key."""
        for entry in self._kept.values():
            entry.dropped = True
        for entry, _ in self._fetching.values():
            entry.dropped = True
        self._kept.clear()
        self._fetching.clear()

    async def _fill(self, key: K, entry: Entry[V], ask: Callable[[], Awaitable[tuple[V, bool]]]) -> None:
        try:
            entry.value, keep = await ask()
            if keep and not entry.dropped:
                self._kept[key] = entry
                if len(self._kept) > self._limit:
                    self._kept.popitem(last=False)[1].dropped = True
        finally:
            if key in self._fetching and self._fetching[key][0] is entry:
                del self._fetching[key]
