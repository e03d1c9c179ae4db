"""What is measured: the cells of each table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.measure import Cell
from bench.services import HOST, LARGE, SMALL, Behind, Front, Scene
from bench.signed import BUCKET, Framing, Signer


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of the three tables."""

    bare: list[Cell]
    store: list[Cell]
    large: list[Cell]


def cells_of(scene: Scene) -> Cells:
    """All of them, not yet measured."""
    objects = scene.directory / "objects" / BUCKET
    small, large = objects / str(SMALL), objects / str(LARGE)
    return Cells(
        bare=[*_small_reads(scene.files), *_small_writes(scene.sink, small)],
        store=[
            *_small_reads(scene.store, direct=True),
            *_small_writes(scene.store, small, direct=True),
        ],
        large=[*_large_reads(scene.files), *_large_writes(scene.sink, large)],
    )


def _signer(front: Front) -> Signer:
    return Signer(front.credential, HOST, front.port)


def _small_reads(behind: Behind, *, direct: bool = False) -> list[Cell]:
    cells = []
    base = None
    if direct:
        cells.append(Cell("GET 4 KiB", behind.direct, lambda: _signer(behind.direct).get(SMALL)))
    if (proxy := behind.proxy) is not None:
        base = Cell("GET 4 KiB", proxy, lambda: _signer(proxy).get(SMALL))
        cells.append(base)
    gateway = _signer(behind.gateway)
    cells.append(Cell("GET 4 KiB", behind.gateway, lambda: gateway.get(SMALL), base))
    if not direct:
        cells.append(Cell("GET 4 KiB, presigned", behind.gateway, lambda: gateway.presigned("GET", SMALL), base))
    return cells


def _small_writes(behind: Behind, plain: Path, *, direct: bool = False) -> list[Cell]:
    cells = []
    base = None
    name = "PUT 4 KiB, presigned, unsigned"
    if direct:
        cells.append(Cell(name, behind.direct, lambda: _signer(behind.direct).presigned("PUT", SMALL, plain)))
    if (proxy := behind.proxy) is not None:
        base = Cell(name, proxy, lambda: _signer(proxy).presigned("PUT", SMALL, plain))
        cells.append(base)
    gateway = _signer(behind.gateway)
    cells.append(Cell(name, behind.gateway, lambda: gateway.presigned("PUT", SMALL, plain), base))
    cells.append(Cell("PUT 4 KiB, hex hash", behind.gateway, lambda: gateway.put(Framing.HEX, plain), base))
    return cells


def _large_reads(behind: Behind) -> list[Cell]:
    cells = []
    base = None
    if (proxy := behind.proxy) is not None:
        base = Cell("GET 64 MiB", proxy, lambda: _signer(proxy).get(LARGE))
        cells.append(base)
    cells.append(Cell("GET 64 MiB", behind.gateway, lambda: _signer(behind.gateway).get(LARGE), base))
    return cells


def _large_writes(behind: Behind, plain: Path) -> list[Cell]:
    cells: list[Cell] = []
    base = None
    if (proxy := behind.proxy) is not None:
        base = Cell("PUT 64 MiB, unsigned", proxy, lambda: _signer(proxy).put(Framing.UNSIGNED, plain))
        cells.append(base)
    gateway = _signer(behind.gateway)
    return cells + [_upload(gateway, framing, plain, behind.gateway, base) for framing in Framing]


def _upload(signer: Signer, framing: Framing, plain: Path, front: Front, base: Cell | None) -> Cell:
    return Cell(f"PUT 64 MiB, {framing.value}", front, lambda: signer.put(framing, plain), base)
