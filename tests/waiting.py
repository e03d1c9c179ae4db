"""Waiting for something to come true, with a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_PAUSE = 0.02


def until(condition: Callable[[], object], what: str, *, seconds: float = 10.0) -> None:
    """Return once `condition()` is true; fail the test if it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(_PAUSE)


async def until_true(condition: Callable[[], object], what: str, *, seconds: float = 10.0) -> None:
    """`until`, while the event loop goes on."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        await asyncio.sleep(_PAUSE)
