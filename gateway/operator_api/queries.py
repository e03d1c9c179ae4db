"""Query strings and path parts: what is not known is refused, as in bodies."""

from __future__ import annotations

import re
from collections.abc import Collection

from aiohttp import web

from gateway.operator_api.problems import ProblemError

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

_IDENT = re.compile(r"[A-Za-z0-9-]{1,128}")
_PAGE_TOKEN = re.compile(r"[A-Za-z0-9_=.-]{1,512}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")


def read_query(request: web.Request, known: Collection[str]) -> dict[str, str]:
    """The parameters, each at most once. Raises ProblemError `bad_query` for others."""
    query = dict(request.query)
    if len(query) != len(request.query):
        raise ProblemError("bad_query", "a parameter appears twice")
    for name in query:
        if name not in known:
            raise ProblemError("bad_query", f"known parameters: {', '.join(sorted(known)) or 'none'}")
    return query


def read_limit(query: dict[str, str]) -> int:
    """`limit`, at least 1 and never above MAX_LIMIT, whatever was asked (ADM-310)."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) == 0:
        raise ProblemError("bad_query", "limit must be a positive number")
    return min(int(text), MAX_LIMIT)


def read_page_token(query: dict[str, str]) -> str | None:
    """`page_token`, not yet known to be one of ours."""
    token = query.get("page_token")
    if token is not None and not _PAGE_TOKEN.fullmatch(token):
        raise ProblemError("bad_query", "page_token is not one of ours")
    return token


def read_name(query: dict[str, str], parameter: str) -> str | None:
    """A tenant's or bucket's name to filter by."""
    name = query.get(parameter)
    if name is not None and not _NAME.fullmatch(name):
        raise ProblemError("bad_query", f"{parameter} is not a name")
    return name


def key_ident(request: web.Request) -> str:
    """The `{id}` of the path: a UUID or an access key id. What can be neither is not found."""
    ident = request.match_info["id"]
    if not _IDENT.fullmatch(ident):
        raise ProblemError("not_found")
    return ident
