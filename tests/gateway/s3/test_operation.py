"""The table of operations: every row is reached, everything else is refused."""

from __future__ import annotations

from itertools import combinations

import pytest

from gateway.errors import S3Error
from gateway.messages import Headers
from gateway.s3.address import Address
from gateway.s3.operation import (
    COPY_OBJECT,
    GET_OBJECT,
    SUBRESOURCES,
    TABLE,
    UPLOAD_PART_COPY,
    Level,
    S3Request,
    identify,
)

ADDRESSES = {Level.SERVICE: Address(), Level.BUCKET: Address("alpha"), Level.OBJECT: Address("alpha", "k")}
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH")
VALUES = {"list-type": "2", "partNumber": "1", "uploadId": "u"}


def ask(method: str, level: Level, *names: str, source: str | None = None, **values: str) -> S3Request:
    pairs = [(name, VALUES.get(name, "")) for name in names] + [(n.replace("_", "-"), v) for n, v in values.items()]
    headers = Headers([] if source is None else [("x-amz-copy-source", source)])
    return identify(method, ADDRESSES[level], tuple(pairs), headers)


def refusal(method: str, level: Level, *names: str, source: str | None = None, **values: str) -> str | None:
    try:
        ask(method, level, *names, source=source, **values)
    except S3Error as error:
        return error.code
    return None


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1].value} {'&'.join(sorted(row[2]))}")
def test_every_row_is_reached(row: tuple[str, Level, frozenset[str]]) -> None:
    method, level, selectors = row
    assert ask(method, level, *selectors).operation is TABLE[row]


def test_everything_else_is_refused() -> None:
    """Every method x level x single sub-resource outside the table."""
    for method in METHODS:
        for level in Level:
            for names in [(), *((name,) for name in SUBRESOURCES)]:
                if (method, level, frozenset(names)) in TABLE or names == ("partNumber",):
                    continue
                code = refusal(method, level, *names)
                assert code in ("NotImplemented", "MethodNotAllowed", "InvalidArgument"), (method, level, names)


def test_two_subresources_are_none() -> None:
    """Backends pick one by an order of their own (O3)."""
    for method in ("GET", "PUT", "DELETE", "POST"):
        for level in (Level.BUCKET, Level.OBJECT):
            for pair in combinations(sorted(SUBRESOURCES), 2):
                selected = set(pair) - ({"partNumber"} if (method, level) == ("GET", Level.OBJECT) else set())
                if (method, level, frozenset(selected)) in TABLE:
                    continue
                assert refusal(method, level, *pair) is not None, (method, level, pair)


def test_a_subresource_is_selected_by_its_name_with_any_value() -> None:
    assert refusal("GET", Level.BUCKET, acl="false") == "NotImplemented"
    assert refusal("GET", Level.OBJECT, acl="0") == "NotImplemented"
    assert refusal("GET", Level.BUCKET, ACL="") == "InvalidArgument"


def test_parameters_of_other_operations_are_refused() -> None:
    """Whatever is forwarded was understood here."""
    assert refusal("GET", Level.OBJECT, prefix="x") == "InvalidArgument"
    assert refusal("PUT", Level.OBJECT, versionId="v") == "InvalidArgument"
    assert refusal("GET", Level.BUCKET, start_after="x") == "InvalidArgument"
    assert refusal("GET", Level.BUCKET, unheard="x") == "InvalidArgument"
    assert refusal("GET", Level.OBJECT, response_content_type="a") is None
    assert refusal("PUT", Level.OBJECT, response_content_type="a") == "InvalidArgument"


def test_sdk_labels_are_ignored() -> None:
    request = identify("GET", ADDRESSES[Level.OBJECT], (("x-id", "DeleteObject"),), Headers([]))
    assert (request.operation, request.parameters) == (GET_OBJECT, {})


def test_reading_one_part_is_reading() -> None:
    request = ask("GET", Level.OBJECT, "partNumber")
    assert (request.operation, request.parameters) == (GET_OBJECT, {"partNumber": "1"})
    assert refusal("DELETE", Level.OBJECT, "partNumber") is not None
    assert refusal("PUT", Level.OBJECT, "partNumber") is not None


def test_copies() -> None:
    assert ask("PUT", Level.OBJECT, source="/alpha/k").operation is COPY_OBJECT
    assert ask("PUT", Level.OBJECT, "partNumber", "uploadId", source="/alpha/k").operation is UPLOAD_PART_COPY
    for method, level, names in (
        ("GET", Level.OBJECT, ()),
        ("PUT", Level.BUCKET, ()),
        ("POST", Level.OBJECT, ("uploads",)),
    ):
        assert refusal(method, level, *names, source="/alpha/k") == "InvalidArgument"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("max-keys", {"0": "0", "7": "7", "1001": "1000", "2147483647": "1000"}, ["-1", "x", "", "2147483648", "1.0"]),
        ("encoding-type", {"url": "url"}, ["", "URL", "xml"]),
    ],
)
def test_values_of_listings(name: str, good: dict[str, str], bad: list[str]) -> None:
    for value, understood in good.items():
        request = identify("GET", ADDRESSES[Level.BUCKET], ((name, value),), Headers([]))
        assert request.parameters == {name: understood}
    for value in bad:
        with pytest.raises(S3Error):
            identify("GET", ADDRESSES[Level.BUCKET], ((name, value),), Headers([]))


@pytest.mark.parametrize("number", ["0", "10001", "-1", "", "1x", "99999999999"])
def test_part_numbers(number: str) -> None:
    assert refusal("PUT", Level.OBJECT, partNumber=number, uploadId="u") == "InvalidArgument"


def test_control_characters_in_what_becomes_a_header() -> None:
    for value in ("a\r\nb", "a\nb", "a\0b"):
        assert refusal("GET", Level.OBJECT, response_expires=value) == "InvalidArgument"
    assert refusal("GET", Level.BUCKET, prefix="a\nb") is None
    assert refusal("GET", Level.BUCKET, prefix="a\0b") == "InvalidArgument"
