"""Buckets and tenants over the operator API."""

from __future__ import annotations

import secrets

import pytest

from gateway.backend_admin import BotoBuckets
from gateway.config import Config
from gateway.credentials import BackendCredential
from gateway.operator_api.ports import BackendError
from tests.backends import Backend
from tests.gateway.operator_surface import Surface, operator_surface


async def test_a_bucket_is_made_at_the_backend_under_its_own_name(surface: Surface) -> None:
    headers = {"Authorization": f"Bearer {surface.token}"}
    async with surface.client.post("/api/v1/buckets", json={"name": "photos"}, headers=headers) as response:
        assert response.status == 201
        bucket = await response.json()
        location = response.headers["Location"]
    assert (bucket["name"], bucket["tenant"], bucket["backend_name"]) == ("photos", "default", "photos")
    assert surface.backend.names == {"photos"}
    assert await surface.call("GET", location) == (200, bucket)


async def test_two_tenants_have_a_bucket_of_the_same_name(surface: Surface) -> None:
    for tenant in ("acme", "umbrella"):
        assert (await surface.call("POST", "/api/v1/tenants", {"name": tenant}))[0] == 201
        status, bucket = await surface.call("POST", "/api/v1/buckets", {"name": "photos", "tenant": tenant})
        assert (status, bucket["backend_name"]) == (201, f"{tenant}--photos")
    assert surface.backend.names == {"acme--photos", "umbrella--photos"}
    _, page = await surface.call("GET", "/api/v1/buckets?tenant=acme")
    assert [bucket["tenant"] for bucket in page["items"]] == ["acme"]
    _, page = await surface.call("GET", "/api/v1/buckets")
    assert [bucket["tenant"] for bucket in page["items"]] == ["acme", "umbrella"]
    assert (await surface.call("GET", "/api/v1/buckets/photos"))[0] == 404
    status, bucket = await surface.call("GET", "/api/v1/buckets/photos?tenant=umbrella")
    assert (status, bucket["tenant"]) == (200, "umbrella")


async def test_a_bucket_of_the_backend_is_taken_over_only_on_purpose(surface: Surface) -> None:
    surface.backend.names.add("old-bucket")
    status, problem = await surface.call("POST", "/api/v1/buckets", {"name": "old-bucket"})
    assert (status, problem["code"]) == (409, "conflict")
    status, bucket = await surface.call("POST", "/api/v1/buckets", {"name": "old-bucket", "adopt": True})
    assert (status, bucket["backend_name"]) == (201, "old-bucket")


async def test_an_old_name_is_adopted_under_a_new_one(surface: Surface) -> None:
    surface.backend.names.add("Old_Bucket")
    body = {"name": "old-bucket", "backend_name": "Old_Bucket", "adopt": True}
    status, bucket = await surface.call("POST", "/api/v1/buckets", body)
    assert (status, bucket["name"], bucket["backend_name"]) == (201, "old-bucket", "Old_Bucket")


async def test_what_the_backend_does_not_have_cannot_be_adopted(surface: Surface) -> None:
    status, problem = await surface.call("POST", "/api/v1/buckets", {"name": "nowhere", "adopt": True})
    assert (status, problem["code"]) == (409, "conflict")
    assert surface.backend.names == set()


async def test_one_backend_bucket_is_not_given_to_two_tenants(surface: Surface) -> None:
    await surface.call("POST", "/api/v1/tenants", {"name": "acme"})
    assert (await surface.call("POST", "/api/v1/buckets", {"name": "photos"}))[0] == 201
    body = {"name": "mine", "tenant": "acme", "backend_name": "photos", "adopt": True}
    status, problem = await surface.call("POST", "/api/v1/buckets", body)
    assert (status, problem["code"]) == (409, "conflict")


async def test_a_tenant_that_is_not_there_leaves_nothing_at_the_backend(surface: Surface) -> None:
    status, _ = await surface.call("POST", "/api/v1/buckets", {"name": "photos", "tenant": "nobody"})
    assert status == 404
    assert surface.backend.names == set()


