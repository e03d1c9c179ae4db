"""How each client signs and frames its uploads, watched on the wire and held against docs/clients.md."""

from __future__ import annotations

import os

import pytest

from tests.clients.client import MULTIPART_FROM, Client, Refused
from tests.clients.conftest import OBSERVED, FileOf
from tests.clients.gateways import Door, Transport
from tests.clients.modes import Row, describe, documented


@pytest.mark.parametrize("transport", ["http", "https"])
def test_the_documentation_says_what_the_client_sends(
    client: Client, door: Door, transport: Transport, file_of: FileOf, folder: str
) -> None:
    before = len(door.requests)
    for size in (0, 1, 5 * (1 << 20) + 1):
        client.put(f"{folder}{size}", file_of(size))
    try:
        client.put(f"{folder}parts", file_of(MULTIPART_FROM + 1))
    except Refused:
        assert (client.name, door.store.name) == ("minio-go", "seaweedfs")  # at the end only: the parts were sent
    seen = door.requests[before:]
    row = Row(client.name, client.version(), transport, describe(seen, "PutObject"), describe(seen, "UploadPart"))
    OBSERVED[client.name, transport] = row

    said = documented().get((client.name, transport))
    assert said is not None, f"docs/clients.md lacks this row:\n{row}"
    if said.version != row.version and os.environ.get("BUCKETWARDEN_REQUIRE_LANES") != "1":
        pytest.skip(f"docs/clients.md tells of version {said.version}; here is {row.version}")
    assert str(said) == str(row)
