"""The load client of the bench, against the least possible store."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load import ROOT, LoadError, Order, send
from bench.services import HOST
from bench.signed import Request, write_object
from gateway.embedded.child import Child, free_ports


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running stub."""
    [port] = free_ports(1)
    log = tmp_path_factory.mktemp("stub") / "stub.log"
    child = Child([sys.executable, "-m", "bench.stub", str(port)], log=log, cwd=ROOT)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    child.wait_until(listens, timeout=20)
    yield port
    child.stop()


def test_every_connection_gets_as_many_answers_as_were_ordered(stub: int) -> None:
    load = send(Request(HOST, stub, "GET", "/bench/4096"), Order(3, count=7))
    assert load.requests == 21
    assert 0 < load.median <= load.p99 <= load.longest <= load.seconds


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) + 1, 5 << 20])
def test_uploads_of_any_size_are_answered_one_after_the_other(stub: int, size: int, tmp_path: Path) -> None:
    body = write_object(tmp_path / "body", size)
    load = send(Request(HOST, stub, "PUT", "/bench/object", body=body), Order(2, count=3))
    assert load.requests == 6


def test_an_answer_other_than_2xx_is_an_error_and_no_measurement(stub: int) -> None:
    with pytest.raises(LoadError):
        send(Request(HOST, stub, "GET", "/no-size"), Order(1, count=1))
