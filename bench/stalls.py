"""Does hashing stop everybody else? Small reads beside eight large uploads, and the event loop's own view of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from bench.load import Load, Order, Sending
from bench.services import HOST, LARGE, SMALL, Scene
from bench.signed import BUCKET, Framing, Signer

UPLOADS = 8


@dataclass(frozen=True, slots=True)
class Stalls:
    """Times in seconds. `late` are the loop's own, `without_processor` what of the worst the machine took from it."""

    name: str
    reads: Load
    late_p99: float
    late_longest: float
    late_running: float  # the longest that the loop was late and had a processor


def measure_stalls(scene: Scene, seconds: float) -> list[Stalls]:
    """Against the sink: a small read there costs nothing, whatever the uploads do."""
    plain = scene.directory / "objects" / BUCKET / str(LARGE)
    found = []
    for framing in (None, Framing.HEX, Framing.SIGNED_CHUNKS, Framing.TRAILER_CRC64NVME):
        report = scene.directory / "stalls.json"
        gateway, child = scene.gateways.start("gateway-watched", scene.sink.direct, report)
        signer = Signer(gateway.credential, HOST, gateway.port)
        probe = signer.get(SMALL)
        Sending(probe, Order(1, count=50)).result()
        begun = time.monotonic()
        uploads = None if framing is None else Sending(signer.put(framing, plain), Order(UPLOADS, seconds=seconds))
        reads = Sending(probe, Order(1, seconds=seconds, pause=0.005)).result()
        ended = time.monotonic()
        if uploads is not None:
            uploads.result()
        child.stop(timeout=20)
        found.append(_read(report, "no upload" if framing is None else framing.value, reads, begun, ended))
    return found


def _read(report: Path, name: str, reads: Load, begun: float, ended: float) -> Stalls:
    samples = [sample for sample in json.loads(report.read_text(encoding="ascii")) if begun <= sample[0] <= ended]
    late = sorted(sample[1] for sample in samples)
    running = max(sample[1] - sample[2] for sample in samples)
    return Stalls(name, reads, late[int(len(late) * 0.99)], late[-1], running)
