"""Signed requests through the proxies that people put in front, with the settings in deploy/proxies (D20 to D27)."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.embedded.child import free_ports
from tests import lanes, wire
from tests.clients.gateways import Authority
from tests.gateways import BUCKET, GatewayProcess, World, send
from tests.integration.proxies import HAPROXY, NGINX, SHIPPED_PROXIES, Proxy, nginx
from tests.wire import MODES, Client, Key, Reply, Request

HOST = "s3.example.com:9443"
"""What clients call the service; a port in it is what proxies like to lose."""
BODY = random.Random(3).randbytes(20 << 20)  # noqa: S311 - test data
KEYS = [
    "plain",
    "with blank",
    "a+b",
    "a//b",
    "a/../b",
    "./a",
    "a/./b",
    "/leading",
    "trailing/",
    "grün/日本/é",
    "a%2Fb%20c%",
    "()!*'~",
    "?#&=;@:,$",
]
CURL = lanes.lane("curl", shutil.which("curl") is not None, "no curl on PATH")


@pytest.fixture(scope="module")
def gateway(world: World) -> GatewayProcess:
    return world.start()


@pytest.fixture(scope="module")
def key(world: World, gateway: GatewayProcess) -> Key:
    return asyncio.run(world.new_key(gateway))


@pytest.fixture(scope="module", params=[pytest.param("nginx", marks=NGINX), pytest.param("haproxy", marks=HAPROXY)])
def proxy(
    request: pytest.FixtureRequest,
    gateway: GatewayProcess,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    """Each proxy in turn, with the settings that we ship."""
    directory = tmp_path_factory.mktemp(request.param)
    with SHIPPED_PROXIES[request.param](directory, authority, gateway.s3) as running:
        yield running


ODD_HEADERS = {"x-amz-meta-two-words": "a  b", "x-amz-meta-empty": "", "x-amz-meta-under_score": "x"}


def signed_by_botocore(
    key: Key, method: str, name: str, body: bytes = b"", *, headers: Mapping[str, str] = ODD_HEADERS
) -> Request:
    """The request that boto3 would send, as it would stand on the wire."""
    target = f"/{BUCKET}/{quote(name, safe='/~')}"
    request = AWSRequest(method, f"https://{HOST}{target}", {"Host": HOST, **headers}, body)
    S3SigV4Auth(Credentials(key.id, key.secret), "s3", "eu-central-1").add_auth(request)
    made = Request(method, target, list(request.headers.items()), body)
    return made.set("Content-Length", str(len(body))) if method == "PUT" else made


def put(key: Key, mode: str, name: str, data: bytes, *, te: bool = False) -> Request:
    """A signed upload in a payload mode."""
    request = Request("PUT", f"/{BUCKET}/{name}", [("Host", HOST)])
    return wire.upload(key, request, mode, data, te=te, chunk=1 << 20, when=datetime.now(UTC))[0]


@pytest.mark.parametrize("name", KEYS)
async def test_odd_keys_verify_as_if_there_were_no_proxy(
    gateway: GatewayProcess, key: Key, proxy: Proxy, name: str
) -> None:
    """D20: what botocore signed for another Host and port arrives as it was signed; the answer is the same."""
    for method, body in (("PUT", b"body of it"), ("GET", b""), ("HEAD", b"")):
        request = signed_by_botocore(key, method, name, body)
        direct = await send(gateway.s3, request, head_only=method == "HEAD")
        through = await send(proxy.port, request, head_only=method == "HEAD")
        # A store that cannot keep such a key is no matter here, only that the proxy makes no difference.
        assert (through.status, through.code) == (direct.status, direct.code)
        assert through.status in (200, 400, 404), str(through)
        assert through.code != "SignatureDoesNotMatch"
        if method == "GET" and direct.status == 200:
            assert through.body == b"body of it"


@pytest.mark.parametrize("te", [False, True], ids=["content-length", "http-chunks"])
@pytest.mark.parametrize("mode", MODES)
async def test_large_uploads_pass_in_every_mode(world: World, key: Key, proxy: Proxy, mode: str, te: bool) -> None:
    """20 MiB, also re-chunked on the way; a body of unknown length is refused clearly (D27)."""
    reply = await send(proxy.port, put(key, mode, "large", BODY, te=te))
    if te and not mode.startswith("STREAMING-"):
        assert (reply.status, reply.code) == (411, "MissingContentLength"), str(reply)
        return
    assert reply.status == 200, str(reply)
    assert await world.stored("large") == BODY


async def test_downloads_pass_unchanged(world: World, key: Key, proxy: Proxy) -> None:
    """20 MiB, with our own Server field."""
    await world.put("large", BODY)
    reply = await send(proxy.port, signed_by_botocore(key, "GET", "large"))
    assert (reply.status, reply.get("server")) == (200, "Bucketwarden")
    assert reply.body == BODY


@pytest.mark.parametrize("mode", MODES)
async def test_a_refusal_reaches_a_client_that_is_still_sending(key: Key, proxy: Proxy, mode: str) -> None:
    """Not after the last of 20 MiB, and not as a broken connection."""
    request = put(key, mode, "refused", BODY)
    wire.with_signature(request, "0" * 64)
    async with await Client.open(proxy.port) as client:
        await client.send(request.head() + request.body[: 1 << 20])
        reply = await client.reply()
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch"), str(reply)


@pytest.mark.parametrize("mode", MODES)
async def test_expect_100_continue_works(world: World, key: Key, proxy: Proxy, mode: str) -> None:
    """The client waits for the word before it sends its body."""
    request = put(key, mode, "expected", BODY[: 1 << 20]).add("Expect", "100-continue")
    async with await Client.open(proxy.port) as client:
        await client.send(request.head())
        assert await client.more() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(request.body)
        reply = await client.reply()
    assert (reply.status, reply.interim) == (200, []), str(reply)
    assert await world.stored("expected") == BODY[: 1 << 20]


@pytest.mark.parametrize("proxy", [pytest.param("haproxy", marks=HAPROXY)], indirect=True)
async def test_haproxy_lets_us_decide_whether_the_body_shall_come(key: Key, proxy: Proxy) -> None:
    """With a wrong signature there is no "100 Continue"; nginx would say it in our place (D23)."""
    request = put(key, "hex", "expected", BODY[: 1 << 20]).add("Expect", "100-continue")
    wire.with_signature(request, "0" * 64)
    async with await Client.open(proxy.port) as client:
        await client.send(request.head())
        reply = await client.reply()
    assert (reply.status, reply.interim) == (403, []), str(reply)


async def test_the_absolute_form_verifies(world: World, key: Key, proxy: Proxy) -> None:
    """HAProxy passes it on as it is, nginx makes it a path (D21)."""
    await world.put("k", b"body")
    request = signed_by_botocore(key, "GET", "k")
    request.target = f"http://{HOST}{request.target}"
    reply = await send(proxy.port, request)
    assert (reply.status, reply.body) == (200, b"body"), str(reply)


async def test_a_kept_connection_serves_many_requests(world: World, key: Key, proxy: Proxy) -> None:
    """Refused and served ones in turn; the proxy's connection to us stays in step."""
    await world.put("k", b"body")
    async with await Client.open(proxy.port) as client:
        for number in range(20):
            good = signed_by_botocore(key, "GET", "k")
            if number % 2:
                wire.with_signature(good, "0" * 64)
            await client.send(good.wire())
            reply = await client.reply()
            assert reply.status == (403 if number % 2 else 200), str(reply)


