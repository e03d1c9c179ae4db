"""Rounds: every cell of a table is measured in turn, again and again, so that what disturbs one disturbs all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.load import Load, Order, send, send_small
from bench.process import cpu_seconds
from bench.services import Front
from bench.signed import Request


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: what the clients saw, and the seconds of CPU per request of the process between."""

    load: Load
    cpu: float | None


@dataclass(slots=True, eq=False)
class Cell:
    """One line of a table: a kind of request against something that listens.

    `make` signs anew for every round, because header signatures live for 15 minutes. `base` is what its CPU is
    compared with.
    """

    request: str
    front: Front
    make: Callable[[], Request]
    base: Cell | None = None
    samples: list[Sample] = field(default_factory=list)

    @property
    def cpu(self) -> float | None:
        """Median seconds of CPU per request."""
        values = [sample.cpu for sample in self.samples if sample.cpu is not None]
        return statistics.median(values) if values else None

    @property
    def rate(self) -> float:
        """Median requests per second."""
        return statistics.median(sample.load.requests / sample.load.seconds for sample in self.samples)

    @property
    def median(self) -> float:
        """Median of the rounds' median seconds per request."""
        return statistics.median(sample.load.median for sample in self.samples)

    @property
    def p99(self) -> float:
        """Median of the rounds' 99th percentiles, in seconds."""
        return statistics.median(sample.load.p99 for sample in self.samples)

    @property
    def ratio(self) -> float | None:
        """Median of the rounds' ratios of CPU to `base`."""
        return None if self.base is None else ratio_of(self, self.base)


def ratio_of(cell: Cell, base: Cell) -> float | None:
    """Median of the rounds' ratios of CPU; None if one of them was not measured."""
    pairs = [(mine.cpu, other.cpu) for mine, other in zip(cell.samples, base.samples, strict=True)]
    ratios = [mine / other for mine, other in pairs if mine is not None and other]
    return statistics.median(ratios) if ratios else None


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: rounds, seconds of a small cell, transfers of a large one on two connections."""

    rounds: int
    seconds: float
    transfers: int


def measure_small(cells: Sequence[Cell], effort: Effort, tell: Callable[[str], None]) -> None:
    """32 connections, as many requests as they get answered."""
    _rounds(cells, effort.rounds, lambda request: send_small(request, Order(32, seconds=effort.seconds)), tell)


def measure_large(cells: Sequence[Cell], effort: Effort, tell: Callable[[str], None]) -> None:
    """Two connections, a number of transfers."""
    _rounds(cells, effort.rounds, lambda request: send(request, Order(2, count=effort.transfers // 2)), tell)


def _rounds(cells: Sequence[Cell], rounds: int, load: Callable[[Request], Load], tell: Callable[[str], None]) -> None:
    for cell in cells:
        send(cell.make(), Order(2, count=2))  # the first ones fill caches and pools
    for number in range(rounds):
        for cell in cells:
            tell(f"round {number + 1} of {rounds}: {cell.request}, {cell.front.name}")
            request = cell.make()
            before = None if cell.front.pid is None else cpu_seconds(cell.front.pid)
            seen = load(request)
            cpu = None
            if cell.front.pid is not None and before is not None:
                cpu = (cpu_seconds(cell.front.pid) - before) / seen.requests
            cell.samples.append(Sample(seen, cpu))
