"""Who is let in: hosts and tokens, on every route that the router has (threats ADM-303 to ADM-316)."""

from __future__ import annotations

import asyncio

import pytest
from yarl import URL

from gateway.operator_api.ports import OperatorAuthFailure, OperatorRequest
from keystore.model import KeyStoreUnavailable
from tests.gateway.operator_surface import Surface

OPEN = {"/livez", "/readyz", "/version"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def protected_paths(surface: Surface) -> list[str]:
    paths = {resource.canonical for resource in surface.client.app.router.resources()} - OPEN
    assert len(paths) >= 6
    return sorted(path.replace("{id}", "BWAK2345672345672345").replace("{name}", "photos") for path in paths)


def wrong_credentials(token: str) -> dict[str, str | None]:
    return {
        "none": None,
        "wrong": f"Bearer {token[:-8]}AAAAAAAA",
        "truncated": f"Bearer {token[:-1]}",
        "extended": f"Bearer {token}A",
        "empty": "Bearer ",
        "no scheme": token,
        "basic": "Basic YWRtaW46YWRtaW4=",
        "token twice": f"Bearer {token} {token}",
        "an S3 signature": "AWS4-HMAC-SHA256 Credential=BWAK/20300101/x/s3/aws4_request,Signature=0",
        "very long": f"Bearer {'A' * 5000}",
    }


async def test_every_route_refuses_every_wrong_credential_and_changes_nothing(surface: Surface) -> None:
    """Enumerated from the router, with the variants of each path that a proxy may let through."""
    status, _ = await surface.call("GET", "/api/v1/keys")
    assert status == 200  # the control: the right token works
    paths = protected_paths(surface)
    variants = [f(path) for path in paths for f in (str, lambda p: p + "/", lambda p: "/" + p, str.upper)]
    variants += [
        "/api/v1/keysX",
        "/api/v1/%2e/keys",
        "/api/v1/tokens",
        "/",
        "/metrics",
        "/docs",
        "/debug",
        "/livez/x",
    ]
    for name, value in wrong_credentials(surface.token).items():
        headers = {"Authorization": value} if value is not None else {}
        for path in variants:
            for method in METHODS:
                url = URL(surface.url + path, encoded=True)
                async with surface.client.session.request(method, url, headers=headers) as response:
                    assert response.status == 401, (name, method, path)
                    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert await surface.store.admin.list_keys() == ([], None)
    assert [tenant.name for tenant in await surface.store.admin.list_tenants()] == ["default"]


async def test_two_authorization_headers_are_refused_also_when_one_is_right(surface: Surface) -> None:
    headers = [("Authorization", f"Bearer {surface.token}"), ("Authorization", "Bearer x")]
    for order in (headers, headers[::-1]):
        async with surface.client.get("/api/v1/whoami", headers=order) as response:
            assert response.status == 401


async def test_refusals_without_a_token_do_not_differ(surface: Surface) -> None:
    """No oracle: the same body for each reason, but the reason is observed."""
    bodies = set()
    for authorization in ("", f"Bearer {surface.token[:-8]}AAAAAAAA", "Basic x"):
        headers = {"Authorization": authorization} if authorization else {}
        async with surface.client.get("/api/v1/keys", headers=headers) as response:
            body = await response.json(content_type="application/problem+json")
            assert body.pop("request_id") == response.headers["X-Request-Id"]
            bodies.add(str(body))
    assert len(bodies) == 1
    reasons = [event.reason for event in surface.events if isinstance(event, OperatorAuthFailure)]
    assert reasons == ["missing_token", "unknown_token", "malformed_token"]


@pytest.mark.parametrize("path", sorted(OPEN))
async def test_health_needs_no_token_and_tells_no_version_in_headers(surface: Surface, path: str) -> None:
    for agent in ("curl/8", "kube-probe/1.30"):
        async with surface.client.get(path, headers={"User-Agent": agent}) as response:
            assert response.status == 200
            assert response.headers["Server"] == "bucketwarden"
            assert response.headers["Cache-Control"] == "no-store"


async def test_a_probe_s_user_agent_opens_nothing(surface: Surface) -> None:
    for agent in ("kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"):
        async with surface.client.get("/api/v1/keys", headers={"User-Agent": agent}) as response:
            assert response.status == 401


async def test_readiness_is_503_with_its_reasons(surface: Surface) -> None:
    async with surface.client.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ready", "reasons": []})
    surface.reasons.append("draining")
    async with surface.client.get("/readyz") as response:
        assert (response.status, await response.json()) == (
            503,
            {"status": "not_ready", "reasons": ["draining"]},
        )
    async with surface.client.get("/livez") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.nip.io", "localhost.evil.test", "127.0.0.1@evil.test", "10.0.0.1", ""]
)
async def test_another_host_name_is_refused_before_any_handler(surface: Surface, host: str) -> None:
    """DNS rebinding (ADM-306): also for whoever has a token."""
    for path in ("/api/v1/keys", "/livez"):
        headers = {"Host": host, "Authorization": f"Bearer {surface.token}"}
        async with surface.client.get(path, headers=headers) as response:
            assert response.status == 421, path


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9901", "[::1]:9901"])
async def test_loopback_names_are_ours(surface: Surface, host: str) -> None:
    async with surface.client.get("/livez", headers={"Host": host}) as response:
        assert response.status == 200


