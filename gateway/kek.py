"""The key-encryption key: from the settings, or made once and kept beside the embedded database.

With a database of your own it has to be set (gateway.config refuses otherwise): a key that we quietly made on
one gateway would open nothing on the next.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gateway.config import Config
from gateway.embedded.files import write_private
from keystore.sealing import new_kek, parse_kek


def load_kek(config: Config) -> bytes:
    """The 32 bytes. Raises Invalid or OSError when the embedded one's file holds no key or is unreadable."""
    if config.keys.kek is not None:
        return parse_kek(config.keys.kek.get_secret_value())
    path = config.embedded.directory / "kek"
    if not path.exists():
        _make(path)
    return parse_kek(path.read_text(encoding="ascii"))


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = path.with_name(f"kek.{secrets.token_hex(4)}")
    write_private(mine, new_kek() + "\n")
    try:
        # A link, not a rename: of two processes that start at once one wins, and the other reads its key.
        os.link(mine, path)
    except FileExistsError:
        pass
    finally:
        mine.unlink()
