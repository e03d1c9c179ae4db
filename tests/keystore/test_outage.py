"""When the database or the way to it goes wrong: served while proven, then refused, never guessed, and healed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from keystore.migrate import migrate
from keystore.model import KeyStatus, KeyStoreUnavailable
from tests.keystore.conftest import QUICK
from tests.keystore.makers import kill_connections, new_key, until
from tests.keystore.proxy import Proxy, through

UNKNOWN = "BWAKAAAAAAAAAAAAAAAA"


async def refused_within(seconds: float, awaitable) -> None:
    began = time.monotonic()
    with pytest.raises(KeyStoreUnavailable):
        await awaitable
    assert time.monotonic() - began < seconds


async def test_a_stopped_database_stops_nothing_until_the_lease_ends_and_then_everything(own_server, opened):
    """KEY-267, and the recovery of KEY-268."""
    proxy = Proxy(own_server.dsn)
    await proxy.start()
    try:
        await migrate(own_server.dsn)
        store = await opened(through(own_server.dsn, proxy.port), **QUICK)
        info, _ = await new_key(store)
        found = await store.reader.find_key(info.access_key_id)
        own_server.stop()
        assert await store.reader.find_key(info.access_key_id) is found
        await refused_within(2.1, store.reader.find_key(UNKNOWN))
        await asyncio.sleep(1.1)
        await refused_within(2.1, store.reader.find_key(info.access_key_id))
        await refused_within(2.1, store.admin.get_key(info.access_key_id))
        assert store.stats.connected == 0
        assert store.ready() != []

        own_server.start()
        proxy.target = own_server.dsn
        await until(lambda: not store.ready())
        assert (await store.reader.find_key(info.access_key_id)).secret.reveal() == found.secret.reveal()
        assert await store.reader.find_key(UNKNOWN) is None
        await new_key(store)
    finally:
        await proxy.stop()


async def test_a_silent_listener_never_serves_a_revoked_key_past_its_lease(dsn, opened, proxy, proxied_dsn):
    """The listening connection goes silent without closing; the way for look-ups stays open."""
    there = await opened(proxied_dsn, **QUICK)
    here = await opened(dsn, **QUICK)
    info, _ = await new_key(here)
    assert (await there.reader.find_key(info.access_key_id)).revoked_at is None
    proxy.freeze_listeners()
    proxy.black_hole = True  # nor can it reconnect
    _, propagation = await here.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    assert propagation.lagging == ("gateway-0",)
    # Asked over the held connection, or refused: anything but the answer in the cache.
    for _ in range(20):
        try:
            key = await there.reader.find_key(info.access_key_id)
        except KeyStoreUnavailable:
            continue
        assert key.status(datetime.now(UTC)) is KeyStatus.REVOKED
        await asyncio.sleep(0.05)
    assert there.ready() != []
    proxy.black_hole = False
    await until(lambda: not there.ready())


async def test_a_listener_that_was_away_tells_its_watchers_what_they_missed(dsn, opened, proxy, proxied_dsn):
    there = await opened(proxied_dsn, **QUICK)
    here = await opened(dsn, **QUICK)
    info, _ = await new_key(here)
    heard: list[str] = []
    there.reader.watch(heard.append)
    proxy.freeze_listeners()
    await here.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    assert heard == []
    await until(lambda: heard)
    assert heard == [info.access_key_id]


async def test_a_black_hole_is_unavailable_within_two_seconds_for_everyone(opened, proxy, proxied_dsn):
    """KEY-268: the hung socket, for more callers than there are connections."""
    store = await opened(proxied_dsn, **QUICK)
    info, _ = await new_key(store)
    await store.reader.find_key(info.access_key_id)
    proxy.freeze_all()
    await asyncio.sleep(1.1)
    await asyncio.gather(
        *(refused_within(2.5, store.reader.find_key(info.access_key_id)) for _ in range(30)),
        refused_within(2.5, new_key(store)),
    )
    proxy.black_hole = False
    await until(lambda: not store.ready())
    assert await store.reader.find_key(info.access_key_id) is not None


async def test_a_slow_database_is_unavailable_within_two_seconds(key_store, sql):
    """KEY-268: the query that takes longer than we wait."""
    info, _ = await new_key(key_store)
    async with sql.transaction():
        await sql.execute("LOCK TABLE access_keys IN ACCESS EXCLUSIVE MODE")
        await refused_within(2.5, key_store.reader.find_key(info.access_key_id))
    assert await key_store.reader.find_key(info.access_key_id) is not None


async def test_a_missing_table_is_unavailable_not_unknown(key_store, sql):
    await sql.execute("ALTER TABLE access_keys RENAME TO elsewhere")
    await refused_within(2.1, key_store.reader.find_key(UNKNOWN))
    await sql.execute("ALTER TABLE elsewhere RENAME TO access_keys")
    assert await key_store.reader.find_key(UNKNOWN) is None


async def test_a_read_only_database_ends_the_lease_and_refuses_changes(dsn, opened, sql):
    """25006, as an old primary answers after its demotion (F3)."""
    store = await opened(dsn, **QUICK)
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await kill_connections(sql)
    await asyncio.sleep(1.2)
    assert store.ready() != []
    await refused_within(2.1, new_key(store))
    await sql.execute("SET default_transaction_read_only = off")
    await sql.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await until(lambda: not store.ready())
    await new_key(store)


async def test_killed_connections_are_replaced_without_an_error_for_readers(key_store, sql):
    info, _ = await new_key(key_store)
    for _ in range(5):
        await kill_connections(sql)
        key_store.reader.drop_everything()
        assert (await key_store.reader.find_key(info.access_key_id)).access_key_id == info.access_key_id
    await until(lambda: not key_store.ready())


async def test_the_lease_counts_from_the_sending_of_the_heartbeat(dsn, opened, sql):
    """F6: the write waits about 1.5 s in the database, so the lease of 1.2 s is over when it comes back."""
    store = await opened(dsn, max_stale=1.2, heartbeat=0.5)
    async with sql.transaction():
        await sql.execute("SELECT FROM replicas FOR UPDATE")
        await until(lambda: store.ready())
        await asyncio.sleep(0.8)
    released = time.monotonic()
    await until(lambda: not store.ready())
    # Not the heartbeat that came back late renewed it but the next one, half a second later.
    assert time.monotonic() - released > 0.4


async def test_a_revocation_whose_gateways_cannot_be_asked_is_waited_out_or_unknown(opened, proxy, proxied_dsn):
    """The database goes silent after the commit: the call must neither hang nor claim an acknowledgement."""
    store = await opened(proxied_dsn, **QUICK)
    info, _ = await new_key(store)
    store.reader.watch(lambda access_key_id: proxy.freeze_all())
    began = time.monotonic()
    try:
        _, propagation = await store.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    except KeyStoreUnavailable:
        pass  # the answer to the commit, or the list of gateways, was lost as well
    else:
        assert (propagation.acknowledged, propagation.lagging) == (0, ("gateway-0",))
        assert time.monotonic() - began > 0.5
    assert time.monotonic() - began < 6