async def raw(surface: Surface, request: str) -> bytes:
    """The answer to bytes that no client library would send."""
    reader, writer = await asyncio.open_connection(surface.client.host, surface.client.port)
    writer.write(request.encode())
    answer = await asyncio.wait_for(reader.read(4096), 5)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "head",
    [
        "GET http://evil.test/livez HTTP/1.1\r\nHost: localhost\r\n",
        "GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n",
        "GET /livez HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n",
    ],
)
async def test_a_second_opinion_on_the_host_is_refused(surface: Surface, head: str) -> None:
    assert (await raw(surface, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    answer = await raw(surface, head + "\r\n")
    assert answer.split()[1] in (b"421", b"400"), answer


async def test_a_malformed_request_leaves_no_token_in_the_log(
    surface: Surface, caplog: pytest.LogCaptureFixture
) -> None:
    """The parser's own message is the line that it stumbled over."""
    answer = await raw(surface, "GET /livez HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hunter2\x00\r\n\r\n")
    assert answer.split()[1] == b"400"
    assert "malformed request: BadHttpMessage" in caplog.text
    assert "hunter2" not in caplog.text


async def test_the_request_id_is_ours(surface: Surface) -> None:
    async with surface.client.get("/livez", headers={"X-Request-Id": "chosen"}) as response:
        assert len(response.headers["X-Request-Id"]) == 32
        assert response.headers["X-Request-Id"] != "chosen"


async def test_each_request_is_observed_by_its_route_not_its_path(surface: Surface) -> None:
    await surface.call("GET", "/api/v1/keys/BWAK2345672345672345")
    await surface.call("GET", "/nowhere/at/all")
    observed = [event for event in surface.events if isinstance(event, OperatorRequest)]
    assert [(event.route, event.method, event.code, event.actor) for event in observed] == [
        ("/api/v1/keys/{id}", "GET", 404, "token:ci"),
        ("unmatched", "GET", 404, "token:ci"),
    ]


async def test_a_method_that_a_resource_lacks_is_405_with_those_it_has(surface: Surface) -> None:
    headers = {"Authorization": f"Bearer {surface.token}"}
    async with surface.client.put("/api/v1/keys", headers=headers) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD, POST"
        assert (await response.json(content_type=None))["code"] == "method_not_allowed"


async def test_a_silent_key_store_is_503_never_401(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "We cannot tell" is not "no": a caller must not throw its token away."""

    async def silent(*_: object, **__: object) -> None:
        raise KeyStoreUnavailable("the database did not answer")

    monkeypatch.setattr(type(surface.store.admin), "find_token", silent)
    async with surface.client.get("/api/v1/keys", headers={"Authorization": f"Bearer {surface.token}"}) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"


async def test_a_revocation_that_may_have_happened_says_so(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that timed out is unknown, never "not done" (F5)."""

    async def silent(*_: object, **__: object) -> None:
        raise KeyStoreUnavailable("the database did not answer")

    monkeypatch.setattr(type(surface.store.admin), "revoke_key", silent)
    status, problem = await surface.call("POST", "/api/v1/keys/BWAK2345672345672345/revoke", {})
    assert status == 503
    assert "may have been made or not" in problem["detail"]


async def test_a_mistake_of_ours_is_500_without_its_text(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(type(surface.store.admin), "list_tenants", broken)
    status, problem = await surface.call("GET", "/api/v1/tenants")
    assert status == 500
    assert "hunter2" not in str(problem)
