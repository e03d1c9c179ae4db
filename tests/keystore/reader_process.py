"""A gateway's key store in a process of its own, driven by lines: `find ID` -> `active|revoked|none|unavailable`."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime

from keystore.model import KeyStoreUnavailable
from keystore.store import open_store


async def main() -> None:
    store = await open_store(
        os.environ["DSN"], bytes.fromhex(os.environ["KEK"]), replica_name="other", max_stale=2.0, heartbeat=0.5
    )
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            key = await store.reader.find_key(line.split()[1])
        except KeyStoreUnavailable:
            print("unavailable", flush=True)
        else:
            print("none" if key is None else key.status(datetime.now(UTC)), flush=True)
    await store.close()


asyncio.run(main())
