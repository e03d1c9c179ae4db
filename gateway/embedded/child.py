"""One program run as a direct child: nothing of it outlives us, and Ctrl-C reaches us first.

Three things make that true. The kernel signals the child when its parent dies (PR_SET_PDEATHSIG, prctl(2)),
so that even `kill -9` leaves no orphan. The child has a session of its own, so that the terminal's Ctrl-C and
hang-up go to us alone and we decide the order in which things stop. And we are its parent, so it is reaped.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway.embedded.files import open_private

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02

# These, and those 10000 above, are below the range from which Linux gives ports to outgoing connections
# (32768 and up): none of those can take a port between our looking and the child's binding.
_PORTS = range(10000, 22000)


class EmbeddedError(Exception):
    """An embedded service cannot be started or has died; the text says what to do about it."""


class Child:
    """A running program. Its output is appended to a log file that only the owner may read (mode 0600).

    `death_signal` is what the kernel sends it when we die. `user` and `group` are numeric ids to run as; None
    keeps ours. Raises EmbeddedError if the program cannot be run at all.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        death_signal: signal.Signals = signal.SIGKILL,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        # The kernel means the parent *thread*: when a worker thread ended, its children would be killed.
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("an embedded service must be started by the main thread")
        self.name = Path(argv[0]).name
        self.log = log
        with open_private(log, "ab") as output:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the callers name the programs, no user does
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                    # Runs after the change of user, which would clear it (prctl(2)).
                    preexec_fn=die_with_parent(death_signal),
                    user=user,
                    group=group,
                    extra_groups=None if user is None else [],
                )
            except OSError as error:
                raise EmbeddedError(f"{argv[0]} does not run: {error.strerror}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Return once `ready()` is true. Raises EmbeddedError if the child ends or `timeout` seconds pass."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise EmbeddedError(f"{self.name} ended with status {self._process.returncode}; see {self.log}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} is not ready after {timeout:g} s; see {self.log}")
            time.sleep(_POLL_SECONDS)

    def stop(self, *, stop_signal: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> None:
        """Ask the child to end, wait up to `timeout` seconds, then kill it and what it started."""
        if self.running:
            self._process.send_signal(stop_signal)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child has to call between fork and exec to be sent `death_signal` when its parent dies.

    Everything is looked up now: after a fork only the simplest of things are safe. Raises EmbeddedError on
    systems other than Linux, which have no such call.
    """
    prctl = _prctl()
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # Whoever was orphaned before the call will never be told.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return arm


def end_with_parent() -> None:
    """Ask the kernel for a SIGTERM to ourselves when our parent dies. Raises EmbeddedError, see above."""
    _prctl()(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def free_ports(count: int, *, also: int = 0) -> list[int]:
    """Return `count` different ports that nobody listens on now, on 127.0.0.1.

    With `also`, the port that much above each one is free too.
    """
    with ExitStack() as held:
        ports: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            if all(_hold(held, wanted) for wanted in {port, port + also}):
                ports.append(port)
            if len(ports) == count:
                return ports
    raise EmbeddedError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def is_free(port: int) -> bool:
    """Whether nobody listens on 127.0.0.1:`port`."""
    with ExitStack() as held:
        return _hold(held, port)


def _prctl() -> Callable[[int, int, int, int, int], int]:
    if sys.platform != "linux":
        raise EmbeddedError("the embedded services run on Linux only; use a database and a store of your own")
    prctl: Callable[[int, int, int, int, int], int] = ctypes.CDLL(None).prctl
    return prctl


def _hold(held: ExitStack, port: int) -> bool:
    listener = held.enter_context(socket.socket())
    # As servers do: connections of the last run in TIME_WAIT do not count.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
