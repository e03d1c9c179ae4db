"""Where log lines go: a bounded queue and a thread, so that a full pipe never stops a request (R25)."""

from __future__ import annotations

import os
import threading
from collections import deque

LIMIT = 20_000  # lines waiting; beyond it lines are dropped and counted
BATCH = 64 * 1024
GATHER = 0.02  # seconds; a thread that wakes for every line takes the interpreter from the event loop every time


class LineSink:
    """A file-like target for whole lines. `write` never blocks and never raises."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        if len(self._lines) >= LIMIT:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Nothing: the thread writes as soon as it can."""

    def close(self, seconds: float = 2.0) -> None:
        """Write what is left, for at most `seconds`."""
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._closing.wait(GATHER)
            self._wake.clear()
            while self._lines:
                batch = bytearray()
                while self._lines and len(batch) < BATCH:
                    batch += self._lines.popleft()
                self._write_out(batch)
            if self._closing.is_set():
                return

    def _write_out(self, batch: bytearray) -> None:
        view = memoryview(batch)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError:
                self.dropped += 1  # nobody reads any more; the requests matter more than the lines
                return
