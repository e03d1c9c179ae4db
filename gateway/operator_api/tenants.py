"""Tenants: owners of buckets and keys."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from gateway.operator_api.bodies import read_body
from gateway.operator_api.queries import read_query
from gateway.operator_api.shapes import CreateTenantBody, show_tenant
from keystore.protocols import KeyAdmin


@dataclass(frozen=True, slots=True)
class Tenants:
    """The handlers of `/api/v1/tenants`."""

    admin: KeyAdmin

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/v1/tenants", self.list), web.post("/api/v1/tenants", self.create)]

    async def list(self, request: web.Request) -> web.Response:
        read_query(request, ())
        items = [show_tenant(tenant) for tenant in await self.admin.list_tenants()]
        return web.json_response({"items": items, "next_page_token": None})

    async def create(self, request: web.Request) -> web.Response:
        body = await read_body(request, CreateTenantBody)
        tenant = await self.admin.create_tenant(body.name)
        return web.json_response(show_tenant(tenant), status=201)
