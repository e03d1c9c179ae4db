"""Two gateways on one database: a revoked key ends everywhere, also what is in flight; a new one works everywhere."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests import wire
from tests.gateways import BUCKET, GatewayProcess, World
from tests.waiting import until_true
from tests.wire import Client, Key, NoReply, Reply

BODY = random.Random(1).randbytes(32 << 20)  # noqa: S311 - test data
"""More than all buffers between store and client together hold."""

Ending = Callable[[World, GatewayProcess, Key], Awaitable[None]]


async def revoke(world: World, gateway: GatewayProcess, key: Key) -> None:
    """Revoke over the operator API; at the return every gateway has confirmed."""
    status, answer = await gateway.operate(world.token, "POST", f"/keys/{key.id}/revoke", {"reason": "a test"})
    assert status == 200, answer
    assert answer["status"] == "revoked"
    assert answer["propagation"]["lagging"] == []


async def delete(world: World, gateway: GatewayProcess, key: Key) -> None:
    """Delete over the operator API; 204 says that every gateway has confirmed."""
    status, answer = await gateway.operate(world.token, "DELETE", f"/keys/{key.id}")
    assert status == 204, answer


ENDINGS = pytest.mark.parametrize("end", [revoke, delete])
OTHER_SIDE = pytest.mark.parametrize("there", [0, 1], ids=["on-the-same-gateway", "on-the-other-gateway"])


@pytest.fixture(scope="module")
def gateways(world: World) -> tuple[GatewayProcess, GatewayProcess]:
    return world.start(), world.start()


@pytest.fixture
async def key(world: World, gateways: tuple[GatewayProcess, GatewayProcess]) -> Key:
    return await world.new_key(gateways[0])


async def get(gateway: GatewayProcess, key: Key, name: str = "k") -> Reply:
    return await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/{name}"))


def check_refused(reply: Reply) -> None:
    assert (reply.status, reply.code) == (403, "InvalidAccessKeyId"), str(reply)


async def test_a_new_key_works_at_once_on_every_gateway(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess]
) -> None:
    """Made over one gateway, used on the other with the next packet; also if that one was asked for it before."""
    await world.put("k", b"body")
    for maker, user in (gateways, gateways[::-1]):
        for _ in range(10):
            made = await world.new_key(maker)
            reply = await get(user, made)
            assert (reply.status, reply.body) == (200, b"body"), str(reply)


@ENDINGS
@OTHER_SIDE
@pytest.mark.parametrize("size", [100_000, 8 << 20], ids=["small", "large"])
async def test_an_upload_that_is_arriving_ends_with_403_and_nothing_is_stored(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess], key: Key, end: Ending, there: int, size: int
) -> None:
    """The client sends slowly; the key ends in the middle; the old object stays."""
    await world.put("upload", b"old")
    gateway = gateways[there]
    request, _ = wire.upload(
        key,
        gateway.request("PUT", f"/{BUCKET}/upload").drop("content-length"),
        wire.UNSIGNED,
        BODY[:size],
        when=datetime.now(UTC),
    )
    async with await Client.open(gateway.s3) as client:
        await client.send(request.head() + request.body[: size // 2])
        await until_true(lambda: gateway.metric("bucketwarden_requests_in_flight") == 1, "the upload to begin")
        await end(world, gateways[0], key)
        sending = asyncio.create_task(client.try_send(request.body[size // 2 :]))
        check_refused(await client.reply())
        sending.cancel()
    assert await world.stored("upload") == b"old"


@ENDINGS
@OTHER_SIDE
async def test_a_download_that_is_running_is_cut_before_its_last_byte(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess], key: Key, end: Ending, there: int
) -> None:
    """The client cannot take it for a whole one: fewer bytes came than were announced."""
    await world.put("download", BODY)
    gateway = gateways[there]
    aborted = gateway.metric("bucketwarden_inflight_aborted_total", reason="revoked")
    async with await Client.open(gateway.s3, receive_buffer=64 * 1024) as client:
        await client.send(gateway.signed(key, "GET", f"/{BUCKET}/download").wire())
        received = len(await client.more())
        await end(world, gateways[0], key)
        while data := await client.more():
            received += len(data)
    assert received < len(BODY)
    assert gateway.metric("bucketwarden_inflight_aborted_total", reason="revoked") == aborted + 1


@ENDINGS
async def test_no_request_succeeds_after_the_call_has_returned(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess], key: Key, end: Ending
) -> None:
    """KEY-260: twenty kept connections on two gateways loop GET, and the call's return is the end for all of them."""
    await world.put("k", b"body")
    over = False
    late: list[str] = []
    served = 0

    async def loop(gateway: GatewayProcess) -> int:
        """Repeat GET on one connection, opened before, until 20 were refused; returns how many were."""
        nonlocal served
        refused = 0
        client = await Client.open(gateway.s3)
        while refused < 20:
            sent_after = over
            try:
                await client.send(gateway.signed(key, "GET", f"/{BUCKET}/k").wire())
                reply = await client.reply()
            except (NoReply, OSError):  # cut in flight
                client = await Client.open(gateway.s3)
                continue
            if reply.status == 200:
                served += 1
                if sent_after:
                    late.append(str(reply))
            else:
                check_refused(reply)
                refused += 1
        client.close()
        return refused

    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(loop(gateway)) for gateway in gateways for _ in range(10)]
        await until_true(lambda: served > 200, "the loops to run")
        await end(world, gateways[0], key)
        over = True
    assert late == []
    assert [one.result() for one in loops] == [20] * 20


