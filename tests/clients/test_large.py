"""1 GiB in parts, on request: BUCKETWARDEN_LARGE=1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.clients.client import Client
from tests.clients.conftest import FileOf
from tests.clients.gateways import Door
from tests.clients.python_clients import Boto3
from tests.clients.test_clients import digest_of, stored_digest


@pytest.mark.skipif(os.environ.get("BUCKETWARDEN_LARGE") != "1", reason="BUCKETWARDEN_LARGE=1 runs it")
@pytest.mark.parametrize("client", [Boto3], indirect=True)
@pytest.mark.timeout(900)
def test_a_gibibyte_goes_up_in_parts_and_comes_back_as_it_was(
    client: Client, door: Door, file_of: FileOf, folder: str, tmp_path: Path
) -> None:
    source = file_of(1 << 30)
    client.put(f"{folder}large", source)
    client.get(f"{folder}large", tmp_path / "back")
    assert digest_of(tmp_path / "back") == digest_of(source) == stored_digest(door, f"{folder}large")
    client.delete(f"{folder}large")