# --- HTTP/2 -------------------------------------------------------------------------------------------------


async def curl(authority: Authority, proxy: Proxy, request: Request, *upload: str, body: bytes = b"") -> Reply:
    """Send a signed request with curl over HTTP/2. `upload` are the arguments for its body."""
    fields: list[str] = []
    for name, value in request.headers:
        if name != "Content-Length":
            fields += ["-H", f"{name}: {value}" if value else f"{name};"]
    url = f"https://127.0.0.1:{proxy.tls_port}{request.target}"
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-q", "--http2", "--path-as-is", "--cacert", str(authority.bundle), "-X", request.method),
        *(*fields, *upload, "-w", "\n%{http_version} %{http_code}", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(body)
    answer, _, told = output.rpartition(b"\n")
    version, status = told.decode().split()
    assert version == "2"
    return Reply(int(status), [], answer)


@CURL
@pytest.mark.parametrize("name", ["with blank", "a//b", "a%2Fb", "()!*'~"])
async def test_http_2_requests_verify(
    gateway: GatewayProcess, key: Key, proxy: Proxy, authority: Authority, name: str
) -> None:
    """The authority of HTTP/2 becomes the Host that was signed, with its port."""
    request = signed_by_botocore(key, "GET", name)
    direct = await send(gateway.s3, request)
    through = await curl(authority, proxy, request)
    assert (through.status, through.code) == (direct.status, direct.code)
    assert through.status != 403


@CURL
async def test_http_2_uploads_need_a_length(
    world: World, key: Key, proxy: Proxy, authority: Authority, tmp_path: Path
) -> None:
    """With one they work; without one the proxy makes HTTP chunks of them, and we say 411 (D27)."""
    file = tmp_path / "body"
    file.write_bytes(BODY)
    known = await curl(authority, proxy, put(key, wire.UNSIGNED, "two", BODY), "--upload-file", str(file))
    assert known.status == 200, str(known)
    assert await world.stored("two") == BODY
    unknown = await curl(authority, proxy, put(key, wire.UNSIGNED, "two", BODY), "--upload-file", "-", body=BODY)
    assert (unknown.status, unknown.code) == (411, "MissingContentLength"), str(unknown)


# --- settings that break signatures -------------------------------------------------------------------------


@NGINX
@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ("proxy_pass http://up;", "host_changed_by_proxy"),
        ("proxy_pass http://up; proxy_set_header X-Forwarded-Host $http_host;", "host_changed_by_proxy"),
        ("proxy_pass http://up; proxy_set_header Host $host;", "host_port_differs"),
        ("proxy_pass http://up/; proxy_set_header Host $http_host;", "wrong_secret_or_altered_request"),
    ],
    ids=["host-lost", "host-lost-but-forwarded", "port-lost", "path-written-anew"],
)
async def test_the_log_says_what_a_proxy_broke(
    world: World, key: Key, tmp_path: Path, settings: str, cause: str
) -> None:
    """nginx's usual settings break signatures; the refusal's line names the cause, as far as we can know it."""
    gateway = world.start(s3__public_url=f"http://{HOST}")
    [port] = free_ports(1)
    servers = f"""
        upstream up {{ server 127.0.0.1:{gateway.s3}; }}
        server {{ listen 127.0.0.1:{port}; location / {{ {settings} }} }}
    """
    with nginx(tmp_path, servers, port):
        reply = await send(port, signed_by_botocore(key, "GET", "a//b", headers={}))
        assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch"), str(reply)
        line = gateway.access_line(reply.get("x-amz-request-id"))
        assert line["likely_cause"] == cause
