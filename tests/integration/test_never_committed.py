"""Whatever is wrong with a body: the store keeps the old object, or none, and the client hears what AWS would say."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from tests import wire
from tests.gateways import BUCKET, GatewayProcess, World
from tests.integration.spoiling import Fault, Upload, faults
from tests.wire import MODES, Chunked, Client, Key, Reply, Request

OLD = b"the object that was there before"
SIZES = {"small": 70_000, "large": 3 << 19}
"""Bytes. The small one is read whole before anything goes to the store, the large one passes piece by piece."""
CHUNK = {"small": 17_500, "large": 64 * 1024}
DATA = {name: random.Random(size).randbytes(size) for name, size in SIZES.items()}  # noqa: S311 - test data


@dataclass
class Target:
    """Where the bad uploads go: a key that holds OLD, and an upload in parts that has none."""

    world: World
    gateway: GatewayProcess
    key: Key
    upload_ids: dict[str, str] = field(default_factory=dict)
    controls: set[tuple[str, str, str]] = field(default_factory=set)
    touched: bool = True
    """Whether an upload began whose end was not seen to be right: what it left must not fail the tests behind it."""

    async def prepare(self) -> None:
        """Make the key hold OLD, and the upload in parts none."""
        if self.touched:
            await self.world.put("k", OLD)
            self.upload_ids.pop("k", None)
        self.touched = True

    async def upload_id(self, key: str) -> str:
        if key not in self.upload_ids:
            reply = await self.gateway.send(self.gateway.signed(self.key, "POST", f"/{BUCKET}/{key}?uploads="))
            upload_id = reply.element("UploadId")
            assert upload_id, str(reply)
            self.upload_ids[key] = upload_id
        return self.upload_ids[key]

    async def upload(self, operation: str, mode: str, size: str, key: str) -> Upload:
        """An upload of DATA to `key`, to be signed and spoilt."""
        target = f"/{BUCKET}/{key}"
        if operation == "UploadPart":
            target += f"?partNumber=1&uploadId={wire.encode(await self.upload_id(key))}"

        def sign(headers: tuple[tuple[str, str], ...] = (), **knobs: Any) -> tuple[Request, Chunked | None]:
            request = Request("PUT", target, [("Host", self.gateway.host), *headers])
            return wire.upload(
                self.key, request, mode, DATA[size], **({"chunk": CHUNK[size], "when": datetime.now(UTC)} | knobs)
            )

        return Upload(mode, DATA[size], sign)

    async def control(self, operation: str, mode: str, size: str) -> None:
        """Once: the same upload unspoilt is stored, byte for byte, in both framings."""
        if (operation, mode, size) in self.controls:
            return
        for te in (False, True) if mode.startswith("STREAMING-") else (False,):
            upload = await self.upload(operation, mode, size, f"control-{te}")
            reply = await self.gateway.send(upload.plain(te=te))
            assert reply.status == 200, f"the control was refused: {reply}"
            if operation == "PutObject":
                assert await self.world.stored(f"control-{te}") == DATA[size]
            else:
                # SeaweedFS lists a part once for every time that it was uploaded.
                assert set(await self.world.parts(f"control-{te}", await self.upload_id(f"control-{te}"))) == {1}
        self.controls.add((operation, mode, size))

    async def nothing_was_committed(self) -> None:
        assert await self.world.stored("k") == OLD
        assert await self.world.parts("k", await self.upload_id("k")) == []
        self.touched = False


@pytest.fixture(scope="module")
def target(every_world: World) -> Target:
    gateway = every_world.start()
    return Target(every_world, gateway, asyncio.run(every_world.new_key(gateway)))


CASES = [
    pytest.param(operation, size, fault, id=f"{fault.mode}-{operation}-{size}-{fault.name}")
    for fault in faults()
    for operation in ("PutObject", "UploadPart")
    for size in SIZES
]


async def send_and_end(port: int, data: bytes) -> Reply:
    """Send and say that nothing more comes; return the answer."""
    async with await Client.open(port) as client:
        if await client.try_send(data):
            client.half_close()
        return await client.reply()


@pytest.mark.parametrize(("operation", "size", "fault"), CASES)
async def test_a_bad_body_leaves_the_store_as_it_was(target: Target, operation: str, size: str, fault: Fault) -> None:
    """And the client gets AWS's code for it."""
    await target.control(operation, fault.mode, size)
    await target.prepare()
    data = fault.spoil(await target.upload(operation, fault.mode, size, "k"))
    reply = await send_and_end(target.gateway.s3, data)
    assert (reply.status, reply.code) == fault.refusal, str(reply)
    await target.nothing_was_committed()


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999, 1.0], ids=["0", "50-percent", "99.9-percent", "last-byte"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_that_vanishes_leaves_the_store_as_it_was(
    target: Target, mode: str, operation: str, size: str, part: float
) -> None:
    """By a reset, in the middle of an upload or before its last byte (R12)."""
    await target.control(operation, mode, size)
    await target.prepare()
    request = (await target.upload(operation, mode, size, "k")).plain()
    client = await Client.open(target.gateway.s3)
    await client.send(request.head() + request.body[: int(part * (len(request.body) - 1))])
    client.reset()
    await target.nothing_was_committed()


async def test_nothing_is_committed_later_either(target: Target) -> None:
    """After all bad uploads of this module: no store was only late in keeping one; and the gateway still works."""
    if target.touched:
        pytest.skip("no bad upload was tried before, or the last one failed")
    await target.nothing_was_committed()
    assert target.gateway.metric("bucketwarden_requests_in_flight") == 0
    reply = await target.gateway.send(target.gateway.signed(target.key, "GET", f"/{BUCKET}/k"))
    assert (reply.status, reply.body) == (200, OLD)