async def test_a_backend_that_refuses_is_502_and_nothing_is_recorded(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: str) -> None:
        raise BackendError("the store says no")

    monkeypatch.setattr(surface.backend, "create", refuse)
    status, problem = await surface.call("POST", "/api/v1/buckets", {"name": "photos"})
    assert (status, problem["code"], problem["detail"]) == (502, "backend_error", "the store says no")
    assert await surface.call("GET", "/api/v1/buckets") == (200, {"items": [], "next_page_token": None})


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "Capital"}, "#/name"),
        ({"name": "a"}, "#/name"),
        ({"name": "192.168.0.1"}, "#/name"),
        ({"name": "a/b"}, "#/name"),
        ({"name": "photos", "backend_name": "../x"}, "#/backend_name"),
        ({"name": "photos", "adopt": "yes"}, "#/adopt"),
        ({"name": "photos", "owner": "me"}, "#/owner"),
        ({}, "#/name"),
    ],
)
async def test_a_bucket_that_breaks_a_rule_is_422(surface: Surface, body: dict[str, object], pointer: str) -> None:
    status, problem = await surface.call("POST", "/api/v1/buckets", body)
    assert (status, [fault["pointer"] for fault in problem["errors"]]) == (422, [pointer])
    assert surface.backend.names == set()


async def test_a_name_too_long_with_its_tenant_needs_a_backend_name(surface: Surface) -> None:
    await surface.call("POST", "/api/v1/tenants", {"name": "acme"})
    body = {"name": "b" * 60, "tenant": "acme"}
    status, problem = await surface.call("POST", "/api/v1/buckets", body)
    assert status == 422
    assert "choose a backend name" in problem["detail"]
    status, _ = await surface.call("POST", "/api/v1/buckets", {**body, "backend_name": "acme-b"})
    assert status == 201


async def test_tenants_are_made_once_and_listed(surface: Surface) -> None:
    assert (await surface.call("POST", "/api/v1/tenants", {"name": "acme"}))[0] == 201
    status, problem = await surface.call("POST", "/api/v1/tenants", {"name": "acme"})
    assert (status, problem["code"]) == (409, "conflict")
    _, page = await surface.call("GET", "/api/v1/tenants")
    assert [tenant["name"] for tenant in page["items"]] == ["acme", "default"]


@pytest.mark.parametrize("name", ["", "a--b", "-a", "A", "a b", "a" * 64])
async def test_an_impossible_tenant_name_is_422(surface: Surface, name: str) -> None:
    assert (await surface.call("POST", "/api/v1/tenants", {"name": name}))[0] == 422


async def test_a_real_store_creates_and_gives_up_its_buckets(fresh_database: str, store: Backend) -> None:
    environ = {
        "BUCKETWARDEN_BACKEND__ENDPOINT": store.endpoint,
        "BUCKETWARDEN_BACKEND__ACCESS_KEY_ID": store.access_key,
        "BUCKETWARDEN_BACKEND__SECRET_ACCESS_KEY": store.secret_key,
    }
    backend = Config.load(None, environ).backend
    buckets = BotoBuckets(backend, await BackendCredential.find(backend))
    async with operator_surface(fresh_database, buckets) as surface:
        name = f"made-{secrets.token_hex(4)}"
        assert (await surface.call("POST", "/api/v1/buckets", {"name": name, "adopt": True}))[0] == 409
        assert (await surface.call("POST", "/api/v1/buckets", {"name": name}))[0] == 201
        assert await buckets.exists(name)
        assert (await surface.call("POST", "/api/v1/buckets", {"name": name}))[0] == 409
        await buckets.create(f"{name}-old")
        body = {"name": f"{name}-old", "adopt": True}
        assert (await surface.call("POST", "/api/v1/buckets", body))[0] == 201
