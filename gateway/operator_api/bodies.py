"""Request bodies: a JSON object of at most 64 KiB, turned into a model, every fault with its pointer."""

from __future__ import annotations

import json
from typing import Never, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.operator_api.problems import FieldError, ProblemError

BODY_LIMIT_BYTES = 64 * 1024

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: web.Request, model: type[Model]) -> Model:
    """The body as `model`; no body counts as `{}`. Raises ProblemError.

    Only `application/json` is read: a foreign page's form can send the other types without asking (ADM-305).
    """
    if "Content-Encoding" in request.headers:
        raise ProblemError("unsupported_media_type", "Content-Encoding is not supported")
    content = await request.read()
    if content and request.content_type != "application/json":
        raise ProblemError("unsupported_media_type")
    try:
        document = json.loads(content or b"{}", object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ProblemError("malformed_body") from None
    if not isinstance(document, dict):
        raise ProblemError("malformed_body")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ProblemError("invalid_body", errors=[_field_error(fault) for fault in error.errors()]) from None


def _field_error(fault: ErrorDetails) -> FieldError:
    pointer = "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in fault["loc"])
    unknown = fault["type"] == "extra_forbidden"
    return FieldError(
        pointer=pointer, detail="unknown field" if unknown else fault["msg"].removeprefix("Value error, ")
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name given twice: readers differ in which one counts."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name appears twice")
    return document


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")
