"""An outside judge against the gateway in front of each store.

    python -m tests.judge DIRECTORY

DIRECTORY has the judge, assault.py: attacks and conformance over raw sockets, with a target file as tests/target.py
writes it. Exit status 1 for every finding that the target file does not name as a choice of ours or a limit of the
store.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from gateway.embedded.child import Child, free_ports
from tests.target import STORES

CLEAN = ("PASS", "SKIP", "LENIENT")
SECONDS = 1200


def main(judge: Path) -> int:
    """Run attacks and conformance on every store; returns the exit status."""
    findings = [finding for store in STORES for finding in _judge(judge, store)]
    for finding in findings:
        click.echo(f"judge: {finding}")
    click.echo(f"judge: {len(findings)} findings")
    return 1 if findings else 0


def _judge(judge: Path, store: str) -> list[str]:
    directory = Path("var", "judge", store).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    target_file = directory / "target.toml"
    target_file.unlink(missing_ok=True)
    ports = dict(zip(("S3", "OPERATOR", "METRICS"), free_ports(3), strict=True))
    target = Child(
        [sys.executable, "-m", "tests.target", store],
        log=directory / "target.log",
        death_signal=signal.SIGTERM,
        env={
            **os.environ,
            "BUCKETWARDEN_EMBEDDED__DIRECTORY": str(directory),
            **{f"BUCKETWARDEN_{name}__LISTEN": f"127.0.0.1:{port}" for name, port in ports.items()},
        },
    )
    try:
        target.wait_until(target_file.exists, timeout=120)
        click.echo(f"\n== judge: attacks, {store}")
        attacks = _run(judge, target_file, directory / "attacks.json")
        click.echo(f"\n== judge: conformance, {store}")
        conformance = _run(judge, target_file, directory / "conformance.json", "--conform")
    finally:
        target.stop(timeout=60)
    return [
        f"{store}: {row['verdict']} {row['case']}: {row['note']}"
        for row in (*attacks, *conformance)
        if row["verdict"] not in CLEAN
    ]


def _run(judge: Path, target_file: Path, output: Path, *options: str) -> list[dict[str, Any]]:
    output.unlink(missing_ok=True)
    command: list[str | Path] = [sys.executable, judge / "assault.py", target_file, "-q", "-o", output, *options]
    done = subprocess.run(command, timeout=SECONDS, check=False)
    if done.returncode == 2:
        raise SystemExit("judge: the fixtures could not be written")
    results: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))["results"]
    return results


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
