"""Runs the bench and writes bench/RESULTS.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from bench.measure import Effort, measure_large, measure_small
from bench.memory import measure_memory
from bench.report import render, write
from bench.rows import cells_of
from bench.services import LARGE, Scene, scene
from bench.stalls import measure_stalls

_RESULTS = Path(__file__).with_name("RESULTS.md")
_MEMORY = Path("/dev/shm")  # noqa: S108 - the directory made there is private


@click.command()
@click.option("--full", is_flag=True, help="Longer and steadier, and 256 MiB in the memory rows; about ten minutes.")
@click.option("--output", type=click.Path(path_type=Path), default=_RESULTS, show_default=True)
def main(full: bool, output: Path) -> None:
    """Measure the gateway beside its store and beside nginx; about three minutes."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        _tell("starting Postgres, a store, nginx and the gateways ...")
        with scene(Path(directory)) as running:
            text = _measure(running, full=full)
    write(output, text)
    click.echo(text)


def _measure(running: Scene, *, full: bool) -> str:
    effort = Effort(rounds=5, seconds=5.0, transfers=24) if full else Effort(rounds=3, seconds=2.0, transfers=8)
    size = 256 << 20 if full else LARGE
    cells = cells_of(running)
    measure_small(cells.bare, effort, _tell)
    # Written first: what is read has to be there.
    measure_small(cells.store[::-1], effort, _tell)
    measure_large(cells.large, effort, _tell)
    _tell("memory ...")
    peaks = measure_memory(running, size)
    _tell("stalls ...")
    stalls = measure_stalls(running, seconds=10.0 if full else 3.0)
    return render(cells, peaks, size, stalls, "python -m bench --full" if full else "make bench")


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)
    else:
        click.echo(text, err=True)


if __name__ == "__main__":
    main()
