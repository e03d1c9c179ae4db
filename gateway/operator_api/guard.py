"""What happens around every request: host, token, handler, and the refusal's form.

One middleware, so the order is read in one place. A route is open only if its handler is named open;
everything else, also a path that does not exist, needs a token first (ADM-303).
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.config import OperatorSection
from gateway.hosts import is_our_host
from gateway.operator_api.ports import BackendError, Observer, OperatorAuthFailure, OperatorRequest
from gateway.operator_api.problems import ProblemError
from keystore.model import Conflict, Invalid, KeyStoreUnavailable, NotFound
from keystore.protocols import KeyAdmin

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ACTOR: Final = web.RequestKey("actor", str)
"""Who asks, as the key store records it: `token:NAME`. Set before any handler that is not open runs."""

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{1,256})", re.IGNORECASE)
_UNKNOWN_OUTCOME = "The change may have been made or not: look before you repeat it. Revoking can always be repeated."

_log = structlog.get_logger(__name__)


def guard(
    admin: KeyAdmin, operator: OperatorSection, open_handlers: Collection[Handler], observe: Observer
) -> Middleware:
    """The middleware. It answers every request itself or through the handler; no exception leaves it."""

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_host(request, operator)
        if request.match_info.handler not in open_handlers:
            request[ACTOR] = await _authenticate(request, admin, observe)
        return await handler(request)

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        # Ours alone: an id that a client chose could be made to look like another request's (LOG-301).
        request_id = secrets.token_hex(16)
        try:
            response = await answer(request, handler)
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            response = _problem(error, request, request_id).response(request_id)
        response.headers["X-Request-Id"] = request_id
        resource = request.match_info.route.resource
        observe(
            OperatorRequest(
                request_id=request_id,
                actor=request.get(ACTOR),
                route=resource.canonical if resource is not None else "unmatched",
                method=request.method,
                code=response.status,
                seconds=time.monotonic() - began,
            )
        )
        return response

    return around


def _check_host(request: web.Request, operator: OperatorSection) -> None:
    hosts = request.headers.getall("Host", [])
    # An absolute or authority target would be a second opinion on the host.
    if not request.raw_path.startswith("/") or len(hosts) != 1:
        raise ProblemError("misdirected")
    if not is_our_host(hosts[0], operator.listen, operator.allowed_hosts):
        raise ProblemError("misdirected", "operator.allowed_hosts lists further names")


async def _authenticate(request: web.Request, admin: KeyAdmin, observe: Observer) -> str:
    values = request.headers.getall("Authorization", [])
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    name = await admin.find_token(match[1]) if match else None
    if name is None:
        reason = "unknown_token" if match else "malformed_token" if values else "missing_token"
        observe(OperatorAuthFailure(reason))
        # The same words for each reason: a caller without a token learns nothing but that.
        raise ProblemError("unauthorized", headers={"WWW-Authenticate": "Bearer"})
    return f"token:{name}"


def _problem(error: Exception, request: web.Request, request_id: str) -> ProblemError:
    """Foreign exceptions become problems here and nowhere else."""
    match error:
        case ProblemError():
            return error
        case NotFound():
            return ProblemError("not_found", str(error))
        case Conflict():
            return ProblemError("conflict", str(error))
        case Invalid():
            return ProblemError("invalid_body", str(error))
        case KeyStoreUnavailable():
            detail = None if request.method in ("GET", "HEAD") else _UNKNOWN_OUTCOME
            return ProblemError("key_store_unavailable", detail, headers={"Retry-After": "1"})
        case BackendError():
            return ProblemError("backend_error", str(error))
        case web.HTTPRequestEntityTooLarge():
            return ProblemError("body_too_large")
        case web.RequestPayloadError():
            return ProblemError("malformed_body")
        case web.HTTPMethodNotAllowed():
            return ProblemError("method_not_allowed", headers={"Allow": ", ".join(sorted(error.allowed_methods))})
        case web.HTTPNotFound():
            return ProblemError("not_found")
        case _:
            _log.error("operator_api.failed", request_id=request_id, exc_info=error)
            return ProblemError("internal_error")
