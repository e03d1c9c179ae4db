"""Load: `wrk` for small requests where it is installed, and `bench.client` for everything else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.signed import Request

ROOT = Path(__file__).parent.parent
_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadError(Exception):
    """An answer was none, or not 2xx: what was measured would be something else."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw: answers, the seconds that took, and the times of single requests in seconds."""

    requests: int
    seconds: float
    median: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class Order:
    """How to send: on so many connections at once, for `seconds` or until each has had `count` answers."""

    connections: int
    seconds: float | None = None
    count: int | None = None
    pause: float = 0.0  # seconds between an answer and the next request


def send_small(request: Request, order: Order) -> Load:
    """Send a small request over and over, by wrk if there is one. Raises LoadError."""
    program = shutil.which("wrk")
    return send(request, order) if program is None else _run_wrk(program, request, order)


def send(request: Request, order: Order) -> Load:
    """Send a request by the own client, and wait for the end. Raises LoadError."""
    return Sending(request, order).result()


class Sending:
    """The own client at work in a process of its own."""

    def __init__(self, request: Request, order: Order) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.client"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        json.dump(
            {
                "host": request.host,
                "port": request.port,
                "head": request.head().decode("latin-1"),
                "body": None if request.body is None else str(request.body),
                "connections": order.connections,
                "seconds": order.seconds,
                "count": order.count,
                "pause": order.pause,
            },
            self._process.stdin,
        )
        self._process.stdin.close()
        self._process.stdin = None

    def result(self) -> Load:
        """Wait for the end. Raises LoadError."""
        output, _ = self._process.communicate()
        answer = json.loads(output)
        if "error" in answer:
            raise LoadError(answer["error"])
        return Load(**answer)


def _run_wrk(program: str, request: Request, order: Order) -> Load:
    arguments = [f"http://{request.host}:{request.port}{request.target}", "--", request.method]
    arguments.append("" if request.body is None else str(request.body))
    headers = [part for name, value in request.headers for part in ("-H", f"{name}: {value}")]
    duration = f"{max(1, round(order.seconds or 1))}s"  # it takes whole seconds only
    done = subprocess.run(  # noqa: S603 - arguments are ours, and no shell reads them
        [program, "-t1", f"-c{order.connections}", f"-d{duration}", f"-s{_SCRIPT}", *headers, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise LoadError(f"wrk says nothing: {done.stdout}{done.stderr}")
    requests, errors, *micros = [int(part) for part in found[1].split()]
    if errors or not requests:
        raise LoadError(f"{request.method} {request.target.partition('?')[0]}: {errors} of {requests} answers failed")
    seconds, median, p99, longest = [value / 1e6 for value in micros]
    return Load(requests, seconds, median, p99, longest)
