"""The operator API as one aiohttp application, for a listener of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web

from gateway import __version__
from gateway.config import Config
from gateway.health import Readiness, health_routes
from gateway.operator_api.bodies import BODY_LIMIT_BYTES
from gateway.operator_api.buckets import Buckets
from gateway.operator_api.guard import ACTOR, Handler, guard
from gateway.operator_api.keys import Keys
from gateway.operator_api.ports import BackendBuckets, Observer, ignore
from gateway.operator_api.protocol_log import PROTOCOL_LOG
from gateway.operator_api.queries import read_query
from gateway.operator_api.tenants import Tenants
from keystore.protocols import KeyAdmin


def utc_now() -> datetime:
    return datetime.now(UTC)


def build_operator_app(
    admin: KeyAdmin,
    buckets: BackendBuckets,
    config: Config,
    readiness: Readiness,
    observe: Observer = ignore,
    now: Callable[[], datetime] = utc_now,
) -> web.Application:
    """The whole operator surface. `readiness` lists why we are not ready; `observe` gets each event."""
    health = health_routes(readiness)
    app = web.Application(
        client_max_size=BODY_LIMIT_BYTES,
        handler_args={"logger": PROTOCOL_LOG, "auto_decompress": False, "keepalive_timeout": 75.0},
        middlewares=[guard(admin, config.operator, [route.handler for route in health], observe)],
    )
    app.on_response_prepare.append(_add_headers)
    app.add_routes(
        [
            *health,
            web.get("/api/v1/whoami", _whoami(config)),
            *Keys(admin, config, observe, now).routes(),
            *Buckets(admin, buckets).routes(),
            *Tenants(admin).routes(),
        ]
    )
    return app


def _whoami(config: Config) -> Handler:
    async def whoami(request: web.Request) -> web.Response:
        read_query(request, ())
        kind, _, name = request[ACTOR].partition(":")
        return web.json_response(
            {
                "type": kind,
                "name": name,
                "role": "admin",
                "endpoint_url": config.s3.endpoint_url,
                "region": config.s3.region,
                "version": __version__,
            }
        )

    return whoami


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """On every answer, whoever made it: nothing is stored on the way, and no version is told to strangers."""
    response.headers["Server"] = "bucketwarden"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
