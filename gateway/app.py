"""The only place that builds things: configuration in, three listeners out; start, drain, stop."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import structlog
from aiohttp import web

from gateway.accesslog import AccessLog
from gateway.backend_admin import BotoBuckets
from gateway.config import Config, Listen
from gateway.connect import open_backend, probe, probe_until_known
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.events import Observer, Trace
from gateway.health import health_routes
from gateway.kek import load_kek
from gateway.logs import configure_logging
from gateway.logsink import LineSink
from gateway.messages import Reply, RequestHead
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.operator_api.app import build_operator_app
from gateway.pipeline import Doors, Settings, serve
from gateway.reading import FrontBody
from gateway.web import S3Listener
from keystore.migrate import migrate
from keystore.store import open_store

BACKLOG = 1024
# glibc gives buffers above 128 KiB back to the kernel after each use; 24 500 page faults per 64 MiB (H4).
MALLOC_THRESHOLD = 4 << 20
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

log = structlog.get_logger()


class StartError(Exception):
    """The gateway cannot start; the text says why and which setting to change."""


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Starts the embedded Postgres if no database is configured.

    Raises:
        StartError, ConfigError, KeyStoreError, EmbeddedError: with a sentence for the operator.
    """
    if config.database.url is not None:
        asyncio.run(serve_forever(config, config.database.url.get_secret_value()))
        return
    # Before the loop and in the main thread: the child dies with the thread that made it.
    with EmbeddedPostgres(config.embedded.directory) as postgres:
        asyncio.run(migrate(postgres.dsn))
        asyncio.run(serve_forever(config, postgres.dsn))


async def serve_forever(config: Config, dsn: str, started: Callable[[], Awaitable[None]] | None = None) -> None:
    """Start everything, call `started`, wait for a signal, drain, stop.

    Raises:
        StartError: a listener's port is taken, or a certificate cannot be read.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sink = LineSink()
    configure_logging(sink, config.log.level)
    _tune_malloc()
    try:
        async with AsyncExitStack() as stack:
            await _start(config, dsn, sink, stack)
            _spare_the_start()
            log.info("serving", s3=str(config.s3.listen), operator=str(config.operator.listen))
            if started is not None:
                await started()
            await stop.wait()
            log.info("stopping", delay=config.shutdown.delay, grace=config.shutdown.grace)
    finally:
        sink.close()


async def _start(config: Config, dsn: str, sink: LineSink, stack: AsyncExitStack) -> None:
    """Build from the inside out; the stack takes down in the opposite order."""
    store = await open_store(
        dsn,
        load_kek(config),
        replica_name=f"{socket.gethostname()}:{os.getpid()}",
        prefix=config.keys.prefix,
        max_stale=config.keys.max_stale,
        heartbeat=config.keys.heartbeat,
    )
    stack.push_async_callback(store.close)
    connection = await open_backend(config.backend, _utc_now)
    stack.push_async_callback(connection.close)
    connection.credential.start()
    if await probe(connection.backend, config.backend.upload_mode) is not None:
        probing = asyncio.create_task(probe_until_known(connection.backend, config.backend.upload_mode))
        stack.callback(probing.cancel)

    draining = False

    def ready() -> list[str]:
        return ["draining"] if draining else store.ready()

    metrics = Metrics(connection.backend.traits.name, store.stats, ready)
    observer = _Observers(metrics, AccessLog(sink) if config.log.access else None)
    doors = Doors(store.reader, store.admin, connection.backend, _utc_now, _settings(config))

    async def serve_s3(head: RequestHead, body: FrontBody, trace: Trace) -> Reply:
        return await serve(head, body, doors, trace)

    listener = S3Listener(
        serve_s3,
        observer,
        header_limit=config.s3.header_limit_bytes,
        keepalive_timeout=config.s3.keepalive_timeout,
        body_idle_timeout=config.s3.body_idle_timeout,
        head_timeout=config.s3.head_timeout,
    )

    def key_changed(access_key_id: str) -> None:
        for _ in range(listener.cut(access_key_id)):
            metrics.inflight_aborted()

    store.reader.watch(key_changed)

    operator = build_operator_app(
        store.admin, BotoBuckets(config.backend, connection.credential), config, ready, metrics.operator_event
    )
    await _serve_app(operator, config.operator.listen, "operator.listen", stack)
    await _serve_app(_metrics_app(metrics, ready), config.metrics.listen, "metrics.listen", stack)
    server = await _listen_s3(listener, config)

    async def drain() -> None:
        nonlocal draining
        draining = True
        listener.draining = True  # from now on kept connections are told that this answer is their last
        await asyncio.sleep(config.shutdown.delay)
        server.close()
        await listener.shutdown(config.shutdown.grace)

    stack.push_async_callback(drain)


async def _listen_s3(listener: S3Listener, config: Config) -> asyncio.Server:
    tls = None
    if config.s3.tls_certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            tls.load_cert_chain(config.s3.tls_certificate, config.s3.tls_private_key)
        except (OSError, ssl.SSLError) as error:
            raise StartError(f"s3.tls_certificate: cannot be used: {error}") from None
    listen = config.s3.listen
    try:
        return await asyncio.get_running_loop().create_server(
            listener, listen.host, listen.port, ssl=tls, backlog=BACKLOG
        )
    except OSError as error:
        raise _not_listening("s3.listen", listen, error) from None


async def _serve_app(app: web.Application, listen: Listen, setting: str, stack: AsyncExitStack) -> None:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, listen.host, listen.port).start()
    except OSError as error:
        raise _not_listening(setting, listen, error) from None


def _not_listening(setting: str, listen: Listen, error: OSError) -> StartError:
    if error.errno == errno.EADDRINUSE:
        return StartError(
            f"{setting}: port {listen.port} on {listen.host} is taken; stop what uses it or change {setting}"
        )
    return StartError(f"{setting}: cannot listen on {listen}: {error.strerror}")


def _metrics_app(metrics: Metrics, ready: Callable[[], list[str]]) -> web.Application:
    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def unnamed(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "Bucketwarden"  # without versions (LOG-295)

    app = web.Application()
    app.on_response_prepare.append(unnamed)
    app.add_routes([*health_routes(ready), web.get("/metrics", exposition)])
    return app


def _settings(config: Config) -> Settings:
    return Settings(
        region=config.s3.region,
        strict_region=config.s3.region_mode == "strict",
        virtual_host_suffixes=tuple(config.s3.virtual_host_suffixes),
        explain_signature_errors=config.s3.explain_signature_errors,
        endpoint_url=config.s3.endpoint_url,
    )


class _Observers:
    """Metrics first, then the access line."""

    def __init__(self, metrics: Metrics, access: AccessLog | None) -> None:
        self._all: tuple[Observer, ...] = (metrics,) if access is None else (metrics, access)

    def request_started(self) -> None:
        for observer in self._all:
            observer.request_started()

    def request_finished(self, trace: Trace) -> None:
        for observer in self._all:
            observer.request_finished(trace)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _spare_the_start() -> None:
    """Keep what the start has made out of garbage collections: each full one would stop the event loop for 60 ms."""
    gc.collect()
    gc.freeze()


def _tune_malloc() -> None:
    """Keep large buffers in the process instead of mapping and unmapping them for every read (H4)."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return
    mallopt(_M_MMAP_THRESHOLD, MALLOC_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, MALLOC_THRESHOLD)
