"""What a running Postgres says about itself in its postmaster.pid, and whether that is still true."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PID, _PORT, _STATUS = 0, 3, 7  # lines of postmaster.pid, "Contents of the file" in Postgres' miscinit.h


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The process that serves a data directory, its port, and whether it takes connections."""

    pid: int
    port: int
    ready: bool

    @classmethod
    def of(cls, data: Path) -> Self | None:
        """Read who serves the data directory `data`; None if nobody does.

        The file alone proves nothing: it survives a crash, and in a container the process ids repeat. So the
        process named there must be a postgres whose working directory this is. (A zombie has neither.)
        """
        try:
            lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            process = Path("/proc") / str(int(lines[_PID]))
            if (process / "exe").readlink().name != "postgres" or (process / "cwd").readlink() != data:
                return None
            return cls(int(lines[_PID]), int(lines[_PORT]), lines[_STATUS].strip() == "ready")
        except (OSError, IndexError, ValueError):
            return None
