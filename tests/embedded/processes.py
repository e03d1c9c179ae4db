"""Processes that a test starts and kills, and whether others are still there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Script:
    """A Python program run from the project's directory: it prints one line when it is ready, `line`."""

    def __init__(self, text: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.line = self._process.stdout.readline().strip()

    def kill(self) -> None:
        """kill -9"""
        self._process.kill()
        self._process.communicate()


def is_running(pid: int) -> bool:
    """Whether the process lives. One that has ended but was not reaped does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def becomes_true(condition: Callable[[], bool], *, within: float = 15.0) -> bool:
    """Ask until the condition holds, at most `within` seconds; whether it did."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
