"""Health for whoever starts and balances us: `/livez` is this process alone, `/readyz` is serving."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from gateway import __version__

Readiness = Callable[[], list[str]]
"""Why this gateway should get no traffic now; an empty list means it is ready. Must not block."""


def health_routes(readiness: Readiness) -> list[web.RouteDef]:
    """GET and HEAD of `/livez`, `/readyz` and `/version`, for any listener. None asks the database."""

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        reasons = readiness()
        status = "not_ready" if reasons else "ready"
        return web.json_response({"status": status, "reasons": reasons}, status=503 if reasons else 200)

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": __version__})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/version", version)]
