"""Where the client programs are: on PATH, where `go install` puts them, or built by tests/clients/install.sh."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE.parents[1] / "var" / "clients"
"""Where install.sh puts what it builds."""

_PATH = os.pathsep.join([str(BUILT / "bin"), os.environ.get("PATH", os.defpath), str(Path.home() / "go" / "bin")])


def find_program(name: str) -> Path | None:
    """The program of this name, or None."""
    found = shutil.which(name, path=_PATH)
    return Path(found) if found is not None else None
