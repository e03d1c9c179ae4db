"""Buckets: which exist for whom, and under which name the backend keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from gateway.naming import DEFAULT_TENANT, backend_bucket_name
from gateway.operator_api.bodies import read_body
from gateway.operator_api.ports import BackendBuckets
from gateway.operator_api.problems import ProblemError
from gateway.operator_api.queries import read_name, read_query
from gateway.operator_api.shapes import CreateBucketBody, show_bucket
from keystore.protocols import KeyAdmin


@dataclass(frozen=True, slots=True)
class Buckets:
    """The handlers of `/api/v1/buckets`."""

    admin: KeyAdmin
    backend: BackendBuckets

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/buckets", self.list),
            web.post("/api/v1/buckets", self.create),
            web.get("/api/v1/buckets/{name}", self.show),
        ]

    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, ("tenant",))
        found = await self.admin.buckets_of(read_name(query, "tenant"))
        items = [show_bucket(tenant, bucket) for tenant, bucket in found]
        return web.json_response({"items": items, "next_page_token": None})

    async def create(self, request: web.Request) -> web.Response:
        """Create a bucket at the backend and record it, or record one that is there (`adopt`).

        Backend first: should the record then fail, what is left is an empty bucket that can be adopted, never
        a record of a bucket that does not exist.
        """
        body = await read_body(request, CreateBucketBody)
        tenant = await self.admin.get_tenant(body.tenant)
        backend_name = _backend_name(body)
        exists = await self.backend.exists(backend_name)
        if body.adopt and not exists:
            raise ProblemError("conflict", f"the backend has no bucket {backend_name} to adopt")
        if not body.adopt and exists:
            raise ProblemError("conflict", f"the backend has a bucket {backend_name} already; adopt takes it over")
        if not exists:
            await self.backend.create(backend_name)
        bucket = await self.admin.add_bucket(tenant.id, body.name, backend_name)
        location = request.rel_url.with_path(f"/api/v1/buckets/{body.name}").with_query(tenant=body.tenant)
        return web.json_response(show_bucket(tenant.name, bucket), status=201, headers={"Location": str(location)})

    async def show(self, request: web.Request) -> web.Response:
        """Bucket names are unique within a tenant: `?tenant=` says which, the default tenant otherwise."""
        tenant = read_name(read_query(request, ("tenant",)), "tenant") or DEFAULT_TENANT
        for owner, bucket in await self.admin.buckets_of(tenant):
            if bucket.name == request.match_info["name"]:
                return web.json_response(show_bucket(owner, bucket))
        raise ProblemError("not_found", f"tenant {tenant} has no such bucket")


def _backend_name(body: CreateBucketBody) -> str:
    if body.backend_name is not None:
        return body.backend_name
    return body.name if body.adopt else backend_bucket_name(body.tenant, body.name)
