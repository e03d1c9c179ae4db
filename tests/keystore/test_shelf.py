"""The shelf of cached answers: bounded, one fetch per key, and no outdated answer slips in."""

from __future__ import annotations

import asyncio

import pytest

from keystore.shelf import Shelf


class Source:
    """Answers when told to, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[asyncio.Future[tuple[str, bool]]] = []

    async def ask(self) -> tuple[str, bool]:
        self.asked += 1
        answer: asyncio.Future[tuple[str, bool]] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_fetched_answer_is_kept():
    shelf, source = Shelf(10), Source()
    fetch = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    source.answers[0].set_result(("v", True))
    assert (await fetch).value == "v"
    assert shelf.get("k").value == "v"


async def test_a_hundred_askers_share_one_fetch():
    shelf, source = Shelf(10), Source()
    fetches = [asyncio.create_task(shelf.fetch("k", source.ask)) for _ in range(100)]
    await settle()
    source.answers[0].set_result(("v", True))
    assert {(await fetch).value for fetch in fetches} == {"v"}
    assert source.asked == 1


async def test_an_answer_whose_key_was_dropped_meanwhile_is_neither_kept_nor_valid():
    shelf, source = Shelf(10), Source()
    fetch = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    shelf.drop("k")
    source.answers[0].set_result(("old", True))
    assert (await fetch).dropped
    assert shelf.get("k") is None


async def test_whoever_asks_after_the_drop_gets_a_fetch_of_their_own():
    shelf, source = Shelf(10), Source()
    before = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    shelf.drop("k")
    after = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    assert source.asked == 2
    source.answers[1].set_result(("new", True))
    source.answers[0].set_result(("old", True))
    assert not (await after).dropped
    assert (await before).dropped
    assert shelf.get("k").value == "new"


async def test_a_drop_between_the_answer_and_the_waking_of_its_asker_counts():
    shelf, source = Shelf(10), Source()
    fetch = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    source.answers[0].set_result(("old", True))
    # Step by step: the moment between the keeping of the answer and the waking of its asker.
    for _ in range(5):
        if shelf.get("k") is None:
            await asyncio.sleep(0)
    assert not fetch.done()
    shelf.drop("k")
    assert (await fetch).dropped


async def test_clearing_disowns_what_is_being_fetched():
    shelf, source = Shelf(10), Source()
    fetch = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    shelf.clear()
    source.answers[0].set_result(("old", True))
    assert (await fetch).dropped
    assert len(shelf) == 0


async def test_one_asker_that_goes_away_does_not_take_the_answer_from_the_others():
    shelf, source = Shelf(10), Source()
    first = asyncio.create_task(shelf.fetch("k", source.ask))
    second = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    first.cancel()
    await settle()
    source.answers[0].set_result(("v", True))
    assert (await second).value == "v"


async def test_a_failed_fetch_reaches_all_askers_and_is_not_kept():
    shelf, source = Shelf(10), Source()
    fetches = [asyncio.create_task(shelf.fetch("k", source.ask)) for _ in range(3)]
    await settle()
    source.answers[0].set_exception(LookupError())
    assert all(isinstance(outcome, LookupError) for outcome in await asyncio.gather(*fetches, return_exceptions=True))
    retry = asyncio.create_task(shelf.fetch("k", source.ask))
    await settle()
    source.answers[1].set_result(("v", True))
    assert (await retry).value == "v"


async def test_the_least_recently_used_leaves_first():
    shelf = Shelf(2)

    async def ask() -> tuple[str, bool]:
        return "v", True

    await shelf.fetch("a", ask)
    await shelf.fetch("b", ask)
    shelf.get("a")
    await shelf.fetch("c", ask)
    assert [shelf.get(key) is not None for key in "abc"] == [True, False, True]


@pytest.mark.parametrize("keep", [True, False])
async def test_only_answers_that_may_be_kept_are_kept(keep):
    shelf = Shelf(2)

    async def ask() -> tuple[str, bool]:
        return "v", keep

    assert not (await shelf.fetch("a", ask)).dropped
    assert (shelf.get("a") is not None) == keep
