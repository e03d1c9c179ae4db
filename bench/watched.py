"""The gateway with a probe of its event loop inside.

    python -m bench.watched REPORT

Every 5 ms a timer fires; how late it is, is how long something that had become ready waited for its turn. Part of that
is not the gateway's: on a full machine the thread waits for a processor, and the kernel says for how long (schedstat).
At the end REPORT gets [monotonic time, late, of which without a processor] for each, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from gateway.app import serve_forever
from gateway.config import Config

_PERIOD = 0.005


class LoopProbe:
    """Samples of one event loop."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, float]] = []
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    async def start(self) -> None:
        self._arm(asyncio.get_running_loop())

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _PERIOD
        loop.call_at(due, self._fire, loop, due, self._waited())

    def _fire(self, loop: asyncio.AbstractEventLoop, due: float, waited: float) -> None:
        now = loop.time()
        late = now - due
        self.samples.append((now, late, min(late, self._waited() - waited)))
        self._arm(loop)

    def _waited(self) -> float:
        """Seconds that this thread could have run but had no processor."""
        return int(os.pread(self._schedstat, 64, 0).split()[1]) / 1e9


def main(report: Path) -> None:
    config = Config.load(None, os.environ)
    if config.database.url is None:
        raise SystemExit("BUCKETWARDEN_DATABASE__URL is needed")
    probe = LoopProbe()
    asyncio.run(serve_forever(config, config.database.url.get_secret_value(), probe.start))
    report.write_text(json.dumps(probe.samples), encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
