"""Every parser of untrusted bytes keeps its promises for as long as it is tried."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.engine import BrokenPromiseError, Target, fuzz
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("BUCKETWARDEN_FUZZ_SECONDS", "1"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_breaks_a_promise(target: Target) -> None:
    assert fuzz(target, SECONDS, seed=1).tried > len(target.seeds)


def test_a_parser_that_breaks_its_promise_is_found() -> None:
    """The positive control: without it, a fuzzer that tries nothing would pass as well."""

    def careless(data: bytes) -> None:
        if data.count(b"<") > 2 and data.endswith(b"9"):
            raise IndexError

    with pytest.raises(BrokenPromiseError) as caught:
        fuzz(Target("careless", careless, [b"<a>"], [b"<", b"9"]), 10, seed=1)
    assert caught.value.data.endswith(b"9")


def test_the_same_seed_tries_the_same_inputs() -> None:
    def recording(into: list[bytes]) -> Target:
        return Target("recording", into.append, [b"<a>"], [b"<", b"9"])

    first: list[bytes] = []
    second: list[bytes] = []
    fuzz(recording(first), 0.05, seed=3)
    fuzz(recording(second), 0.05, seed=3)
    both = min(len(first), len(second))
    assert both > 10
    assert first[:both] == second[:both]


def test_the_way_into_a_parser_is_found_from_an_honest_input() -> None:
    """Inputs are kept because they reach lines of the gateway that the seeds do not."""
    (target,) = [target for target in TARGETS if target.name == "head"]
    assert fuzz(target, 5, seed=2).kept > 3
