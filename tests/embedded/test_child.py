"""A child never outlives its parent, and its log belongs to its owner alone."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from gateway.embedded.child import Child, EmbeddedError, free_ports, is_free
from tests.embedded.processes import Script, becomes_true, is_running

PARENT = """
import signal, sys, time
from pathlib import Path
from gateway.embedded.child import Child
child = Child(["sh", "-c", sys.argv[2]], log=Path(sys.argv[1]), death_signal=signal.Signals[sys.argv[3]])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_kill_9_of_the_parent_kills_a_child_that_ignores_signals(tmp_path: Path) -> None:
    parent = Script(PARENT, tmp_path / "log", "trap '' TERM INT HUP; while :; do sleep 0.1; done", "SIGKILL")
    child = int(parent.line)
    assert is_running(child)
    parent.kill()
    assert becomes_true(lambda: not is_running(child))


def test_kill_9_of_the_parent_sends_the_chosen_signal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = Script(PARENT, log, "trap 'echo interrupted; exit' INT; echo armed; while :; do sleep 0.1; done", "SIGINT")
    assert becomes_true(lambda: "armed" in log.read_text())
    parent.kill()
    assert becomes_true(lambda: "interrupted" in log.read_text())


def test_a_child_does_not_share_the_terminal_with_us(tmp_path: Path) -> None:
    child = Child(["sleep", "60"], log=tmp_path / "log")
    try:
        assert os.getsid(child.pid) == child.pid
        assert os.getpgid(child.pid) != os.getpgid(0)
    finally:
        child.stop()


def test_stop_kills_what_does_not_end_in_time_and_its_own_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(["sh", "-c", "trap '' TERM; sleep 60 & echo $!; while :; do wait; done"], log=log)
    assert becomes_true(lambda: log.read_text() != "")
    grandchild = int(log.read_text())
    child.stop(timeout=0.2)
    assert not child.running
    assert becomes_true(lambda: not is_running(grandchild))


def test_stopping_twice_is_no_error(tmp_path: Path) -> None:
    child = Child(["sleep", "60"], log=tmp_path / "log")
    child.stop()
    child.stop()


def test_a_child_that_ends_before_it_is_ready_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "exit 3"], log=tmp_path / "log")
    with pytest.raises(EmbeddedError, match=f"sh ended with status 3; see {tmp_path}/log"):
        child.wait_until(lambda: False, timeout=10)


def test_a_child_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    child = Child(["sleep", "60"], log=tmp_path / "log")
    try:
        with pytest.raises(EmbeddedError, match=r"sleep is not ready after 0\.1 s"):
            child.wait_until(lambda: False, timeout=0.1)
    finally:
        child.stop()


def test_a_program_that_does_not_exist_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="/no/such/program does not run: No such file"):
        Child(["/no/such/program"], log=tmp_path / "log")


def test_a_thread_may_not_start_a_child(tmp_path: Path) -> None:
    """The kernel would kill the child at the end of the thread."""
    caught: list[Exception] = []

    def start() -> None:
        try:
            Child(["sleep", "60"], log=tmp_path / "log")
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_only_the_owner_reads_the_log(tmp_path: Path) -> None:
    Child(["true"], log=tmp_path / "log").stop()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20, also=10000)
    assert len(set(ports)) == 20
    assert all(is_free(port) and is_free(port + 10000) for port in ports)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not is_free(listener.getsockname()[1])
