"""A small coverage-guided fuzzer: mutate inputs, keep those that reach new lines, stop at the first finding.

Nothing but the standard library, so that it runs wherever the tests run. It is slower than a native one and knows
the seeds and words of each format in exchange.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

SLOWEST = 1.0  # seconds of CPU that one input may cost, traced


@dataclass(frozen=True)
class Target:
    """One parser: `run` takes an input and raises when a promise of the parser is broken.

    `seeds` are honest inputs, `words` the bits of grammar that mutations insert.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    longest: int = 4096


class BrokenPromiseError(Exception):
    """An input that breaks a promise; the cause is what the target raised."""

    def __init__(self, target: Target, data: bytes) -> None:
        super().__init__(f"{target.name}: {data!r}")
        self.data = data


@dataclass(frozen=True)
class Outcome:
    """What a run came to: inputs tried, and those kept because they reached something new."""

    tried: int
    kept: int


def fuzz(target: Target, seconds: float, seed: int) -> Outcome:
    """Fuzz `target` for `seconds`; the same seed tries the same inputs in the same order.

    Raises:
        BrokenPromiseError: on the first input that breaks a promise.
    """
    rng = random.Random(seed)  # noqa: S311
    seen: set[tuple[CodeType, int]] = set()
    corpus: list[bytes] = []
    for data in target.seeds:
        _try(target, data, seen)
        corpus.append(data)
    tried = len(corpus)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = _mutate(rng, rng.choice(corpus), corpus, target)
        if _try(target, data, seen):
            corpus.append(data)
        tried += 1
    return Outcome(tried, len(corpus) - len(target.seeds))


def _try(target: Target, data: bytes, seen: set[tuple[CodeType, int]]) -> bool:
    """Run one input; returns whether it reached a line of the gateway that none before it did."""
    before = len(seen)

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            seen.add((frame.f_code, frame.f_lineno))
        return local

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        return local if "/gateway/" in frame.f_code.co_filename else None

    start = time.thread_time()
    tracer = sys.gettrace()
    sys.settrace(enter)
    try:
        target.run(data)
    except Exception as error:
        sys.settrace(tracer)
        raise BrokenPromiseError(target, data) from error
    finally:
        sys.settrace(tracer)
    if time.thread_time() - start > SLOWEST:
        raise BrokenPromiseError(target, data) from TimeoutError(f"more than {SLOWEST} s")
    return len(seen) > before


def _mutate(rng: random.Random, data: bytes, corpus: Sequence[bytes], target: Target) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((0, 1, 1, 2, 4, 16, 64)))
        match rng.randrange(8):
            case 0:  # a random byte in place of some
                data = data[:at] + rng.randbytes(1) + data[end:]
            case 1:  # a word in place of some
                data = data[:at] + rng.choice(target.words) + data[end:]
            case 2:  # a word between
                data = data[:at] + rng.choice(target.words) + data[at:]
            case 3:  # some left out
                data = data[:at] + data[end:]
            case 4:  # some twice, or often
                data = data[:at] + data[at:end] * rng.choice((2, 2, 3, 50)) + data[end:]
            case 5:  # the beginning of one, the end of another
                other = rng.choice(corpus)
                data = data[:at] + other[rng.randrange(len(other) + 1) :]
            case 6 if data:  # one bit
                bent = bytearray(data)
                bent[at % len(data)] ^= 1 << rng.randrange(8)
                data = bytes(bent)
            case _:  # cut off
                data = data[:at]
    return data[: target.longest]
