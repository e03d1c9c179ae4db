"""A state directory has one owner at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gateway.embedded.child import EmbeddedError


class DirectoryLock:
    """flock(2) on the file `lock` of a directory. The kernel lets go of it when we die, however that happens.

    Children do not inherit it (Python opens files close-on-exec).
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Become the owner. Raises EmbeddedError at once if somebody is, also if it is this object."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise EmbeddedError(f"{self._path.parent} is in use by another process") from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next one in. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
