"""Memory of the gateway while many large objects pass at once, on request: BUCKETWARDEN_LARGE=1."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.clients.conftest import FileOf
from tests.clients.gateways import REGION, Gateways, Transport

TRANSFERS = 16
SIZE = 256 << 20
# For each transfer 1 MiB of ours; the rest is buffers of asyncio and TLS and the allocator's slack. Seen: 40 MiB.
ALLOWANCE = 64 << 20


@pytest.mark.skipif(os.environ.get("BUCKETWARDEN_LARGE") != "1", reason="BUCKETWARDEN_LARGE=1 runs it")
@pytest.mark.parametrize("store", ["minio"], indirect=True)
@pytest.mark.parametrize("transport", ["http", "https"])
@pytest.mark.timeout(1200)
def test_sixteen_large_transfers_each_way_take_a_bounded_amount_of_memory(
    gateways: Gateways,
    transport: Transport,
    file_of: FileOf,
    folder: str,
) -> None:
    pid = gateways.processes[transport].pid
    client: Any = boto3.client(
        "s3",
        endpoint_url=f"{transport}://127.0.0.1:{gateways.ports[transport]}",
        aws_access_key_id=gateways.keys.owner.id,
        aws_secret_access_key=gateways.keys.owner.secret,
        region_name=REGION,
        verify=str(gateways.authority.bundle),
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=TRANSFERS, read_timeout=300),
    )
    source = file_of(SIZE)

    def upload(number: int) -> None:
        with source.open("rb") as body:
            client.put_object(Bucket="photos", Key=f"{folder}{number}", Body=body)

    def download(number: int) -> int:
        body = client.get_object(Bucket="photos", Key=f"{folder}{number}")["Body"]
        return sum(len(piece) for piece in body.iter_chunks(1 << 20))

    idle = _resident(pid, "VmRSS")
    _reset_peak(pid)
    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(upload, range(TRANSFERS)))
        up = _resident(pid, "VmHWM")
        _reset_peak(pid)
        assert list(threads.map(download, range(TRANSFERS))) == [SIZE] * TRANSFERS
    down = _resident(pid, "VmHWM")
    print(f"\n{transport}: idle {idle >> 20} MiB, peak of uploads {up >> 20}, of downloads {down >> 20}")  # noqa: T201
    assert up - idle < ALLOWANCE
    assert down - idle < ALLOWANCE


def _resident(pid: int, field: str) -> int:
    """Bytes: VmRSS is now, VmHWM the peak since the start or `_reset_peak` (proc(5))."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))


def _reset_peak(pid: int) -> None:
    (Path("/proc") / str(pid) / "clear_refs").write_text("5")
