"""Files below a state directory that keep secrets: only their owner may read them (mode 0600)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any


def open_private(path: Path, mode: str) -> IO[Any]:
    """Like `open(path, mode)`; a file that is made is made with mode 0600, never wider for a moment."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def write_private(path: Path, text: str) -> None:
    """Replace a file by `text` in one step: readers see the old one or the new one, also after a crash."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open_private(fresh, "x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
