"""What the key store counts; metrics only read it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class CacheStats:
    """Counters since start, and gauges, of one gateway process."""

    hits: int = 0
    """Answers given from the cache, negative ones included."""
    negative_hits: int = 0
    """Those of them that said "no such key" or "no such bucket"."""
    misses: int = 0
    """Answers that needed the database."""
    db_errors: int = 0
    """Questions that the database did not answer, and broken listening sessions."""
    entries: int = 0
    """Gauge: answers in the cache."""
    connected: int = 0
    """Gauge: 1 while the listening connection stands, else 0."""
    last_event_unix: float = 0.0
    """Gauge: when this process last heard its own heartbeat come back, in seconds since the epoch."""
    changes_seen: int = 0
    """Changes applied to the cache."""
    cache_drops: int = 0
    """Times that the whole cache was dropped (reconnection, gap)."""
    propagations: int = 0
    """Changes made by this process and waited for."""
    propagations_lagging: int = 0
    """Those of them that some gateway did not acknowledge in time."""
    propagation_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=1024))
    """How long the newest of them took, from commit to last acknowledgement; a reader may drain it."""
