"""`python -m tests.fuzz [--seconds N] [--seed N] [TARGET ...]`: fuzz each parser for N seconds."""

from __future__ import annotations

import argparse
import secrets
import traceback

from tests.fuzz.engine import BrokenPromiseError, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Returns the number of targets with a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each target")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="to repeat a run")
    parser.add_argument("targets", nargs="*", help=", ".join(target.name for target in TARGETS))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")  # noqa: T201
    findings = 0
    for target in TARGETS:
        if arguments.targets and target.name not in arguments.targets:
            continue
        try:
            outcome = fuzz(target, arguments.seconds, arguments.seed)
        except BrokenPromiseError as finding:
            findings += 1
            traceback.print_exception(finding)
        else:
            print(f"{target.name}: {outcome.tried} inputs, {outcome.kept} kept, no finding")  # noqa: T201
    return findings


if __name__ == "__main__":
    raise SystemExit(main())
