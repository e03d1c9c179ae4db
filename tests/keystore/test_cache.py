"""Caches of several gateways over one database: changes arrive in both directions, at once."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keystore import ident
from keystore.model import Grant, KeyStatus, KeyStoreUnavailable, Permission
from tests.keystore.conftest import KEK
from tests.keystore.makers import new_bucket, new_key, until

ROOT = Path(__file__).parents[2]


def status(key):
    return "none" if key is None else key.status(datetime.now(UTC))


async def test_the_second_look_up_asks_nobody(key_store):
    info, _ = await new_key(key_store)
    first = await key_store.reader.find_key(info.access_key_id)
    misses = key_store.stats.misses
    assert await key_store.reader.find_key(info.access_key_id) is first
    assert key_store.stats.misses == misses
    assert key_store.stats.hits == 1


async def test_a_hit_awaits_nothing_and_costs_little(key_store):
    """Driven by hand: a coroutine that ends at its first step has awaited nothing."""
    info, _ = await new_key(key_store)
    await key_store.reader.find_key(info.access_key_id)
    with pytest.raises(StopIteration):
        key_store.reader.find_key(info.access_key_id).send(None)
    began = time.perf_counter()
    for _ in range(20_000):
        await key_store.reader.find_key(info.access_key_id)
    # Measured 0.4 us; the bound leaves room for a busy machine, not for a lock or a task.
    assert (time.perf_counter() - began) / 20_000 < 5e-6


async def test_an_unknown_key_is_remembered_as_unknown(key_store):
    assert await key_store.reader.find_key("BWAKAAAAAAAAAAAAAAAA") is None
    assert await key_store.reader.find_key("BWAKAAAAAAAAAAAAAAAA") is None
    assert (key_store.stats.misses, key_store.stats.negative_hits) == (1, 1)


async def test_a_new_key_works_at_once_where_it_was_known_as_unknown(dsn, opened, monkeypatch):
    here, there = await opened(dsn), await opened(dsn)
    fixed = ident.new_access_key_id()
    monkeypatch.setattr(ident, "new_access_key_id", lambda prefix: fixed)
    assert await there.reader.find_key(fixed) is None
    await new_key(here)
    assert (await there.reader.find_key(fixed)).access_key_id == fixed


async def test_when_a_revocation_returns_every_cache_refuses_already(dsn, opened):
    here, there = await opened(dsn), await opened(dsn)
    for _ in range(20):
        info, _ = await new_key(here)
        assert status(await there.reader.find_key(info.access_key_id)) is KeyStatus.ACTIVE
        _, propagation = await here.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
        # Nothing is awaited between the return and this look-up, so nothing can arrive late.
        assert status(await there.reader.find_key(info.access_key_id)) is KeyStatus.REVOKED
        assert (propagation.expected, propagation.acknowledged, propagation.lagging) == (2, 2, ())


async def test_watchers_hear_of_a_change_before_its_author_returns(dsn, opened):
    here, there = await opened(dsn), await opened(dsn)
    info, _ = await new_key(here)
    heard: list[str] = []

    def broken(access_key_id: str) -> None:
        raise RuntimeError("a mistake in a watcher")

    there.reader.watch(broken)
    there.reader.watch(heard.append)
    await here.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    assert heard == [info.access_key_id]
    assert there.stats.connected == 1


async def test_a_key_that_loses_a_bucket_is_known_anew_and_not_broken_off(dsn, opened):
    here, there = await opened(dsn), await opened(dsn)
    photos, music = await new_bucket(here, "photos"), await new_bucket(here, "music")
    grants = [Grant(bucket.name, Permission.READ) for bucket in (photos, music)]
    info, _ = await new_key(here, *grants)
    assert len((await there.reader.find_key(info.access_key_id)).grants) == 2
    heard: list[str] = []
    there.reader.watch(heard.append)
    await here.admin.remove_bucket(photos.id)
    assert (await there.reader.find_key(info.access_key_id)).grants == (Grant("music", Permission.READ),)
    assert heard == []  # what it has under way in the other bucket goes on


async def test_buckets_and_their_list_change_everywhere_at_once(dsn, opened):
    here, there = await opened(dsn), await opened(dsn)
    tenant = await here.admin.get_tenant("default")
    assert await there.reader.find_bucket(tenant.id, "photos") is None
    assert await there.reader.list_buckets(tenant.id) == ()
    bucket = await new_bucket(here, "photos")
    assert await there.reader.find_bucket(tenant.id, "photos") == bucket
    assert await there.reader.list_buckets(tenant.id) == (bucket,)
    info, _ = await new_key(here, Grant("photos", Permission.READ))
    assert (await there.reader.find_key(info.access_key_id)).grants
    await here.admin.remove_bucket(bucket.id)
    assert await there.reader.find_bucket(tenant.id, "photos") is None
    assert await there.reader.list_buckets(tenant.id) == ()
    assert (await there.reader.find_key(info.access_key_id)).grants == ()


async def test_no_answer_from_before_a_revocation_survives_it_under_load(dsn, opened):
    """The race of look-up and revocation, many times: eight askers never see a key again after it was revoked."""
    here, there = await opened(dsn), await opened(dsn)
    revoked: set[str] = set()
    wrong: list[str] = []
    current = (await new_key(here))[0].access_key_id
    done = False

    async def ask() -> None:
        while not done:
            asked, was_revoked = current, current in revoked
            key = await there.reader.find_key(asked)
            if was_revoked and status(key) is not KeyStatus.REVOKED:
                wrong.append(asked)
            await asyncio.sleep(0)

    askers = [asyncio.create_task(ask()) for _ in range(8)]
    for _ in range(60):
        await here.admin.revoke_key(current, reason=None, actor="tester")
        revoked.add(current)
        for _ in range(5):
            await asyncio.sleep(0)
        current = (await new_key(here))[0].access_key_id
        # Everyone starts on a cold key at the moment it is revoked.
        there.reader.drop_everything()
    done = True
    await asyncio.gather(*askers)
    assert wrong == []


async def test_a_hundred_look_ups_of_a_cold_key_are_one_query(key_store, sql):
    info, _ = await new_key(key_store)
    found = await asyncio.gather(*(key_store.reader.find_key(info.access_key_id) for _ in range(100)))
    assert len({id(key) for key in found}) == 1


async def test_a_row_moved_onto_another_key_is_refused_not_served_and_not_unknown(key_store, sql):
    """CRY-277 in place: the thief's secret never verifies for the victim's key."""
    victim, _ = await new_key(key_store)
    thief, _ = await new_key(key_store)
    await sql.execute(
        """UPDATE access_keys v SET wrap_nonce = t.wrap_nonce, wrapped_key = t.wrapped_key,
                  seal_nonce = t.seal_nonce, sealed_secret = t.sealed_secret
             FROM access_keys t WHERE v.access_key_id = $1 AND t.access_key_id = $2""",
        victim.access_key_id,
        thief.access_key_id,
    )
    with pytest.raises(KeyStoreUnavailable):
        await key_store.reader.find_key(victim.access_key_id)
    assert await key_store.reader.find_key(thief.access_key_id) is not None


@pytest.mark.parametrize("text", ["", "x", "a b" * 8, "\x00" * 20, "ä" * 20, "\ud800" * 20, "A" * 129])
async def test_what_cannot_be_a_key_id_is_unknown_without_a_question(key_store, text):
    assert await key_store.reader.find_key(text) is None
    assert key_store.stats.entries == 0


async def test_a_notification_that_is_not_ours_drops_the_cache_and_the_session_recovers(key_store, sql):
    info, _ = await new_key(key_store)
    await key_store.reader.find_key(info.access_key_id)
    drops = key_store.stats.cache_drops
    await sql.execute("NOTIFY bucketwarden_changes, 'nonsense'")
    await until(lambda: key_store.stats.cache_drops > drops and not key_store.ready())
    assert key_store.ready() == []
    assert status(await key_store.reader.find_key(info.access_key_id)) is KeyStatus.ACTIVE


async def test_a_gap_in_the_numbers_drops_the_cache(key_store, sql):
    """A change whose notification was lost: the next one shows it."""
    info, _ = await new_key(key_store)
    await key_store.reader.find_key(info.access_key_id)
    await sql.execute("UPDATE access_keys SET revoked_at = now()")
    await sql.execute("UPDATE change_counter SET number = number + 1")
    assert status(await key_store.reader.find_key(info.access_key_id)) is KeyStatus.ACTIVE
    await new_key(key_store)
    assert status(await key_store.reader.find_key(info.access_key_id)) is KeyStatus.REVOKED


@pytest.fixture
async def other_process(dsn: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("reader_process.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "DSN": dsn, "KEK": KEK.hex(), "PYTHONPATH": str(ROOT)},
    )
    while (line := await process.stdout.readline()) != b"ready\n":
        assert line
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def ask_other(process: asyncio.subprocess.Process, access_key_id: str) -> str:
    process.stdin.write(f"find {access_key_id}\n".encode())
    return (await process.stdout.readline()).decode().strip()


async def test_a_revocation_reaches_another_process_before_it_returns(key_store, other_process):
    info, _ = await new_key(key_store)
    assert await ask_other(other_process, info.access_key_id) == "active"
    _, propagation = await key_store.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    assert await ask_other(other_process, info.access_key_id) == "revoked"
    assert (propagation.expected, propagation.acknowledged) == (2, 2)


async def test_a_stopped_process_is_waited_for_until_its_lease_must_have_ended(key_store, other_process):
    """SIGSTOP: it cannot acknowledge, and when it wakes up it must not serve the key."""
    info, _ = await new_key(key_store)
    assert await ask_other(other_process, info.access_key_id) == "active"
    other_process.send_signal(19)
    began = time.monotonic()
    _, propagation = await key_store.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    took = time.monotonic() - began
    assert propagation.lagging == ("other",)
    assert propagation.certain_in == 0.0
    assert 1.0 < took < 2.5
    other_process.send_signal(18)
    assert await ask_other(other_process, info.access_key_id) == "revoked"


async def test_a_process_killed_long_ago_is_not_waited_for(key_store, other_process, sql):
    info, _ = await new_key(key_store)
    other_process.kill()
    await other_process.wait()
    await asyncio.sleep(2.2)
    assert await sql.fetchval("SELECT count(*) FROM replicas") == 2
    began = time.monotonic()
    _, propagation = await key_store.admin.revoke_key(info.access_key_id, reason=None, actor="tester")
    assert time.monotonic() - began < 1
    assert (propagation.expected, propagation.lagging) == (1, ())


async def test_a_closed_store_leaves_the_list_and_answers_no_more_from_memory(dsn, opened, sql):
    store = await opened(dsn)
    info, _ = await new_key(store)
    await store.reader.find_key(info.access_key_id)
    await store.close()
    assert await sql.fetchval("SELECT count(*) FROM replicas") == 0
    assert store.ready() != []
    await sql.execute("UPDATE access_keys SET revoked_at = now()")
    assert status(await store.reader.find_key(info.access_key_id)) is KeyStatus.REVOKED
