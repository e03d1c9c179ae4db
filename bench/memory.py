"""The most memory that a process holds while 16 transfers run at once."""

from __future__ import annotations

from dataclasses import dataclass

from bench.load import Order, send
from bench.process import forget_peak, peak_rss
from bench.services import HOST, Front, Scene
from bench.signed import BUCKET, Framing, Request, Signer, write_object

PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Peak:
    """Peak resident bytes of one process: while idle, while sending to the store, while fetching from it."""

    name: str
    idle: int
    up: int
    down: int


def measure_memory(scene: Scene, size: int) -> list[Peak]:
    """Up into the sink, down from the files in memory; `size` bytes each."""
    plain = scene.directory / "objects" / BUCKET / str(size)
    if not plain.exists():
        write_object(plain, size)
    pairs = [("Bucketwarden", scene.sink.gateway, scene.files.gateway)]
    if scene.sink.proxy is not None and scene.files.proxy is not None:
        pairs.insert(0, (scene.sink.proxy.name, scene.sink.proxy, scene.files.proxy))
    peaks = []
    for name, up, down in pairs:
        upload = Signer(up.credential, HOST, up.port).put(Framing.UNSIGNED, plain)
        download = Signer(down.credential, HOST, down.port).get(size)
        peaks.append(Peak(name, *_peaks(up, upload), _peaks(down, download)[1]))
    return peaks


def _peaks(front: Front, request: Request) -> tuple[int, int]:
    assert front.pid is not None  # noqa: S101 - proxies and gateways have one
    forget_peak(front.pid)
    idle = peak_rss(front.pid)
    send(request, Order(PARALLEL, count=1))
    return idle, peak_rss(front.pid)
