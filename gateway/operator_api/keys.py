"""Access keys: list, create, show, revoke, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from gateway.config import Config
from gateway.operator_api.bodies import read_body
from gateway.operator_api.guard import ACTOR
from gateway.operator_api.ports import KeyChange, Observer
from gateway.operator_api.problems import FieldError, ProblemError
from gateway.operator_api.queries import key_ident, read_limit, read_name, read_page_token, read_query
from gateway.operator_api.shapes import (
    CreateKeyBody,
    RevokeKeyBody,
    show_connection,
    show_key,
    show_propagation,
)
from keystore.model import Invalid
from keystore.protocols import KeyAdmin


@dataclass(frozen=True, slots=True)
class Keys:
    """The handlers of `/api/v1/keys`; `now` gives the present time in UTC."""

    admin: KeyAdmin
    config: Config
    observe: Observer
    now: Callable[[], datetime]

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/keys", self.list),
            web.post("/api/v1/keys", self.create),
            web.get("/api/v1/keys/{id}", self.show),
            web.post("/api/v1/keys/{id}/revoke", self.revoke),
            web.delete("/api/v1/keys/{id}", self.delete),
        ]

    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, ("tenant", "bucket", "limit", "page_token"))
        try:
            keys, following = await self.admin.list_keys(
                tenant=read_name(query, "tenant"),
                bucket=read_name(query, "bucket"),
                limit=read_limit(query),
                after=read_page_token(query),
            )
        except Invalid as error:
            raise ProblemError("bad_query", str(error)) from None
        now = self.now()
        response = web.json_response({"items": [show_key(key, now) for key in keys], "next_page_token": following})
        if following is not None:
            target = request.rel_url.update_query(page_token=following)
            response.headers["Link"] = f'<{target}>; rel="next"'
        return response

    async def create(self, request: web.Request) -> web.Response:
        body = await read_body(request, CreateKeyBody)
        now = self.now()
        if body.expires_at is not None and body.expires_at <= now:
            raise ProblemError("invalid_body", errors=[FieldError(pointer="#/expires_at", detail="is in the past")])
        key, secret = await self.admin.create_key(
            tenant=body.tenant,
            access=body.access,
            permission=body.permission,
            grants=body.effective_grants(),
            label=body.label,
            expires_at=body.expires_at,
            actor=request[ACTOR],
        )
        self.observe(KeyChange("create"))
        shown = show_key(key, now)
        shown["secret_access_key"] = secret.reveal()  # the only answer that ever holds it
        shown["connection"] = show_connection(key, self.config)
        return web.json_response(shown, status=201, headers={"Location": f"/api/v1/keys/{key.id}"})

    async def show(self, request: web.Request) -> web.Response:
        read_query(request, ())
        return web.json_response(show_key(await self.admin.get_key(key_ident(request)), self.now()))

    async def revoke(self, request: web.Request) -> web.Response:
        body = await read_body(request, RevokeKeyBody)
        key, propagation = await self.admin.revoke_key(key_ident(request), reason=body.reason, actor=request[ACTOR])
        self.observe(KeyChange("revoke", len(propagation.lagging)))
        return web.json_response({**show_key(key, self.now()), "propagation": show_propagation(propagation)})

    async def delete(self, request: web.Request) -> web.Response:
        """204 when every gateway has confirmed; 202 and the propagation while one may still serve it."""
        read_query(request, ())
        propagation = await self.admin.delete_key(key_ident(request), actor=request[ACTOR])
        self.observe(KeyChange("delete", len(propagation.lagging)))
        if propagation.lagging:
            return web.json_response({"propagation": show_propagation(propagation)}, status=202)
        return web.Response(status=204)
