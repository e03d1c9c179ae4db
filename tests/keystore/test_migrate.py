"""Migrations: once each, in order, never altered."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from keystore import migrate as module
from keystore.migrate import Migration, SchemaMismatch, migrate, migrations, pending
from keystore.model import KeyStoreUnavailable


async def test_the_first_run_applies_all_and_the_second_nothing(fresh_database):
    names = [migration.name for migration in migrations()]
    assert names[0] == "0001_initial.sql"
    assert await pending(fresh_database) == names
    assert await migrate(fresh_database) == names
    assert await pending(fresh_database) == []
    assert await migrate(fresh_database) == []


async def test_of_several_processes_starting_at_once_one_migrates(fresh_database):
    applied = await asyncio.gather(*(migrate(fresh_database) for _ in range(5)))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, len(migrations())]


async def test_asking_what_is_pending_changes_nothing(fresh_database):
    await pending(fresh_database)
    connection = await asyncpg.connect(fresh_database)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


async def test_a_file_altered_after_it_was_applied_is_refused(dsn, sql):
    await sql.execute("UPDATE schema_migrations SET sha256 = 'other' WHERE name = '0001_initial.sql'")
    with pytest.raises(SchemaMismatch, match="altered"):
        await pending(dsn)
    with pytest.raises(SchemaMismatch, match="altered"):
        await migrate(dsn)


async def test_a_database_of_a_newer_version_is_refused(dsn, sql):
    await sql.execute("INSERT INTO schema_migrations (name, sha256) VALUES ('9999_later.sql', 'x')")
    with pytest.raises(SchemaMismatch, match="9999_later"):
        await pending(dsn)


async def test_a_file_slipped_in_below_the_newest_is_refused(dsn, monkeypatch):
    files = [Migration("0000_early.sql", "SELECT 1"), *migrations()]
    monkeypatch.setattr(module, "migrations", lambda: files)
    with pytest.raises(SchemaMismatch, match="0000_early"):
        await migrate(dsn)


async def test_a_file_that_fails_leaves_the_database_as_it_was(dsn, sql, monkeypatch):
    bad = [
        *migrations(),
        Migration("0002_good.sql", "CREATE TABLE made (x int)"),
        Migration("0003_bad.sql", "SELECT nothing_like_it()"),
    ]
    monkeypatch.setattr(module, "migrations", lambda: bad)
    with pytest.raises(KeyStoreUnavailable):
        await migrate(dsn)
    assert await sql.fetchval("SELECT to_regclass('made')") is None
    assert await sql.fetchval("SELECT count(*) FROM schema_migrations") == len(migrations())
    monkeypatch.undo()
    assert await pending(dsn) == []


async def test_an_unreachable_database_is_unavailable_within_two_seconds():
    with pytest.raises(KeyStoreUnavailable):
        await pending("postgresql://nobody@127.0.0.1:1/nothing")
