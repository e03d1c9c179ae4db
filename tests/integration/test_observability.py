"""What operators see: one line for each request, metrics with bounded labels, and never a secret anywhere."""

from __future__ import annotations

import base64
import random
import re
import string
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from gateway.embedded.postgres import find_programs
from keystore.sealing import parse_kek
from tests import wire
from tests.gateways import BUCKET, GatewayProcess, World, send
from tests.waiting import until_true
from tests.wire import MODES, Client, Key, NoReply, Request

ALPHABET = string.ascii_letters + string.digits
NAMES = """
    bucketwarden_build_info bucketwarden_requests_total bucketwarden_request_duration_seconds
    bucketwarden_time_to_first_byte_seconds bucketwarden_requests_in_flight bucketwarden_transferred_bytes_total
    bucketwarden_client_disconnects_total bucketwarden_auth_attempts_total bucketwarden_auth_failures_total
    bucketwarden_signature_mismatches_total bucketwarden_authz_denials_total bucketwarden_key_lookups_total
    bucketwarden_key_cache_entries bucketwarden_key_events_connected
    bucketwarden_key_events_last_received_timestamp_seconds bucketwarden_revocation_propagation_seconds
    bucketwarden_inflight_aborted_total bucketwarden_upstream_requests_total bucketwarden_upstream_errors_total
    bucketwarden_key_changes_total bucketwarden_admin_requests_total bucketwarden_admin_request_duration_seconds
    bucketwarden_admin_auth_failures_total bucketwarden_ready
    process_resident_memory_bytes process_open_fds
""".split()


@pytest.fixture(scope="module")
def gateway(world: World) -> GatewayProcess:
    """It logs as much as it can."""
    return world.start(log__level="debug")


async def test_each_request_has_one_line_with_the_id_that_its_client_got(world: World, gateway: GatewayProcess) -> None:
    """In the field x-amz-request-id, and in the document of an error."""
    key = await world.new_key(gateway)
    await world.put("k", b"body")
    malformed = Request("GET", f"/{BUCKET}/k", [("Host", gateway.host), ("No Token", "x")])
    requests = {
        "GetObject": (gateway.signed(key, "GET", f"/{BUCKET}/k"), 200),
        "PutObject": (gateway.signed(key, "PUT", f"/{BUCKET}/new", body=b"body"), 200),
        "HeadObject": (gateway.signed(key, "HEAD", f"/{BUCKET}/none"), 404),
        "DeleteObject": (gateway.signed(key, "DELETE", f"/{BUCKET}/new"), 204),
        "ListObjectsV2": (gateway.signed(key, "GET", f"/{BUCKET}?list-type=2"), 200),
        "Unknown": (wire.with_signature(gateway.signed(key, "GET", f"/{BUCKET}/k"), "0" * 64), 403),
        "malformed": (malformed, 400),
    }
    ids = set()
    for operation, (request, status) in requests.items():
        reply = await gateway.send(request, head_only=request.method == "HEAD")
        assert reply.status == status, str(reply)
        request_id = reply.get("x-amz-request-id")
        ids.add(request_id)
        line = gateway.access_line(request_id)
        assert (line["status"], line["level"]) == (status, "info")
        if operation != "malformed":
            assert (line["operation"], line["method"]) == (operation, request.method)
            assert (line["access_key_id"], line["source_ip"]) == (key.id, "127.0.0.1")
        if reply.body.startswith(b"<?xml") and status >= 400:
            assert ElementTree.fromstring(reply.body).findtext("RequestId") == request_id  # noqa: S314 - our own
    assert len(ids) == len(requests)
    lines = [line["request_id"] for line in gateway.lines() if line["event"] == "request"]
    assert len(lines) == len(set(lines))


# --- secrets ------------------------------------------------------------------------------------------------


