"""A gateway's key store in a process of its own, driven by lines: `find ID` -> `active|revoked|none|unavailable`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime

from keystore.model import KeyStoreUnavailable
from keystore.store import open_store


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main() -> None:
    store = await open_store(
        os.environ["DSN"], bytes.fromhex(os.environ["KEK"]), replica_name="other", max_stale=2.0, heartbeat=0.5
    )
    say("ready")
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            key = await store.reader.find_key(line.split()[1])
        except KeyStoreUnavailable:
            say("unavailable")
        else:
            say("none" if key is None else key.status(datetime.now(UTC)))
    await store.close()


asyncio.run(main())
