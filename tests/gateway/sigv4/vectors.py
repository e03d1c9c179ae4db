"""Published and generated signature vectors, as the gateway sees requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.messages import Headers, RequestHead

FOLDER = Path(__file__).parents[2] / "vectors"


def load(file: str) -> list[dict[str, Any]]:
    """The cases of a vector file."""
    cases: list[dict[str, Any]] = json.loads((FOLDER / file).read_text())["cases"]
    return cases


def head(method: str, target: str, headers: list[tuple[str, str]]) -> RequestHead:
    """A request head as the listener makes it; text is taken as UTF-8 and turned to wire text."""
    path, _, query = wire_text(target).partition("?")
    return RequestHead(
        method, path, query, Headers((name.lower(), wire_text(value).strip(" \t")) for name, value in headers)
    )


def wire_text(text: str) -> str:
    """One character for each byte of the text's UTF-8."""
    return text.encode().decode("latin-1")


def head_of(case: dict[str, Any]) -> RequestHead:
    """The request of a vector, with the Authorization header that its signature makes, if it is signed in a header."""
    request = case["request"]
    target = request.get("target") or request["path"] + (f"?{request['query']}" if request["query"] else "")
    headers = [(name, value) for name, value in request["headers"]]
    if "X-Amz-Signature" not in target:
        signed = case["canonical_request"].split("\n")[-2]
        signature = case.get("signature") or case["seed_signature"]
        scope = case["string_to_sign"].split("\n")[2]
        headers.append(
            (
                "Authorization",
                f"AWS4-HMAC-SHA256 Credential={case['access_key_id']}/{scope},SignedHeaders={signed},"
                f"Signature={signature}",
            )
        )
    return head(request["method"], target, headers)
