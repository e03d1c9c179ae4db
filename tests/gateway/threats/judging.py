"""How a threat case is judged: the honest twin works, the attack is refused, and the backend never knew of it."""

from __future__ import annotations

from collections.abc import Collection
from xml.etree import ElementTree

from tests.gateway.harness import BACKEND_HOST, BACKEND_KEY, Gateway
from tests.wire import Reply, Request

Statuses = int | tuple[int, ...]
Codes = str | Collection[str] | None


async def accepted(gateway: Gateway, request: Request, status: int = 200) -> Reply:
    """The positive control: without it a refusal proves nothing."""
    reply = await gateway.send(request)
    assert reply.status == status, f"the control was refused: {reply}"
    assert reply.complete
    return reply


async def refused(
    gateway: Gateway, request: Request | bytes, status: Statuses, code: Codes = None, *, head_only: bool | None = None
) -> Reply:
    """The attack is refused with this status and code, and the backend received no byte of it."""
    before = gateway.backend.received
    reply = await gateway.send(request, head_only=head_only)
    check_refusal(reply, status, code)
    await saw_nothing(gateway, before)
    return reply


async def not_committed(gateway: Gateway, request: Request | bytes, status: Statuses, code: Codes = None) -> Reply:
    """The attack is refused, whatever went on before, and no request of it was complete at the backend."""
    before = len(gateway.backend.committed)
    objects = snapshot(gateway)
    reply = await gateway.send(request)
    check_refusal(reply, status, code)
    await gateway.alive()
    await nothing_open(gateway)
    assert len(gateway.backend.committed) == before + 1, "the backend received a complete request"
    assert snapshot(gateway) == objects
    return reply


def snapshot(gateway: Gateway) -> dict[str, dict[bytes, bytes]]:
    """All objects of the store, and the parts of uploads."""
    kept = {b: {k: stored.body for k, stored in objects.items()} for b, objects in gateway.backend.buckets.items()}
    parts = {u: {str(n).encode(): data for n, data in parts.items()} for u, parts in gateway.backend.uploads.items()}
    return kept | parts


async def saw_nothing(gateway: Gateway, before: int) -> None:
    """Since `backend.received` was `before` no byte has come: shown by a valid request that comes alone."""
    await gateway.alive()
    backend = gateway.backend
    assert backend.received == before + backend.requests[-1].size, "the backend received bytes of a refused request"


async def nothing_open(gateway: Gateway) -> None:
    """No request is left half-sent on a connection that still stands."""
    backend = gateway.backend
    await backend.until(
        lambda: all(seen.complete or seen.connection.closed for seen in backend.requests), "broken-off requests to end"
    )


def read_xml(body: bytes) -> ElementTree.Element:
    """Read a document of the gateway's with a strict parser."""
    return ElementTree.fromstring(body)  # noqa: S314 - our own, and it has to be well-formed


def check_refusal(reply: Reply, status: Statuses, code: Codes) -> None:
    """A refusal in S3's words: the right status and code, a request id, and nothing of the backend's."""
    statuses = (status,) if isinstance(status, int) else status
    assert reply.status in statuses, f"{reply}"
    if reply.body:
        document = read_xml(reply.body)
        assert document.tag == "Error"
        assert document.findtext("RequestId") == reply.get("x-amz-request-id")
    if code is not None and reply.body:
        assert reply.code in ((code,) if isinstance(code, str) else code), f"{reply}"
    told = reply.raw_head + reply.body
    for canary in (
        BACKEND_HOST.partition(":")[0],
        BACKEND_KEY.access_key_id,
        BACKEND_KEY.secret_access_key,
        "t1--",
        "t2--",
    ):
        assert canary.encode() not in told, f"the refusal tells of the backend: {canary}"
