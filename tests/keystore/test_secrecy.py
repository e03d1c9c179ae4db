"""What somebody finds who has the database, its dump, its write-ahead log and its logs, but not the KEK."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest

from gateway.embedded.postgres import find_programs
from keystore.migrate import migrate
from keystore.model import Conflict, Secret
from keystore.sealing import Sealer
from tests.keystore.conftest import KEK
from tests.keystore.makers import new_key

MARK = "CONTROLthatMustBeFound"


async def test_no_secret_and_no_token_is_in_dump_files_wal_or_statement_log(own_server, opened, tmp_path, monkeypatch):
    """CRY-285. The server logs all statements with their parameters."""
    await migrate(own_server.dsn)
    store = await opened(own_server.dsn)
    secrets = []
    for _ in range(3):
        info, secret = await new_key(store, label=MARK)
        await store.reader.find_key(info.access_key_id)
        secrets.append(secret.reveal())
    tokens = [await store.admin.create_token(name="one", actor="tester")]
    with pytest.raises(Conflict):
        # Fails inside the server: the statement and its parameters go to the log as an error.
        await store.admin.create_token(name="one", actor="tester")
    assert await store.admin.find_token(tokens[0]) == "one"
    await store.admin.delete_key(info.access_key_id, actor="tester")
    connection = await asyncpg.connect(own_server.dsn)
    await connection.execute("CHECKPOINT")
    await connection.close()

    dump = await asyncio.to_thread(
        subprocess.run, [find_programs() / "pg_dump", own_server.dsn], capture_output=True, check=True
    )
    places = [path for path in (tmp_path / "postgres").rglob("*") if path.is_file()]
    found = {"dump": dump.stdout} | {str(path): path.read_bytes() for path in places}
    log = Path(tmp_path / "postgres" / "postgres.log")
    assert MARK.encode() in found["dump"]
    assert any(MARK.encode() in content for name, content in found.items() if "pg_wal" in name)
    assert MARK.encode() in found[str(log)]
    for text in [*secrets, *tokens]:
        for needle in (text.encode(), text.encode().hex().encode(), text.encode("utf-16-le")):
            assert [name for name, content in found.items() if needle in content] == []
    assert [name for name, content in found.items() if KEK in content or KEK.hex().encode() in content] == []


async def test_values_that_hold_a_secret_do_not_print_it(key_store):
    info, secret = await new_key(key_store)
    key = await key_store.reader.find_key(info.access_key_id)
    for value in (key, secret, info, [key], {"k": key}, Sealer(KEK), key_store):
        assert secret.reveal() not in f"{value!r} {value!s}"
    assert repr(Secret("x")) == "Secret(****)"
