"""A TCP proxy between the key store and Postgres that can go wrong on command."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit


def through(dsn: str, port: int) -> str:
    """The same DSN with this proxy's address; without TLS, so that the proxy can read along."""
    parts = urlsplit(dsn)
    return parts._replace(
        netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}", query="sslmode=disable"
    ).geturl()


@dataclass
class Wire:
    """One connection. `frozen`: nothing passes any more in either direction, and nothing is closed."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    listens: bool = False
    frozen: bool = False


@dataclass
class Proxy:
    """Forwards 127.0.0.1:`port` to a Postgres."""

    target: str
    port: int = 0
    black_hole: bool = False
    """New connections are accepted and never answered."""
    swallow_notifications: bool = False
    """What PgBouncer does in transaction mode (F10): LISTEN succeeds, nothing is ever delivered."""
    wires: list[Wire] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze_listeners(self) -> None:
        """Every connection that has sent LISTEN goes silent."""
        for wire in self.wires:
            wire.frozen = wire.frozen or wire.listens

    def freeze_all(self) -> None:
        """Every connection goes silent, new ones too."""
        self.black_hole = True
        for wire in self.wires:
            wire.frozen = True

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.black_hole:
                await asyncio.Event().wait()
            address = urlsplit(self.target)
            server_reader, server_writer = await asyncio.open_connection(address.hostname, address.port)
            wire = Wire(writer, server_writer)
            self.wires.append(wire)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._up(reader, wire))
                group.create_task(self._down(server_reader, wire))
        except* OSError:
            pass
        finally:
            writer.close()

    async def _up(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        while data := await reader.read(65536):
            wire.listens = wire.listens or b"LISTEN" in data
            if wire.frozen:
                await asyncio.Event().wait()
            wire.server.write(data)
            await wire.server.drain()
        wire.server.close()

    async def _down(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        while True:
            try:
                head = await reader.readexactly(5)
                message = head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
            except asyncio.IncompleteReadError:
                wire.client.close()
                return
            if wire.frozen:
                await asyncio.Event().wait()
            if self.swallow_notifications and head[:1] == b"A":
                continue
            wire.client.write(message)
            await wire.client.drain()