@dataclass
class Canaries:
    """Everything that must be nowhere, by what it is."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, text: str) -> None:
        """And its usual encodings."""
        raw = text.encode()
        self.texts[what] = text
        self.texts[f"{what} in hex"] = raw.hex()
        self.texts[f"{what} in base64"] = base64.b64encode(raw).decode().rstrip("=")

    def found_in(self, text: str) -> list[str]:
        return [what for what, canary in self.texts.items() if canary in text]


def uploads(gateway: GatewayProcess, key: Key, canaries: Canaries) -> Iterator[Request]:
    """Right and wrong requests of every kind; what they hold that is secret goes to `canaries`."""
    data = b"x" * 200_000
    now = datetime.now(UTC)
    for mode in MODES:
        for presigned in (False, True):
            for wrong in (False, True):
                request = gateway.request("PUT", f"/{BUCKET}/k").drop("content-length")
                request, body = wire.upload(key, request, mode, data, presigned=presigned, when=now)
                assert request.seal is not None
                what = f"{mode} {'presigned' if presigned else 'header'}"
                canaries.texts[f"signature of {what}"] = request.seal.signature
                canaries.texts[f"signing key of {what}"] = request.seal.signing_key.hex()
                for chunk in body.chunks if body is not None else ():
                    if chunk.signature is not None:
                        canaries.texts[f"signature of a chunk of {what}"] = chunk.signature
                if body is not None and body.trailer_signature is not None:
                    canaries.texts[f"signature of the trailer of {what}"] = body.trailer_signature
                if wrong and body is not None:
                    body.chunks[0].data = b"y" + body.chunks[0].data[1:]
                    wire.reframe(request, body)
                elif wrong:
                    request.body = b"y" + request.body[1:]
                yield request
    conditions = [
        {"bucket": BUCKET},
        {"x-amz-algorithm": wire.ALGORITHM},
        *(["starts-with", f"${name}", ""] for name in ("key", "x-amz-credential", "x-amz-date")),
    ]
    text = wire.policy(conditions, f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%S.000Z}")
    fields = wire.form_fields(key, text, when=now)
    canaries.texts["policy"] = text
    canaries.texts["signature of a policy"] = fields["x-amz-signature"]
    for given in (fields, fields | {"x-amz-signature": "0" * 64}):
        yield wire.form(f"/{BUCKET}", [("key", "form"), *given.items()], b"file", host=gateway.host)
    for name, value in (
        ("x-amz-security-token", "canary-of-a-session-token"),
        ("x-amz-server-side-encryption-customer-key", "Y2FuYXJ5LW9mLWEtY3VzdG9tZXIta2V5"),
        ("Cookie", "session=canary-of-a-cookie"),
        ("Proxy-Authorization", "Basic canary-of-a-proxy-password"),
    ):
        canaries.add(name, value.rpartition(" ")[2].rpartition("=")[2])
        yield gateway.signed(key, "GET", f"/{BUCKET}/k", (name, value))
    canaries.texts["signature in a broken field"] = "deadbeef" * 8
    for value in (
        f"AWS4-HMAC-SHA256 Credential={key.id}, Signature={'deadbeef' * 8}",
        f"AWS {key.id}:{'deadbeef' * 8}",
        f"Bearer {'deadbeef' * 8}",
    ):
        yield gateway.request("GET", f"/{BUCKET}/k", ("Authorization", value))
    yield gateway.request("GET", f"/{BUCKET}/k?AWSAccessKeyId={key.id}&Expires=1&Signature={'deadbeef' * 8}")
    yield Request("GET", f"/{BUCKET}/k", [("Host", gateway.host), ("Authorization", "\x00" + "deadbeef" * 8)])


def dump_of(dsn: str) -> str:
    """The whole database as SQL."""
    command = [find_programs() / "pg_dump", "--inserts", dsn]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_no_secret_is_in_log_metrics_or_database(world: World, gateway: GatewayProcess) -> None:
    """LOG-291: after right and wrong requests of every kind, at the level debug, each is searched for everywhere."""
    canaries = Canaries()
    canaries.add("operator token", world.token)
    canaries.add("backend's secret", world.store.secret_key)
    canaries.add("key-encryption key", world.kek)
    canaries.texts["key-encryption key in hex"] = parse_kek(world.kek).hex()
    canaries.texts["password of the database"] = world.dsn.partition("@")[0].rpartition(":")[2]
    key = await world.new_key(gateway)
    canaries.add("secret access key", key.secret)
    statuses = set()
    for request in uploads(gateway, key, canaries):
        reply = await gateway.send(request)
        statuses.add(reply.status)
    assert {200, 400, 403} <= statuses
    refused = wire.sign(Key(key.id, "another-secret-access-key"), gateway.request("GET", f"/{BUCKET}/k"))
    await gateway.send(refused)
    for token in ("canary-of-a-wrong-token", f"{world.token}x"):
        canaries.add(f"wrong token {token[:6]}", token)
        assert (await gateway.operate(token, "GET", "/keys"))[0] == 401
    status, _ = await gateway.operate(world.token, "POST", "/keys", {"secret_access_key": key.secret})
    assert status == 422
    malformed = Request("GET", "/api/v1/keys", [("Host", f"127.0.0.1:{gateway.operator}"), ("Bad Name", world.token)])
    assert (await send(gateway.operator, malformed)).status == 400
    status, _ = await gateway.operate(world.token, "POST", f"/keys/{key.id}/revoke", {"reason": "a test"})
    assert status == 200
    last = await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/k"))
    gateway.access_line(last.get("x-amz-request-id"))

    log = gateway.log.read_text()
    dump = dump_of(world.dsn)
    listing = str(await gateway.operate(world.token, "GET", "/keys"))
    for place, text in (("log", log), ("dump", dump), ("metrics", gateway.exposition()), ("list of keys", listing)):
        assert canaries.found_in(text) == [], f"in the {place}"
    for place, text in (("log", log), ("dump", dump), ("list of keys", listing)):
        assert key.id in text, f"the search of the {place} is worth nothing"


# --- metrics ------------------------------------------------------------------------------------------------


async def test_the_metrics_have_their_names_and_closed_labels(world: World, gateway: GatewayProcess) -> None:
    """operator-surface 4.3, as far as it applies yet; no key id, bucket or address in any label."""
    key = await world.new_key(gateway)
    await gateway.send(gateway.signed(key, "GET", f"/{BUCKET}/some-object"))
    text = gateway.exposition()
    described = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert set(NAMES) <= described, set(NAMES) - described
    for canary in (key.id, BUCKET, world.backend_bucket, "some-object", "studio", world.store.endpoint, "127.0.0.1"):
        assert canary not in text
    assert gateway.metric("bucketwarden_requests_total", operation="GetObject", code="404") >= 1


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(ALPHABET, k=rng.randint(1, 20)))


def _random_request(gateway: GatewayProcess, key: Key, rng: random.Random) -> Request:
    """Nothing of it is like another's; some are signed, by the key or by nobody."""
    method = rng.choice(["GET", "PUT", "DELETE", "HEAD", "POST", "PATCH", "OPTIONS", _word(rng).upper()])
    target = f"/{rng.choice([BUCKET, _word(rng).lower()])}/{_word(rng)}"
    target += rng.choice(["", f"?{_word(rng)}={_word(rng)}", "?acl=", "?uploads=", "?list-type=2"])
    headers = [("User-Agent", _word(rng)), (f"x-amz-meta-{_word(rng)}", _word(rng)), ("X-Forwarded-For", _word(rng))]
    request = gateway.request(method, target, *headers)
    request.set("Host", rng.choice([gateway.host, f"{_word(rng)}.example.com"]))
    signer = rng.choice([None, key, Key(_word(rng).upper(), _word(rng))])
    if signer is not None:
        wire.sign(signer, request, when=datetime.now(UTC), region=_word(rng))
    return request


