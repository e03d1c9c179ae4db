"""Connecting: the right host, bounded in time, and one kind of error."""

from __future__ import annotations

import asyncio
import socket
import time

import asyncpg
import pytest

from keystore.connections import (
    CALL_LIMIT,
    DATABASE_ERRORS,
    HeldConnections,
    Link,
    Timelines,
    answering,
    hosts_of,
    open_link,
)
from keystore.model import Conflict, KeyStoreUnavailable


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://u:p@h1:1/db", [("h1", 1)]),
        ("postgresql://u:p@h1/db", [("h1", 5432)]),
        ("postgresql://u:p@h1:1,h2,h3:3/db?sslmode=require", [("h1", 1), ("h2", 5432), ("h3", 3)]),
        ("postgresql://u:p%40x@[::1]:7/db", [("::1", 7)]),
        ("postgresql://u@/db?host=/run/pg&port=6543", [("/run/pg", 6543)]),
        ("postgresql:///db?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://u@%2Frun%2Fpg/db", [("/run/pg", 5432)]),
    ],
)
def test_hosts_are_read_as_libpq_reads_them(dsn, hosts, monkeypatch):
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGPORT", raising=False)
    assert hosts_of(dsn) == hosts


async def test_a_host_that_never_answers_does_not_hide_the_one_behind_it(dsn, proxy):
    """F7: asyncpg alone spends its whole time limit on the first host."""
    proxy.black_hole = True
    both = dsn.replace("@", f"@127.0.0.1:{proxy.port},")
    began = time.monotonic()
    link = await open_link(both)
    assert await link.connection.fetchval("SELECT 1") == 1
    assert time.monotonic() - began < 1.0
    link.connection.terminate()


async def test_nobody_answering_takes_no_longer_than_the_limit(dsn, proxy, proxied_dsn):
    proxy.black_hole = True
    began = time.monotonic()
    with pytest.raises(KeyStoreUnavailable):
        async with answering("test", 10):
            await open_link(proxied_dsn)
    assert time.monotonic() - began < CALL_LIMIT + 0.3


async def test_a_wrong_password_is_told_rather_than_the_silence_of_another_host(dsn, proxy):
    proxy.black_hole = True
    wrong = dsn.replace("postgres:", "postgres:wrong", 1).replace("@", f"@127.0.0.1:{proxy.port},")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await open_link(wrong)


async def test_the_kernel_watches_every_connection(dsn):
    """F8: asyncpg sets neither."""
    link = await open_link(dsn)
    wire = link.connection._transport.get_extra_info("socket")  # noqa: SLF001
    assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
    assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
    link.connection.terminate()


async def test_a_server_on_an_older_timeline_is_not_used_any_more(dsn):
    """F3: an old primary goes on answering."""
    timelines = Timelines()
    held = HeldConnections(dsn, 1, timelines)

    async def ask(link: Link) -> int:
        return link.timeline

    timeline = await held.run(ask)
    timelines.newest = timeline + 1
    with pytest.raises(OSError, match="replaced by a newer primary"):
        await held.run(ask)
    held.close()


async def test_our_own_refusals_keep_the_connection_and_errors_do_not(dsn):
    held = HeldConnections(dsn, 1, Timelines())

    async def pid(link: Link) -> int:
        return await link.connection.fetchval("SELECT pg_backend_pid()")

    async def refuse(link: Link) -> None:
        raise Conflict("no")

    async def fail(link: Link) -> None:
        await link.connection.execute("SELECT no_such_function()")

    first = await held.run(pid)
    with pytest.raises(Conflict):
        await held.run(refuse)
    assert await held.run(pid) == first
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await held.run(fail)
    assert await held.run(pid) != first
    held.close()


async def test_a_caller_that_gives_up_leaves_the_connection_to_nobody(dsn):
    held = HeldConnections(dsn, 1, Timelines())

    async def sleep(link: Link) -> None:
        await link.connection.execute("SELECT pg_sleep(30)")

    async def pid(link: Link) -> int:
        return await link.connection.fetchval("SELECT pg_backend_pid()")

    first = await held.run(pid)
    with pytest.raises(KeyStoreUnavailable):
        async with answering("test", 0.2):
            await held.run(sleep)
    assert await held.run(pid) != first
    held.close()


async def test_a_commit_that_the_standby_did_not_confirm_is_an_error(dsn, sql):
    """F5: Postgres commits locally when the wait is cancelled, and asyncpg reports success."""
    held = HeldConnections(dsn, 1, Timelines())

    async def write(link: Link) -> None:
        await link.connection.execute("SET synchronous_commit = on")
        await link.connection.execute("INSERT INTO tenants (name) VALUES ('lonely')")

    await sql.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await sql.execute("SELECT pg_reload_conf()")
    try:
        task = asyncio.create_task(held.run(write))
        async with asyncio.timeout(10):
            while not await sql.fetch("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
                await sql.execute("SELECT pg_sleep(0.02)")
        await sql.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        with pytest.raises(DATABASE_ERRORS, match="not confirmed by the standby"):
            await task
    finally:
        await sql.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await sql.execute("SELECT pg_reload_conf()")
        held.close()
