"""The backend's side: what a connection may and may not do, against a server that the test writes by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.upstream import HIGH_WATER, Upstream, UpstreamError, UpstreamLimits

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"GET / HTTP/1.1\r\nhost: backend\r\n\r\n"


@asynccontextmanager
async def backend(serve: Serve, limits: UpstreamLimits | None = None) -> AsyncIterator[Upstream]:
    """A pool of connections to a server that treats each of them with `serve`."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = Upstream("127.0.0.1", server.sockets[0].getsockname()[1], None, limits or UpstreamLimits())
    try:
        yield upstream
    finally:
        await upstream.close()
        server.close()


async def test_a_connection_is_read_again_after_an_answer_that_ended_while_reading_was_paused() -> None:
    """A slow client's answer fills the buffer with its last bytes; the next exchange must not wait for ever."""
    size = HIGH_WATER + 100_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))

    async with backend(serve, UpstreamLimits(first_byte=2)) as upstream:
        for _ in range(2):
            answer = await upstream.exchange(HEAD)
            await asyncio.sleep(0.2)  # nobody reads meanwhile
            assert len(await answer.read_all(1 << 30)) == size
        assert upstream.opened == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole-body", "streamed-body"])
async def test_a_backend_that_accepts_and_never_answers_costs_the_first_byte_timeout(streamed: bool) -> None:
    """R7: whatever kind of body the request has."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1 << 20)

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    async with backend(serve, UpstreamLimits(first_byte=0.1)) as upstream, asyncio.timeout(3):
        with pytest.raises(UpstreamError, match="timeout"):
            await upstream.exchange(HEAD, pieces() if streamed else b"")


async def test_a_backend_that_stops_in_the_middle_of_an_answer_costs_the_idle_timeout() -> None:
    """And what came before is not mistaken for the whole."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await reader.read()

    async with backend(serve, UpstreamLimits(idle=0.1)) as upstream, asyncio.timeout(3):
        answer = await upstream.exchange(HEAD)
        assert await answer.read() == b"half"
        with pytest.raises(UpstreamError, match="timeout"):
            await answer.read()


async def test_a_slow_client_does_not_cost_the_backend_its_idle_time() -> None:
    """While we do not read, the backend has no chance to send: that is no stall of its own."""
    size = 4 * HIGH_WATER

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
        await reader.read()

    async with backend(serve, UpstreamLimits(idle=0.3)) as upstream:
        answer = await upstream.exchange(HEAD)
        await asyncio.sleep(1.5)
        assert len(await answer.read_all(1 << 30)) == size


async def test_nothing_is_sent_of_an_upload_whose_client_sends_nothing() -> None:
    """SeaweedFS keeps an empty part of an upload that breaks off behind its head; and no connection is held for it."""
    accepted = 0

    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1

    async def pieces() -> AsyncGenerator[bytes, None]:
        raise ConnectionResetError("the client is gone")
        yield b""

    async with backend(serve) as upstream:
        with pytest.raises(ConnectionResetError):
            await upstream.exchange(HEAD, pieces())
        await asyncio.sleep(0.05)
        assert accepted == 0


async def test_a_streamed_body_of_no_bytes_is_sent_too() -> None:
    """The head alone is the whole request then."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def pieces() -> AsyncGenerator[bytes, None]:
        return
        yield b""

    async with backend(serve, UpstreamLimits(first_byte=2)) as upstream:
        answer = await upstream.exchange(HEAD, pieces())
        assert answer.status == 200
