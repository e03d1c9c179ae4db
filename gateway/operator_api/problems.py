"""Refusals of the operator API: RFC 9457 problems, from one catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

from aiohttp import web

CATALOGUE: Final[Mapping[str, tuple[int, str]]] = {
    "backend_error": (502, "The backend refused or did not answer"),
    "bad_query": (400, "The query is not understood"),
    "body_too_large": (413, "The body is larger than 64 KiB"),
    "conflict": (409, "The change does not fit the present state"),
    "internal_error": (500, "Something failed on our side"),
    "invalid_body": (422, "The body breaks a rule"),
    "key_store_unavailable": (503, "The key store does not answer"),
    "malformed_body": (400, "The body is not a JSON object"),
    "method_not_allowed": (405, "This resource does not have this method"),
    "misdirected": (421, "This listener does not answer to this host name"),
    "not_found": (404, "No such resource"),
    "unauthorized": (401, "A valid operator token is needed"),
    "unsupported_media_type": (415, "The body must be application/json"),
}


class FieldError(TypedDict):
    """One entry of `errors`: where in the body (RFC 6901, as a URI fragment), and what is wrong there."""

    pointer: str
    detail: str


class ProblemError(Exception):
    """A refusal. `code` is a key of CATALOGUE; `detail` is for the caller and never holds a secret."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status, self.title = CATALOGUE[code]
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def response(self, request_id: str) -> web.Response:
        """The problem as `application/problem+json`."""
        body: dict[str, object] = {
            "type": f"urn:bucketwarden:problem:{self.code.replace('_', '-')}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "request_id": request_id,
        }
        if self.detail is not None:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = list(self.errors)
        return web.json_response(
            body, status=self.status, content_type="application/problem+json", headers=self.headers
        )
