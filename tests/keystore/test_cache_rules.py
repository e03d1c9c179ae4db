"""When the cache may hand out or keep an answer, moment by moment; the database is played by the test."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from keystore.cache import KeyCache
from keystore.changes import Change, Kind
from keystore.listener import Lease
from keystore.lookups import Answer
from keystore.model import Access, AccessKey, Permission, Secret
from keystore.stats import CacheStats

KEY_ID = "BWAKAAAAAAAAAAAAAAAA"
TIMELINE = 7
SECRET = Secret("s")  # one for all versions: secrets do not compare


def version(number: int) -> AccessKey:
    """The key as the database has it after `number` changes."""
    return AccessKey(
        id=uuid.UUID(int=number), access_key_id=KEY_ID, secret=SECRET, tenant_id=uuid.UUID(int=1),
        tenant="default", access=Access.ALL_BUCKETS, permission=Permission.READ, grants=(),
    )  # fmt: skip


class Database:
    """Notes each question, with whether it asked for proof, and answers when the test says so."""

    def __init__(self) -> None:
        self.questions: list[tuple[bool, asyncio.Future[Answer[AccessKey | None]]]] = []

    async def key(self, access_key_id: str, proven: bool) -> Answer[AccessKey | None]:
        answer: asyncio.Future[Answer[AccessKey | None]] = asyncio.get_running_loop().create_future()
        self.questions.append((proven, answer))
        return await answer

    async def answer(self, number: int, key: AccessKey, timeline: int = TIMELINE) -> None:
        async with asyncio.timeout(1):
            while len(self.questions) <= number:  # noqa: ASYNC110 - a step of the loop at a time
                await asyncio.sleep(0)
        self.questions[number][1].set_result(Answer(key, timeline))


@pytest.fixture
def now() -> list[float]:
    """The clock: its only element."""
    return [100.0]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def lease(now) -> Lease:
    lease = Lease(lambda: now[0])
    lease.until = 105.0
    return lease


@pytest.fixture
def cache(database, lease) -> KeyCache:
    cache = KeyCache(database, lease, CacheStats(), max_entries=10)
    cache.on_timeline(TIMELINE)
    return cache


async def test_an_answer_read_before_a_change_is_not_handed_out_after_it(cache, database):
    asking = asyncio.create_task(cache.find_key(KEY_ID))
    await asyncio.sleep(0.01)
    cache.apply(Change(1, Kind.KEY, KEY_ID))
    await database.answer(0, version(1))
    await database.answer(1, version(2))
    assert await asking == version(2)
    assert await cache.find_key(KEY_ID) == version(2)


async def test_a_change_of_another_key_costs_nothing(cache, database):
    asking = asyncio.create_task(cache.find_key(KEY_ID))
    await asyncio.sleep(0.01)
    cache.apply(Change(1, Kind.KEY, "BWAKBBBBBBBBBBBBBBBB"))
    await database.answer(0, version(1))
    assert await asking == version(1)
    assert len(database.questions) == 1


async def test_a_lease_that_ends_during_the_question_makes_it_asked_again_with_proof(cache, database, now):
    asking = asyncio.create_task(cache.find_key(KEY_ID))
    await asyncio.sleep(0.01)
    now[0] = 106.0
    await database.answer(0, version(1))
    await database.answer(1, version(2))
    assert await asking == version(2)
    assert [proven for proven, _ in database.questions] == [False, True]


async def test_past_the_lease_everyone_asks_for_themselves_and_nothing_is_kept(cache, database, now, lease):
    now[0] = 106.0
    askers = [asyncio.create_task(cache.find_key(KEY_ID)) for _ in range(3)]
    for number in range(3):
        await database.answer(number, version(number))
    assert await asyncio.gather(*askers) == [version(0), version(1), version(2)]
    assert all(proven for proven, _ in database.questions)
    lease.until = 110.0
    again = asyncio.create_task(cache.find_key(KEY_ID))
    await database.answer(3, version(3))
    assert await again == version(3)


async def test_the_lease_ends_at_its_moment_not_after_it(cache, database, now):
    asking = asyncio.create_task(cache.find_key(KEY_ID))
    await database.answer(0, version(1))
    await asking
    now[0] = 104.999
    assert await cache.find_key(KEY_ID) == version(1)
    now[0] = 105.0
    asking = asyncio.create_task(cache.find_key(KEY_ID))
    await database.answer(1, version(2))
    assert await asking == version(2)


async def test_the_answer_of_a_server_on_another_timeline_than_the_lease_is_not_kept(cache, database):
    """F3, F6: the lease proves one server; what another one said is no part of the proof."""
    for number in range(2):
        asking = asyncio.create_task(cache.find_key(KEY_ID))
        await database.answer(number, version(number), timeline=TIMELINE + 1)
        assert await asking == version(number)
