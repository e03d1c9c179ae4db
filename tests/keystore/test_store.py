"""Opening the key store: what it refuses to start on, and what it says aloud."""

from __future__ import annotations

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from keystore.migrate import SchemaMismatch
from keystore.model import Invalid, KeyStoreUnavailable
from keystore.store import StartRefused
from tests.keystore.makers import new_key


async def test_an_open_store_is_ready(key_store):
    assert key_store.ready() == []
    assert key_store.stats.connected == 1
    assert key_store.stats.last_event_unix > 0


async def test_a_database_without_migrations_is_refused(fresh_database, opened):
    with pytest.raises(StartRefused, match="bucketwarden migrate"):
        await opened(fresh_database)


async def test_a_database_of_a_newer_version_is_refused(dsn, opened, sql):
    await sql.execute("INSERT INTO schema_migrations (name, sha256) VALUES ('9999_later.sql', 'x')")
    with pytest.raises(SchemaMismatch):
        await opened(dsn)


async def test_another_kek_than_the_first_is_refused(dsn, opened):
    """CRY-281."""
    await (await opened(dsn)).close()
    with pytest.raises(StartRefused, match="key-encryption key"):
        await opened(dsn, kek=os.urandom(32))
    await opened(dsn)


async def test_of_two_first_starts_with_different_keks_one_is_refused(dsn, opened):
    outcomes = await asyncio.gather(*(opened(dsn, kek=os.urandom(32)) for _ in range(2)), return_exceptions=True)
    assert sorted(isinstance(outcome, StartRefused) for outcome in outcomes) == [False, True]


async def test_a_database_with_keys_but_without_its_canary_is_refused(dsn, opened, sql):
    await new_key(await opened(dsn))
    await sql.execute("DELETE FROM canary")
    with pytest.raises(StartRefused, match="canary"):
        await opened(dsn)


async def test_a_pooler_that_swallows_notifications_is_refused_by_name(proxy, proxied_dsn, opened):
    """F10."""
    proxy.swallow_notifications = True
    with pytest.raises(StartRefused, match="PgBouncer"):
        await opened(proxied_dsn)
    proxy.swallow_notifications = False
    await opened(proxied_dsn)


async def test_an_unreachable_database_is_unavailable_at_start(opened):
    with pytest.raises(KeyStoreUnavailable):
        await opened("postgresql://nobody@127.0.0.1:1/nothing")


@pytest.mark.parametrize(
    "settings",
    [{"kek": bytes(32)}, {"kek": b"short"}, {"prefix": "bad"}, {"heartbeat": 0}, {"heartbeat": 3.0}],
    ids=str,
)
async def test_settings_that_cannot_work_are_refused(dsn, opened, settings):
    with pytest.raises(Invalid):
        await opened(dsn, **settings)


async def test_a_start_that_fails_leaves_no_row_and_no_connection(dsn, opened, sql):
    await (await opened(dsn)).close()
    with pytest.raises(StartRefused):
        await opened(dsn, kek=os.urandom(32))
    assert await sql.fetchval("SELECT count(*) FROM replicas") == 0
    await asyncio.sleep(0.1)
    assert (
        await sql.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'bucketwarden' AND datname = current_database()"
        )
        == 0
    )


@pytest.mark.parametrize(("mode", "warned"), [("off", True), ("on", False)])
async def test_commits_that_a_crash_can_undo_are_told_at_start(dsn, opened, sql, mode, warned):
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET synchronous_commit = {mode}")
    with capture_logs() as logs:
        await opened(dsn)
    assert any(line["event"] == "keystore_commits_not_safe" for line in logs) == warned


async def test_several_hosts_without_synchronous_replication_are_told_at_start(dsn, opened):
    """F4: such a set-up can lose an acknowledged revocation."""
    with capture_logs() as logs:
        await opened(dsn.replace("@127.0.0.1:", "@127.0.0.1:1,127.0.0.1:"))
    assert any(line["event"] == "keystore_replication_asynchronous" for line in logs)