async def test_random_requests_do_not_make_series(world: World, gateway: GatewayProcess) -> None:
    """LOG-297: 2000 requests in which everything is random, on both listeners; the series stay below 50 more."""
    rng = random.Random(5)  # noqa: S311 - test data
    key = await world.new_key(gateway)
    before = len(gateway.series())
    client = await Client.open(gateway.s3)
    for _ in range(2000):
        request = _random_request(gateway, key, rng)
        try:
            await client.send(request.wire())
            reply = await client.reply(head_only=request.method == "HEAD")
            going_on = reply.get("connection") != "close"
        except (NoReply, OSError):
            going_on = False
        if not going_on:
            client.close()
            client = await Client.open(gateway.s3)
    client.close()
    for _ in range(100):
        host = ("Host", f"127.0.0.1:{gateway.operator}")
        await send(gateway.operator, Request(_word(rng).upper(), f"/{_word(rng)}/{_word(rng)}", [host]))
        await send(gateway.metrics, Request(_word(rng).upper(), f"/{_word(rng)}", [host]))
    await until_true(lambda: gateway.metric("bucketwarden_requests_in_flight") == 0, "all to be over")
    grown = len(gateway.series()) - before
    assert grown < 50, f"{grown} series more"
    assert gateway.metric("bucketwarden_requests_total") >= 2000
