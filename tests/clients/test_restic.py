"""restic, which keeps a repository of many small objects: what it reads back it checks by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.clients.client import run
from tests.clients.conftest import FileOf
from tests.clients.gateways import Gateways, Key, Transport
from tests.clients.programs import find_program
from tests.lanes import lane

RESTIC = lane("restic", find_program("restic") is not None, "no restic; tests/clients/install.sh installs it")


@RESTIC
@pytest.mark.parametrize("transport", ["http", "https"])
def test_a_backup_is_made_checked_restored_and_pruned(
    gateways: Gateways, transport: Transport, file_of: FileOf, folder: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for size in (0, 1, 5 * (1 << 20) + 1, 64 << 20):
        os.link(file_of(size), source / f"ü + {size}")
    with gateways.door(transport) as door:

        def restic(*arguments: str | Path, key: Key = gateways.keys.owner) -> str:
            program = find_program("restic")
            assert program is not None
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "RESTIC_REPOSITORY": f"s3:{door.url}/{door.bucket}/{folder}repository",
                "RESTIC_PASSWORD": "of this test only",
                "AWS_ACCESS_KEY_ID": key.id,
                "AWS_SECRET_ACCESS_KEY": key.secret,
            }
            return run([program, "--cacert", door.authority.bundle, *arguments], environment)

        restic("init")
        restic("backup", source)
        restic("check", "--read-data")
        restic("restore", "latest", "--target", tmp_path / "restored")
        restored = tmp_path / "restored" / source.relative_to("/")
        assert {path.name: path.read_bytes() for path in restored.iterdir()} == {
            path.name: path.read_bytes() for path in source.iterdir()
        }
        restic("snapshots", "--no-lock", key=gateways.keys.reader)
        restic("forget", "latest", "--prune", "--keep-last", "1")
