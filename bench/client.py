"""The load client of our own: sends one request again and again.

    python -m bench.client < order.json

A process of its own, one thread for each connection: bodies go out by sendfile and come in by recv_into, so that it
costs little beside what is measured. `bench.load` writes the order and reads the result.
"""

from __future__ import annotations

import json
import re
import socket
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import TypedDict

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE).search
_BUFFER = 1 << 20


class Order(TypedDict):
    """What to send and for how long: for `seconds`, or until each connection has had `count` answers."""

    host: str
    port: int
    head: str
    body: str | None  # a file
    connections: int
    seconds: float | None
    count: int | None
    pause: float  # seconds between an answer and the next request


class _AnswerError(Exception):
    """An answer was none, or not 2xx."""


class _Client(threading.Thread):
    """One connection."""

    def __init__(self, order: Order, start: threading.Barrier) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_connection((order["host"], order["port"]), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._order = order
        self._start = start
        self._buffer = bytearray(_BUFFER)
        self.times: list[float] = []
        self.error: str | None = None

    def run(self) -> None:
        order = self._order
        head = order["head"].encode("latin-1")
        body = None if order["body"] is None else Path(order["body"])
        self._start.wait()
        until = None if order["seconds"] is None else time.monotonic() + order["seconds"]
        try:
            while (until is None or time.monotonic() < until) and len(self.times) != order["count"]:
                before = time.monotonic()
                self._exchange(head, body)
                self.times.append(time.monotonic() - before)
                if order["pause"]:
                    time.sleep(order["pause"])
        except (OSError, _AnswerError) as error:
            self.error = f"{type(error).__name__}: {error}"

    def _exchange(self, head: bytes, body: Path | None) -> None:
        if body is None:
            self._socket.sendall(head)
        elif body.stat().st_size <= _BUFFER:
            self._socket.sendall(head + body.read_bytes())
        else:
            self._socket.sendall(head)
            with body.open("rb") as file:
                self._socket.sendfile(file)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._receive(None)
        if not answer.startswith(b"HTTP/1.1 2"):
            raise _AnswerError(answer[:400].decode("latin-1"))
        length = _LENGTH(answer[: end + 2])
        left = (0 if length is None else int(length[1])) - (len(answer) - end - 4)
        while left > 0:
            left -= len(self._receive(left))

    def _receive(self, limit: int | None) -> memoryview:
        size = self._socket.recv_into(self._buffer, min(_BUFFER, limit or _BUFFER))
        if not size:
            raise _AnswerError("the connection was closed before the end of an answer")
        return memoryview(self._buffer)[:size]


def _obey(order: Order) -> dict[str, object]:
    start = threading.Barrier(order["connections"] + 1)
    clients = [_Client(order, start) for _ in range(order["connections"])]
    for client in clients:
        client.start()
    start.wait()
    before = time.monotonic()
    for client in clients:
        client.join()
    seconds = time.monotonic() - before
    errors = [client.error for client in clients if client.error]
    times = sorted(value for client in clients for value in client.times)
    if errors or not times:
        return {"error": errors[0] if errors else "no answer at all"}
    return {
        "requests": len(times),
        "seconds": seconds,
        "median": statistics.median(times),
        "p99": times[min(len(times) - 1, int(len(times) * 0.99))],
        "longest": times[-1],
    }


if __name__ == "__main__":
    json.dump(_obey(json.load(sys.stdin)), sys.stdout)
