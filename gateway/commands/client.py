"""A client of the operator API, as small as the standard library allows."""

from __future__ import annotations

import http.client
import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click

from gateway.commands.failures import (
    AuthenticationError,
    CommandError,
    ConflictError,
    MissingError,
    RejectedError,
)
from gateway.config_types import parse_origin

DEFAULT_URL = "http://127.0.0.1:9901"
TIMEOUT_SECONDS = 30.0

Json = dict[str, Any]

_ERRORS: Mapping[int, type[CommandError]] = {
    400: RejectedError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: MissingError,
    409: ConflictError,
    422: RejectedError,
}


class OperatorClient:
    """Calls one gateway's operator API with one token. Every failure is a CommandError with its exit code."""

    def __init__(self, url: str, token: str) -> None:
        try:
            self._url = urlsplit(parse_origin(url))
        except ValueError as error:
            raise click.UsageError(f"the operator API's URL {error}") from None
        self._token = token
        if self._url.scheme == "http" and not _is_loopback(self._url.hostname or ""):
            click.echo(f"warning: the token goes to {self._url.netloc} unencrypted; use https", err=True)

    def get(self, path: str, **query: str | None) -> Json:
        """GET `path` with the parameters that are not None."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", f"{path}?{urlencode(given)}" if given else path)

    def post(self, path: str, body: Mapping[str, object]) -> Json:
        """POST a JSON body."""
        return self._call("POST", path, body)

    def delete(self, path: str) -> Json:
        """DELETE; `{}` when there is nothing more to say."""
        return self._call("DELETE", path)

    def pages(self, path: str, **query: str | None) -> Iterator[Json]:
        """Every item of a list, page after page."""
        token: str | None = None
        while True:
            page = self.get(path, page_token=token, **query)
            yield from page["items"]
            token = page["next_page_token"]
            if token is None:
                return

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connect = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        # http.client follows no redirect, so the token goes to nobody but this host.
        connection = connect(self._url.hostname or "", self._url.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"{self._url.geturl()} does not answer: {error}") from None
        finally:
            connection.close()
        answer = _parse(content)
        if status >= 300:
            raise _ERRORS.get(status, CommandError)(_explain(status, answer))
        return answer


def path_of(*parts: str) -> str:
    """`/api/v1/` and the parts, each one quoted whole."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _parse(content: bytes) -> Json:
    try:
        answer = json.loads(content or b"{}")
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _explain(status: int, problem: Json) -> str:
    text = str(problem.get("detail") or problem.get("title") or f"the operator API answered {status}")
    for fault in problem.get("errors", []):
        text += f"\n  {fault['pointer'].lstrip('#/') or 'request'}: {fault['detail']}"
    if "request_id" in problem and status >= 500:
        text += f" (request {problem['request_id']})"
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
