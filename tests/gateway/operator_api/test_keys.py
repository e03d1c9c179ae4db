"""Access keys over the operator API."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.operator_api.ports import KeyChange
from keystore.model import Propagation
from tests.gateway.operator_surface import Surface

ALL = {"access": "all_buckets"}


async def created(surface: Surface, **body: object) -> dict[str, Any]:
    status, key = await surface.call("POST", "/api/v1/keys", body or ALL)
    assert status == 201, key
    return key


async def with_buckets(surface: Surface, *names: str) -> None:
    for name in names:
        assert (await surface.call("POST", "/api/v1/buckets", {"name": name}))[0] == 201


def pointers(problem: dict[str, Any]) -> list[str]:
    return [fault["pointer"] for fault in problem["errors"]]


async def test_a_new_key_has_its_final_shape_and_works_in_the_key_store(surface: Surface) -> None:
    await with_buckets(surface, "photos", "videos")
    body = {
        "label": " ci-deploy ",
        "permission": "read",
        "grants": [{"bucket": "photos"}, {"bucket": "videos", "permission": "write"}],
        "expires_at": "2099-12-31T01:00:00+01:00",
    }
    headers = {"Authorization": f"Bearer {surface.token}"}
    async with surface.client.post("/api/v1/keys", json=body, headers=headers) as response:
        assert response.status == 201
        assert response.headers["Cache-Control"] == "no-store"
        key = await response.json()
        assert response.headers["Location"] == f"/api/v1/keys/{key['id']}"
    assert re.fullmatch(r"BWAK[A-Z2-7]{16}", key["access_key_id"])
    assert re.fullmatch(r"[0-9A-Za-z]{40}", key["secret_access_key"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", key.pop("created_at"))
    found = await surface.store.reader.find_key(key["access_key_id"])
    assert found is not None
    assert found.secret.reveal() == key["secret_access_key"]
    assert {name: key[name] for name in key if name not in ("id", "access_key_id", "secret_access_key")} == {
        "label": "ci-deploy",
        "tenant": "default",
        "status": "active",
        "access": "buckets",
        "permission": "read",
        "grants": [
            {"bucket": "photos", "permission": "read"},
            {"bucket": "videos", "permission": "write"},
        ],
        "created_by": {"type": "token", "name": "ci"},
        "expires_at": "2099-12-31T00:00:00Z",
        "revoked_at": None,
        "revoked_by": None,
        "revoke_reason": None,
        "connection": {
            "endpoint_url": "https://s3.test",
            "region": "eu-central-1",
            "bucket": None,
            "addressing_style": "path",
        },
    }


async def test_the_connection_names_the_bucket_of_a_key_that_has_one(surface: Surface) -> None:
    await with_buckets(surface, "photos")
    key = await created(surface, grants=[{"bucket": "photos"}])
    assert key["connection"]["bucket"] == "photos"


async def test_the_secret_is_in_the_answer_to_create_and_nowhere_else(surface: Surface) -> None:
    key = await created(surface)
    path = f"/api/v1/keys/{key['id']}"
    answers = [
        await surface.call("GET", "/api/v1/keys"),
        await surface.call("GET", path),
        await surface.call("POST", f"{path}/revoke"),
        await surface.call("DELETE", path),
        await surface.call("DELETE", path),
    ]
    assert [status for status, _ in answers] == [200, 200, 200, 204, 404]
    assert key["secret_access_key"] not in str(answers)
    assert "secret_access_key" not in str(answers)
    assert key["secret_access_key"] not in str(surface.events)


async def test_a_key_is_found_by_either_id(surface: Surface) -> None:
    key = await created(surface)
    for ident in (key["id"], key["access_key_id"]):
        status, found = await surface.call("GET", f"/api/v1/keys/{ident}")
        assert (status, found["id"]) == (200, key["id"])


@pytest.mark.parametrize("ident", ["BWAK2345672345672345", "x", "%00", "a%2Fb", "%F0%9F%98%80", "9" * 300, "'--"])
async def test_what_can_be_no_key_is_not_found(surface: Surface, ident: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/revoke")):
        status, problem = await surface.call(method, f"/api/v1/keys/{ident}{path}")
        assert (status, problem["code"]) == (404, "not_found")


async def test_revoke_is_final_repeatable_and_tells_who_has_confirmed(surface: Surface) -> None:
    key = await created(surface)
    path = f"/api/v1/keys/{key['access_key_id']}"
    status, answer = await surface.call("POST", f"{path}/revoke", {"reason": "leaked"})
    assert status == 200
    assert answer["status"] == "revoked"
    assert answer["revoke_reason"] == "leaked"
    assert answer["revoked_by"] == {"type": "token", "name": "ci"}
    assert answer["propagation"] == {"expected": 1, "acknowledged": 1, "lagging": [], "certain_in": 0.0}
    found = await surface.store.reader.find_key(key["access_key_id"])
    assert found is None or found.revoked_at is not None
    status, again = await surface.call("POST", f"{path}/revoke")
    assert (status, again["revoked_at"]) == (200, answer["revoked_at"])


async def test_delete_is_202_while_a_gateway_has_not_confirmed(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lagging(*_: object, **__: object) -> Propagation:
        return Propagation(expected=2, acknowledged=1, lagging=("gateway-b",), certain_in=4.5)

    monkeypatch.setattr(type(surface.store.admin), "delete_key", lagging)
    status, answer = await surface.call("DELETE", "/api/v1/keys/BWAK2345672345672345")
    assert status == 202
    assert answer["propagation"]["lagging"] == ["gateway-b"]
    assert surface.events[0] == KeyChange("delete", lagging=1)


async def test_each_change_is_observed(surface: Surface) -> None:
    key = await created(surface)
    await surface.call("POST", f"/api/v1/keys/{key['id']}/revoke")
    await surface.call("DELETE", f"/api/v1/keys/{key['id']}")
    changes = [event.action for event in surface.events if isinstance(event, KeyChange)]
    assert changes == ["create", "revoke", "delete"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#"),
        ({"access": "all_buckets", "grants": [{"bucket": "photos"}]}, "#"),
        ({"grants": [{"bucket": "photos"}, {"bucket": "photos"}]}, "#"),
        ({"grants": [{"bucket": "photos", "permision": "read"}]}, "#/grants/0/permision"),
        ({"grants": [{"bucket": "photos", "permission": "admin"}]}, "#/grants/0/permission"),
        ({"grants": [{"bucket": "../photos"}]}, "#/grants/0/bucket"),
        ({"grants": "photos"}, "#/grants"),
        ({**ALL, "a/b~c": 1}, "#/a~1b~0c"),
        ({**ALL, "secret_access_key": "mine"}, "#/secret_access_key"),
        ({**ALL, "access": "everything"}, "#/access"),
        ({**ALL, "tenant": "a--b"}, "#/tenant"),
        ({**ALL, "label": ""}, "#/label"),
        ({**ALL, "label": "x" * 129}, "#/label"),
        ({**ALL, "label": "two\nlines"}, "#/label"),
        ({**ALL, "label": "\u0000"}, "#/label"),
        ({**ALL, "label": "\ud800"}, "#/label"),
        ({**ALL, "label": "exe.\u202egpj"}, "#/label"),
        ({**ALL, "label": 5}, "#/label"),
        ({**ALL, "expires_at": "2001-01-01T00:00:00Z"}, "#/expires_at"),
        ({**ALL, "expires_at": "2099-01-01"}, "#/expires_at"),
        ({**ALL, "expires_at": "2099-01-01T00:00:00"}, "#/expires_at"),
        ({**ALL, "expires_at": "2099-13-01T00:00:00Z"}, "#/expires_at"),
        ({**ALL, "expires_at": 4070908800}, "#/expires_at"),
    ],
)
async def test_a_body_that_breaks_a_rule_is_422_with_a_pointer_and_makes_no_key(
    surface: Surface, body: dict[str, object], pointer: str
) -> None:
    status, problem = await surface.call("POST", "/api/v1/keys", body)
    assert (status, problem["code"]) == (422, "invalid_body")
    assert pointers(problem) == [pointer]
    assert await surface.store.admin.list_keys() == ([], None)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"access=all_buckets", "application/x-www-form-urlencoded", 415),
        (b'{"access":"all_buckets"}', "text/plain", 415),
        (b'{"access":"all_buckets"}', "multipart/form-data; boundary=x", 415),
        (b'{"access":"all_buckets"}', "application/json; charset=utf-8", 201),
        (b'{"access":"all_buckets"', "application/json", 400),
        (b'["access"]', "application/json", 400),
        (b'{"access":"buckets","access":"all_buckets"}', "application/json", 400),
        (b'{"access":NaN}', "application/json", 400),
        (b'{"access":"\xff"}', "application/json", 400),
        (b"[" * 60000, "application/json", 400),
        (b" " * 65537, "application/json", 413),
    ],
)
async def test_only_a_small_json_object_is_read(surface: Surface, content: bytes, kind: str, status: int) -> None:
    """A form on a foreign page cannot send application/json without asking first (ADM-305)."""
    headers = {"Authorization": f"Bearer {surface.token}", "Content-Type": kind}
    async with surface.client.post("/api/v1/keys", data=content, headers=headers) as response:
        assert response.status == status
    keys, _ = await surface.store.admin.list_keys()
    assert len(keys) == (status == 201)


async def test_a_compressed_body_is_refused(surface: Surface) -> None:
    headers = {"Authorization": f"Bearer {surface.token}", "Content-Encoding": "deflate"}
    async with surface.client.post("/api/v1/keys", data=b"x", headers=headers) as response:
        assert response.status in (400, 415)


async def test_a_key_for_a_bucket_or_tenant_that_is_not_there_is_404(surface: Surface) -> None:
    for body in ({"grants": [{"bucket": "nowhere"}]}, {**ALL, "tenant": "nobody"}):
        status, problem = await surface.call("POST", "/api/v1/keys", body)
        assert (status, problem["code"]) == (404, "not_found"), body


async def test_lists_come_in_pages_and_can_be_narrowed(surface: Surface) -> None:
    await with_buckets(surface, "photos", "videos")
    await surface.call("POST", "/api/v1/tenants", {"name": "acme"})
    labels = [f"k{number}" for number in range(5)]
    for label in labels:
        await created(surface, label=label, grants=[{"bucket": "photos"}])
    await created(surface, label="other bucket", grants=[{"bucket": "videos"}])
    await created(surface, label="other tenant", tenant="acme", **ALL)

    seen, path = [], "/api/v1/keys?limit=2&bucket=photos&tenant=default"
    headers = {"Authorization": f"Bearer {surface.token}"}
    while path:
        async with surface.client.get(path, headers=headers) as response:
            page = await response.json()
            assert len(page["items"]) <= 2
            seen += [key["label"] for key in page["items"]]
            assert ("next" in response.links) == (page["next_page_token"] is not None)
            path = response.links["next"]["url"].path_qs if "next" in response.links else ""
    assert seen == labels
    _, page = await surface.call("GET", "/api/v1/keys?tenant=acme")
    assert [key["label"] for key in page["items"]] == ["other tenant"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1e9",
        "limit=x",
        "limit=1&limit=2",
        "page_token=tampered",
        "page_token=%00",
        "sort=secret",
        "bucket=a/b",
        "tenant=%F0%9F%98%80",
    ],
)
async def test_a_query_that_is_not_understood_is_400(surface: Surface, query: str) -> None:
    status, problem = await surface.call("GET", f"/api/v1/keys?{query}")
    assert (status, problem["code"]) == (400, "bad_query")


async def test_a_huge_limit_is_capped(surface: Surface) -> None:
    status, page = await surface.call("GET", "/api/v1/keys?limit=1000000000")
    assert (status, page) == (200, {"items": [], "next_page_token": None})


async def test_whoami_tells_whose_token_it_is_and_where_clients_connect(surface: Surface) -> None:
    status, answer = await surface.call("GET", "/api/v1/whoami")
    assert status == 200
    assert answer.pop("version")
    assert answer == {
        "type": "token",
        "name": "ci",
        "role": "admin",
        "endpoint_url": "https://s3.test",
        "region": "eu-central-1",
    }
