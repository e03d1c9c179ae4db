"""The results as Markdown."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.measure import Cell, ratio_of
from bench.memory import PARALLEL, Peak
from bench.rows import Cells
from bench.services import LARGE
from bench.signed import Framing
from bench.stalls import UPLOADS, Stalls
from gateway import __version__
from gateway.embedded.store import find_program

READING = "## Reading"
_MIB = 1 << 20


def render(cells: Cells, peaks: Sequence[Peak], size: int, stalls: Sequence[Stalls], command: str) -> str:
    """Everything but the reading, which people write."""
    parts = [
        "# What the gateway costs",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, `{command}`. {_versions()}",
        "",
        "CPU is user and system time of the one process between client and backend, by /proc, divided by the requests. "
        "All of a table is from one run in alternating rounds; numbers are medians of the rounds, ratios medians of "
        "each round's ratio. Load generator, proxy and backend share the machine, so take the ratios and not the "
        "absolute numbers. nginx neither verifies nor signs.",
        "",
        *_missing(),
        "## 4 KiB, 32 connections, the least possible backend",
        "",
        *_small(cells.bare),
        "",
        "## 4 KiB, 32 connections, a real store behind (SeaweedFS)",
        "",
        *_small(cells.store),
        "",
        "## 64 MiB, 2 connections, the least possible backend",
        "",
        *_large(cells.large),
        "",
        *_targets(cells.large),
        "",
        f"## Peak memory, {PARALLEL} transfers of {size // _MIB} MiB at once",
        "",
        *_table(
            ["", "before", "up", "down"],
            [[peak.name, *(f"{value / _MIB:.0f} MiB" for value in (peak.idle, peak.up, peak.down))] for peak in peaks],
        ),
        "",
        f"## Small reads beside {UPLOADS} uploads of 64 MiB",
        "",
        *_stalls(stalls),
    ]
    return "\n".join(parts) + "\n"


def write(path: Path, text: str) -> None:
    """Write the results and keep the reading that is there."""
    reading = ""
    if path.exists():
        old = path.read_text(encoding="utf-8")
        reading = old[old.index(READING) :] if READING in old else ""
    path.write_text(f"{text}\n{reading}" if reading else text, encoding="utf-8")


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [head, ["---" if not number else "---:" for number, _ in enumerate(head)], *lines]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _small(cells: Sequence[Cell]) -> list[str]:
    head = ["request", "through", "requests/s", "p50", "p99", "CPU per request", "x nginx"]
    return _table(
        head,
        [
            [
                cell.request,
                _name(cell),
                f"{cell.rate:.0f}",
                f"{cell.median * 1e3:.1f} ms",
                f"{cell.p99 * 1e3:.1f} ms",
                "" if cell.cpu is None else f"{cell.cpu * 1e6:.0f} µs",
                _ratio(cell.ratio),
            ]
            for cell in cells
        ],
    )


def _large(cells: Sequence[Cell]) -> list[str]:
    head = ["request", "through", "MiB/s", "CPU per 64 MiB", "x nginx"]
    return _table(
        head,
        [
            [
                cell.request,
                _name(cell),
                f"{cell.rate * LARGE / _MIB:.0f}",
                "" if cell.cpu is None else f"{cell.cpu * 1e3:.0f} ms",
                _ratio(cell.ratio),
            ]
            for cell in cells
        ],
    )


def _name(cell: Cell) -> str:
    return "Bucketwarden" if cell.front.name.startswith("gateway") else cell.front.name


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _targets(cells: Sequence[Cell]) -> list[str]:
    """The ratios that have a target: what checking costs over not checking, in the same process."""
    ours = {cell.request: cell for cell in cells if cell.front.name.startswith("gateway")}
    lines = []
    for framing, base, target in (
        (Framing.SIGNED_CHUNKS, Framing.HEX, 1.6),
        (Framing.TRAILER_CRC32, Framing.UNSIGNED, 1.4),
        (Framing.TRAILER_CRC64NVME, Framing.UNSIGNED, 1.4),
    ):
        ratio = ratio_of(ours[f"PUT 64 MiB, {framing.value}"], ours[f"PUT 64 MiB, {base.value}"])
        lines.append([f"{framing.value} / {base.value}", _ratio(ratio), f"{target}"])
    return _table(["CPU of an upload", "ratio", "target at most"], lines)


def _stalls(stalls: Sequence[Stalls]) -> list[str]:
    lines = _table(
        [
            "uploads",
            "reads/s",
            "read p50",
            "read p99",
            "longest read",
            "loop late p99",
            "latest",
            "latest while running",
        ],
        [
            [
                stall.name,
                f"{stall.reads.requests / stall.reads.seconds:.0f}",
                *(
                    f"{value * 1e3:.1f} ms"
                    for value in (
                        stall.reads.median,
                        stall.reads.p99,
                        stall.reads.longest,
                        stall.late_p99,
                        stall.late_longest,
                        stall.late_running,
                    )
                ),
            ]
            for stall in stalls
        ],
    )
    return [
        *lines,
        "",
        'One client reads 4 KiB, waits 5 ms and reads again. "Loop late" is how late a 5 ms timer fires inside the '
        'gateway, "while running" the longest of these after taking off the time the thread had no processor.',
    ]


def _missing() -> list[str]:
    lines = []
    if shutil.which("wrk") is None:
        lines.append("wrk is not installed: small requests were sent by a slower client, requests/s are its limit.")
    if _nginx() is None:
        lines.append("nginx is not installed: no rows and no ratios for it, and reads came from a Python stub.")
    return [*lines, ""] if lines else []


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _versions() -> str:
    found = [f"Bucketwarden {__version__}", f"Python {platform.python_version()}", f"aiohttp {version('aiohttp')}"]
    programs = (([_nginx(), "-v"], r"nginx/(\S+)"), ([shutil.which("wrk"), "-v"], r"wrk \S*?([0-9][0-9.]*)"))
    for argv, pattern in programs:
        if argv[0] is not None:
            found.append(f"{Path(argv[0]).name} {_asked([str(part) for part in argv], pattern)}")
    found.append(f"SeaweedFS {_asked([str(find_program()), 'version'], r'([0-9]+[.][0-9]+)')}")
    return f"{', '.join(found)}; {os.cpu_count()} cores, {platform.machine()}, {platform.system()}."


def _asked(argv: list[str], pattern: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - programs we measure
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match is not None else "of unknown version"
