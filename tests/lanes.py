"""Lanes: tests that need something from the system, such as another store or a client program.

A lane that is missing skips its tests and is named at the end of the run; with BUCKETWARDEN_REQUIRE_LANES=1
its tests fail instead. Tests of a lane are marked:

    RCLONE = lane("rclone", shutil.which("rclone") is not None, "no rclone on PATH")

    @RCLONE
    def test_rclone_copies_a_tree() -> None: ...
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest


@dataclass(slots=True)
class Lane:
    """`why` says what is missing; `tests` counts the tests that entered the lane in this run."""

    name: str
    present: bool
    why: str
    tests: int = 0


LANES: dict[str, Lane] = {}


def lane(name: str, present: bool, why: str) -> pytest.MarkDecorator:
    """Declare a lane and return the mark for its tests; `why` tells what is missing if it is not present."""
    LANES.setdefault(name, Lane(name, present, why))
    return pytest.mark.lane(name)


def enter(name: str) -> None:
    """Count a test of the lane, or end it here: skipped, or failed where every lane is required."""
    found = LANES[name]
    if found.present:
        found.tests += 1
    elif os.environ.get("BUCKETWARDEN_REQUIRE_LANES") == "1":
        pytest.fail(f"lane {name} is required: {found.why}", pytrace=False)
    else:
        pytest.skip(f"lane {name}: {found.why}")


def summary() -> list[str]:
    """One line for each lane: how many tests ran in it, or why none did."""
    lines = []
    for found in sorted(LANES.values(), key=lambda one: one.name):
        if not found.present:
            lines.append(f"lane {found.name}: did not run: {found.why}")
        elif found.tests:
            lines.append(f"lane {found.name}: ran, {found.tests} tests")
        else:
            lines.append(f"lane {found.name}: present, no test of it was selected")
    return lines
