"""`bucketwarden demo` as a process: what it writes, what it keeps, and that nothing of it outlives it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import pytest

from gateway.embedded.child import free_ports
from tests.embedded.processes import ROOT, becomes_true, is_running

DEMO = [sys.executable, "-m", "gateway", "demo"]


class Demo:
    """A running demo in a directory of its own, on ports of its own."""

    def __init__(self, directory: Path, *, ports: list[int] | None = None, command: list[str] = DEMO) -> None:
        self.directory = directory
        self.ports = ports or free_ports(3)
        names = ("S3", "OPERATOR", "METRICS")
        listeners = {
            f"BUCKETWARDEN_{name}__LISTEN": f"127.0.0.1:{port}" for name, port in zip(names, self.ports, strict=True)
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE"))}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                **environment,
                **listeners,
                "BUCKETWARDEN_EMBEDDED__DIRECTORY": str(directory),
                # A profile that does not exist: the shell's settings are not the demo's.
                "AWS_PROFILE": "no-such-profile",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def started(self) -> str:
        """Wait until it serves; returns what it printed up to there."""
        assert self.process.stdout is not None
        printed = ""
        for line in self.process.stdout:
            printed += line
            if line.startswith("Ctrl-C ends everything"):
                return printed
        raise AssertionError(f"the demo ended: {printed}")

    def environment(self) -> dict[str, str]:
        words = shlex.split((self.directory / "demo.env").read_text())
        return dict(word.partition("=")[::2] for word in words)

    def s3(self) -> Any:
        values = self.environment()
        return boto3.client(
            "s3",
            endpoint_url=values["AWS_ENDPOINT_URL"],
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            region_name=values["AWS_DEFAULT_REGION"],
        )

    def processes(self) -> list[int]:
        """Everything that runs with the demo's directory in its command line or beneath such a process."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and is_running(int(entry.name)):
                try:
                    if str(self.directory) in (entry / "cmdline").read_bytes().decode(errors="replace"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path / "state")
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGKILL)


def test_the_environment_file_lets_a_client_in_and_a_second_start_keeps_key_and_data(demo: Demo) -> None:
    printed = demo.started()
    first = demo.environment()
    assert set(first) == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
        "AWS_DEFAULT_REGION",
        "BUCKETWARDEN_BUCKET",
        "BUCKETWARDEN_URL",
        "BUCKETWARDEN_TOKEN",
        "BUCKETWARDEN_METRICS_URL",
    }
    assert (demo.directory / "demo.env").stat().st_mode & 0o777 == 0o600
    assert first["AWS_ENDPOINT_URL"] in printed
    assert first["AWS_ACCESS_KEY_ID"] in printed
    assert first["AWS_SECRET_ACCESS_KEY"] not in printed
    assert first["BUCKETWARDEN_TOKEN"] not in printed
    demo.s3().put_object(Bucket=first["BUCKETWARDEN_BUCKET"], Key="kept", Body=b"bytes")
    with urlopen(first["BUCKETWARDEN_METRICS_URL"], timeout=5) as answer:  # noqa: S310 - http to ourselves
        assert b"bucketwarden_" in answer.read()
    assert demo.end() == 0

    again = Demo(demo.directory, ports=demo.ports)
    try:
        again.started()
        assert again.environment() == first
        assert again.s3().get_object(Bucket="demo", Key="kept")["Body"].read() == b"bytes"
    finally:
        again.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(demo: Demo, number: signal.Signals) -> None:
    demo.started()
    assert len(demo.processes()) >= 2  # Postgres and the store
    demo.end(number)
    assert becomes_true(lambda: demo.processes() == [])


def test_a_new_key_is_made_when_the_environment_file_is_gone(demo: Demo) -> None:
    demo.started()
    first = demo.environment()
    demo.end()
    (demo.directory / "demo.env").unlink()
    again = Demo(demo.directory)
    try:
        again.started()
        assert again.environment()["AWS_ACCESS_KEY_ID"] != first["AWS_ACCESS_KEY_ID"]
        assert again.s3().list_objects_v2(Bucket="demo")["KeyCount"] == 0
    finally:
        again.end()


def test_a_taken_port_is_named_with_the_way_to_change_it(tmp_path: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        running = Demo(tmp_path / "state", ports=[*free_ports(1), taken, *free_ports(1)])
        printed, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken}" in printed
    assert "BUCKETWARDEN_OPERATOR__LISTEN=" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "state").exists()  # nothing was started


def test_it_ends_with_the_make_that_started_it(tmp_path: Path) -> None:
    """`kill -9` of make must not leave it running: nobody would know of it."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"run:\n\t@exec {shlex.join(DEMO)}\n")
    running = Demo(tmp_path / "state", command=["make", "-f", str(makefile), "run"])
    running.started()
    gateway = [pid for pid in children(running.process.pid) if is_running(pid)]
    assert len(gateway) == 1
    running.process.kill()
    assert becomes_true(lambda: not is_running(gateway[0]) and running.processes() == [])
    running.process.communicate()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