@ENDINGS
async def test_the_parts_of_an_upload_are_refused_too(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess], key: Key, end: Ending
) -> None:
    """An upload in parts that was begun with the key cannot go on or be completed with it."""
    gateway = gateways[1]
    begun = await gateway.send(gateway.signed(key, "POST", f"/{BUCKET}/parts?uploads="))
    target = f"/{BUCKET}/parts?partNumber=1&uploadId={wire.encode(begun.element('UploadId') or '')}"
    part = await gateway.send(gateway.signed(key, "PUT", target, body=b"part"))
    assert part.status == 200, str(part)
    await end(world, gateways[0], key)
    check_refused(await gateway.send(gateway.signed(key, "PUT", target, body=b"part")))
    done = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part.get('etag')}</ETag></Part>"
    document = f"{done}</CompleteMultipartUpload>".encode()
    complete = gateway.signed(key, "POST", target.replace("partNumber=1&", ""), body=document)
    check_refused(await gateway.send(complete))
    assert await world.stored("parts") is None


async def test_a_presigned_url_dies_with_its_key(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess], key: Key
) -> None:
    """However long it was signed for."""
    await world.put("k", b"body")
    now = datetime.now(UTC)
    urls = [
        wire.presign(key, gateway.request("GET", f"/{BUCKET}/k"), expires="604800", when=now) for gateway in gateways
    ]
    for gateway, url in zip(gateways, urls, strict=True):
        assert (await gateway.send(url)).status == 200
    await revoke(world, gateways[0], key)
    for gateway, url in zip(gateways, urls, strict=True):
        check_refused(await gateway.send(url))


async def test_a_key_expires_on_every_gateway_at_its_moment(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess]
) -> None:
    """Nobody has to do anything for it: served before, refused after, by the clock."""
    await world.put("k", b"body")
    moment = datetime.now(UTC) + timedelta(seconds=1.5)
    expiring = await world.new_key(gateways[0], expires_at=moment.isoformat().replace("+00:00", "Z"))
    while True:
        before = datetime.now(UTC)
        replies = await asyncio.gather(*(get(gateway, expiring) for gateway in gateways))
        after = datetime.now(UTC)
        if after < moment:
            assert [reply.status for reply in replies] == [200, 200]
        elif before >= moment:
            break
    for reply in replies:
        check_refused(reply)
        assert "expired" in (reply.element("Message") or "")


async def test_revoking_is_quick_and_said_in_metrics_and_log(
    world: World, gateways: tuple[GatewayProcess, GatewayProcess], key: Key
) -> None:
    """The call waits for both gateways and still takes no second; operators see the refusals."""
    await get(gateways[1], key)
    begun = time.monotonic()
    await revoke(world, gateways[0], key)
    assert time.monotonic() - begun < 1.0
    failures = gateways[1].metric("bucketwarden_auth_failures_total", reason="revoked")
    reply = await get(gateways[1], key)
    check_refused(reply)
    assert gateways[1].metric("bucketwarden_auth_failures_total", reason="revoked") == failures + 1
    line = gateways[1].access_line(reply.get("x-amz-request-id"))
    assert (line["reason"], line["access_key_id"]) == ("revoked", key.id)
