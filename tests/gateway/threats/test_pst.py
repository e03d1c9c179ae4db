"""Class PST: browser forms with a signed policy. Each test is named by the id of its public case."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from tests import wire
from tests.gateway.harness import KA, KAR, KR, SUFFIX, UNKNOWN, Gateway
from tests.gateway.threats.judging import accepted, not_committed, refused
from tests.wire import NOW, Key, Request, http_date, policy

FILE = b"the file\r\n--not a boundary"


def conditions(*more: object, bucket: str = "alpha", key: object = ("starts-with", "$key", "")) -> list[object]:
    credential = [{"x-amz-algorithm": wire.ALGORITHM}, ["starts-with", "$x-amz-credential", ""]]
    return [{"bucket": bucket}, list(key), *credential, ["starts-with", "$x-amz-date", ""], *more]  # type: ignore[call-overload]


def post(
    gateway: Gateway,
    *more: object,
    target: str = "/alpha",
    key: Key = KA,
    object_key: str = "k",
    fields: dict[str, str] | None = None,
    leave_out: tuple[str, ...] = (),
    policy_text: str | None = None,
    file: bytes | None = FILE,
    signed_for: str = "alpha",
    **framing: object,
) -> Request:
    """A right form, but for what the arguments change; `more` are further conditions of the policy."""
    text = policy(conditions(*more, bucket=signed_for)) if policy_text is None else policy_text
    when = framing.pop("when", NOW)
    authentication = wire.form_fields(key, text, when=when)  # type: ignore[arg-type]
    all_fields = {"key": object_key, **authentication, **(fields or {})}
    kept = [(name, value) for name, value in all_fields.items() if name not in leave_out]
    return wire.form(target, kept, file, host=gateway.host, **framing)  # type: ignore[arg-type]


async def control(gateway: Gateway, *more: object, **knobs: object) -> None:
    await accepted(gateway, post(gateway, *more, **knobs), 204)  # type: ignore[arg-type]
    assert gateway.backend.body_of("t1--alpha", "k") == FILE
    seen = gateway.backend.requests[-1]
    assert (seen.method, seen.target) == ("PUT", "/t1--alpha/k")


async def test_pst_068_a_policy_is_for_one_bucket(gateway: Gateway) -> None:
    """CVE-2023-43040: the bucket is the one in the URL, whatever a field says."""
    await control(gateway)
    field = {"bucket": "alpha"}
    await refused(gateway, post(gateway, target="/beta", fields=field), 403, "AccessDenied")
    await refused(gateway, post(gateway, target="/beta", signed_for="beta"), 403, "AccessDenied")
    await refused(gateway, post(gateway, fields={"bucket": "beta"}), 403, "AccessDenied")
    by_host = post(gateway, target="/").set("Host", f"beta.{SUFFIX}")
    await refused(gateway, by_host, 403, "AccessDenied")


@pytest.mark.parametrize(
    "leave_out",
    [
        ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"),
        ("x-amz-signature",),
        ("policy",),
        ("x-amz-credential",),
        ("x-amz-date",),
        ("x-amz-algorithm",),
        ("key",),
    ],
)
async def test_pst_069_fields_that_are_needed(gateway: Gateway, leave_out: tuple[str, ...]) -> None:
    await control(gateway)
    await refused(gateway, post(gateway, leave_out=leave_out), (400, 403))


@pytest.mark.parametrize("value", ["0" * 64, "", "x", "A" * 64])
async def test_pst_069_a_wrong_signature(gateway: Gateway, value: str) -> None:
    await control(gateway)
    await refused(gateway, post(gateway, fields={"x-amz-signature": value}), 403, "SignatureDoesNotMatch")


async def test_pst_069_keys_that_do_not_count(gateway: Gateway) -> None:
    await control(gateway)
    await refused(gateway, post(gateway, key=UNKNOWN), 403, "InvalidAccessKeyId")
    await refused(gateway, post(gateway, key=KR), 403, "InvalidAccessKeyId")
    await refused(gateway, post(gateway, key=KAR), 403, "AccessDenied")


@pytest.mark.parametrize(
    ("expiration", "status"),
    [
        ("2026-01-02T11:59:59Z", 403),
        (None, 400),
        ("tomorrow", 400),
        ("2026-13-01T00:00:00Z", 400),
        ("", 400),
        ("2026-01-02T13:00:00", 400),
    ],
)
async def test_pst_070_the_policys_time(gateway: Gateway, expiration: str | None, status: int) -> None:
    await control(gateway)
    code = "AccessDenied" if status == 403 else "InvalidPolicyDocument"
    await refused(gateway, post(gateway, policy_text=policy(conditions(), expiration)), status, code)


async def test_pst_070_the_year_9999_is_capped(gateway: Gateway) -> None:
    """A policy lives as long as a URL at most: a week from its date."""
    for_ever = policy(conditions(), "9999-12-31T23:59:59.000Z")
    await control(gateway, policy_text=for_ever, when=NOW - timedelta(days=6))
    await refused(gateway, post(gateway, policy_text=for_ever, when=NOW - timedelta(days=8)), 403, "AccessDenied")


async def test_pst_070_a_form_is_made_long_before_it_is_sent(gateway: Gateway) -> None:
    """The skew of signed requests does not apply to forms."""
    await control(gateway, when=NOW - timedelta(hours=5))


@pytest.mark.parametrize(
    ("low", "high", "size", "code"),
    [
        (1, 100, 101, "EntityTooLarge"),
        (1, 100, 0, "EntityTooSmall"),
        (5, 1, 3, "InvalidPolicyDocument"),
        (-1, 100, 3, "InvalidPolicyDocument"),
        ("a", "b", 3, "InvalidPolicyDocument"),
        (1, 1 << 20, (1 << 20) + 1, "EntityTooLarge"),
        (1 << 20, 1 << 21, 400_000, "EntityTooSmall"),
    ],
)
@pytest.mark.parametrize("te", [False, True], ids=["content-length", "transfer-encoding"])
async def test_pst_071_content_length_range(
    gateway: Gateway, low: object, high: object, size: int, code: str, te: bool
) -> None:
    """The limits hold while the file passes, whatever the request announced."""
    await control(gateway, ["content-length-range", 1, 100])
    request = post(gateway, ["content-length-range", low, high], file=bytes(size), te=te)
    codes = (code, "MissingContentLength") if te and size > 300_000 else code
    await not_committed(gateway, request, (400, 411), codes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-meta-y", "1"),
        ("acl", "public-read"),
        ("tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"),
        ("x-amz-storage-class", "STANDARD"),
        ("Content-Encoding", "gzip"),
        ("Content-Type", "text/html"),
        ("success_action_redirect", "http://evil.test/"),
        ("x-amz-website-redirect-location", "http://evil.test/"),
        ("x-amz-copy-source", "/beta/secret"),
        ("x-amz-meta-Y", "1"),
    ],
)
async def test_pst_072_a_field_that_no_condition_covers(gateway: Gateway, name: str, value: str) -> None:
    await control(gateway)
    await refused(gateway, post(gateway, fields={name: value}), 403, "AccessDenied")


async def test_pst_072_x_ignore_fields_need_no_condition(gateway: Gateway) -> None:
    await control(gateway, fields={"x-ignore-submit": "Upload"})


async def test_pst_076_fields_behind_the_file_count_for_nothing(gateway: Gateway) -> None:
    await control(gateway, after=[("key", "other"), ("acl", "public-read"), ("x-amz-meta-z", "1")])
    seen = gateway.backend.requests[-1]
    assert seen.get("x-amz-meta-z") is None
    assert gateway.backend.body_of("t1--alpha", "other") is None


async def test_pst_076_one_file(gateway: Gateway) -> None:
    """None, or a second one."""
    await control(gateway)
    await refused(gateway, post(gateway, file=None), 400, "InvalidArgument")
    await not_committed(gateway, post(gateway, after=[("file", "another")]), 400, "InvalidArgument")


@pytest.mark.parametrize(
    ("content_type", "target", "status"),
    [
        ("Multipart/Form-Data; boundary=BoUnDaRy", "/alpha", 204),
        ('multipart/form-data; boundary="BoUnDaRy"', "/alpha", 204),
        ("multipart/form-data", "/alpha", 400),
        ("multipart/form-data; boundary=", "/alpha", 400),
        ("multipart/form-data; boundary=other", "/alpha", 400),
        ("multipart/form-data; boundary=BoUnDaRy; boundary=x", "/alpha", 400),
        ("multipart/mixed; boundary=BoUnDaRy", "/alpha", 403),
        ("application/x-www-form-urlencoded", "/alpha", 403),
        ("multipart/form-data; boundary=BoUnDaRy", "/.minio.sys", 400),
        ("multipart/form-data; boundary=BoUnDaRy", "/minio", 403),
        ("multipart/form-data; boundary=BoUnDaRy", "/", 405),
        ("multipart/form-data; boundary=BoUnDaRy", "/alpha/k", 405),
    ],
)
async def test_pst_079_one_reading_of_the_content_type(
    gateway: Gateway, content_type: str, target: str, status: int
) -> None:
    """However it is spelt, a form is one or it is refused; and only to a bucket."""
    await control(gateway)
    bucket = target.strip("/") or "alpha"
    request = post(gateway, content_type=content_type, target=target, signed_for=bucket)
    if status == 204:
        await accepted(gateway, request, 204)
    else:
        await refused(gateway, request, (status, 400, 403, 405))


async def test_pst_079_two_content_types(gateway: Gateway) -> None:
    await control(gateway)
    request = post(gateway).add("Content-Type", "text/plain")
    await refused(gateway, request, 400)


async def test_pst_079_a_form_with_another_credential(gateway: Gateway) -> None:
    """An Authorization header or a presigned query beside a form: one mechanism too many (P7)."""
    await control(gateway)
    both = post(gateway)
    wire.sign(KA, both)
    await refused(gateway, both, (400, 403, 405))
    query = post(gateway)
    wire.presign(KA, query)
    await refused(gateway, query, (400, 403, 405))


_LIMITS = {
    "1000 fields": {"fields": {f"x-ignore-{number}": "1" for number in range(1000)}},
    "a large field": {"fields": {"x-ignore-a": "a" * (1 << 20)}},
    "a large policy": {"policy_text": policy(["x" * (1 << 20)])},
    "a large part header": {"fields": {'x-ignore-b"; x="' + "b" * (1 << 20): "1"}},
    "a large boundary": {"boundary": "b" * 10_000},
    "a deep policy": {"policy_text": wire.b64(b'{"conditions":' + b"[" * 9000)},
    "many conditions": {"policy_text": policy([["eq", "$a", "b"]] * 5000)},
}


@pytest.mark.parametrize("who", [KA, UNKNOWN], ids=["KA", "nobody"])
@pytest.mark.parametrize("limit", _LIMITS)
async def test_pst_082_limits(gateway: Gateway, limit: str, who: Key) -> None:
    """What comes before the file is bounded, and cheap to refuse."""
    await control(gateway)
    started = time.process_time()
    await refused(gateway, post(gateway, key=who, **_LIMITS[limit]), (400, 403))  # type: ignore[arg-type]
    assert time.process_time() - started < 1.0


async def test_pst_082_a_million_tiny_parts(gateway: Gateway) -> None:
    await control(gateway)
    part = b'--BoUnDaRy\r\nContent-Disposition: form-data; name="x-ignore-a"\r\n\r\n\r\n'
    request = post(gateway)
    request.body = part * 20_000 + request.body
    started = time.process_time()
    await refused(gateway, wire.reframe(request, None), 400)
    assert time.process_time() - started < 1.0


async def test_pst_082_transfer_encodings_of_parts_are_not_guessed(gateway: Gateway) -> None:
    await control(gateway)
    request = post(gateway)
    request.body = request.body.replace(
        b"Content-Type: text/plain", b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64"
    )
    await refused(gateway, wire.reframe(request, None), 400, "MalformedPOSTRequest")


_COVERED = [
    ("Content-Type", "text/css"),
    ("Cache-Control", "max-age=60"),
    ("Content-Disposition", 'attachment; filename="a"'),
    ("Content-Encoding", "gzip"),
    ("Expires", http_date(NOW)),
    ("x-amz-meta-colour", "red"),
    ("x-amz-storage-class", "STANDARD"),
]


@pytest.mark.parametrize(("name", "value"), _COVERED)
async def test_pst_084_what_was_validated_reaches_the_store(gateway: Gateway, name: str, value: str) -> None:
    await control(gateway, ["eq", f"${name}", value], fields={name: value})
    assert gateway.backend.requests[-1].get(name.lower()) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acl", "public-read"),
        ("tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-copy-source", "/alpha/control"),
    ],
)
async def test_pst_084_what_cannot_be_done_is_not_dropped(gateway: Gateway, name: str, value: str) -> None:
    """Covered by the policy, but a right that no data key holds: refused, not forgotten."""
    await control(gateway)
    await refused(gateway, post(gateway, ["eq", f"${name}", value], fields={name: value}), (400, 403, 501))


async def test_pst_the_file_name_goes_into_the_key(gateway: Gateway) -> None:
    """The policy is held against the key that is written (F3)."""
    request = post(gateway, object_key="up/${filename}", filename="C:\\dir\\a b.txt")
    await accepted(gateway, request, 204)
    assert gateway.backend.body_of("t1--alpha", "up/a b.txt") == FILE
    text = policy([c if c != ["starts-with", "$key", ""] else ["starts-with", "$key", "up/"] for c in conditions()])
    await refused(gateway, post(gateway, policy_text=text, object_key="${filename}", filename="up/x"), 403)


@pytest.mark.parametrize("size", [0, 10, 300_000, 2 << 20])
async def test_pst_any_size_arrives(gateway: Gateway, size: int) -> None:
    await accepted(gateway, post(gateway, file=bytes(size)), 204)
    assert gateway.backend.body_of("t1--alpha", "k") == bytes(size)


@pytest.mark.parametrize("share", [10, 50, 99])
async def test_pst_a_form_that_breaks_off_makes_no_object(gateway: Gateway, share: int) -> None:
    await control(gateway)
    committed = len(gateway.backend.committed)
    finished = len(gateway.traces.finished)
    data = post(gateway, file=bytes(1 << 20)).wire()
    async with await wire.Client.open(gateway.port) as client:
        await client.send(data[: len(data) * share // 100])
        client.reset()
    await gateway.traces.until(finished + 1)
    await gateway.alive()
    assert len(gateway.backend.committed) == committed + 1
    assert gateway.backend.body_of("t1--alpha", "k") == FILE


async def test_pst_success_answers(gateway: Gateway) -> None:
    """201 with a document, 303 with bucket, key and etag (F9)."""
    made = await accepted(
        gateway, post(gateway, {"success_action_status": "201"}, fields={"success_action_status": "201"}), 201
    )
    assert made.element("Bucket") == "alpha"
    assert b"t1--" not in made.body + made.raw_head
    where = "https://app.test/done?a=b"
    moved = await accepted(
        gateway, post(gateway, {"success_action_redirect": where}, fields={"success_action_redirect": where}), 303
    )
    assert (moved.get("location") or "").startswith(f"{where}&bucket=alpha&key=k&etag=%22")


LARGE = b"l" * 300_000


async def test_pst_071_a_large_form_of_unknown_length(gateway: Gateway) -> None:
    """What the store has to know before the first byte can be collected for small forms only."""
    await control(gateway, te=True)
    await not_committed(gateway, post(gateway, file=LARGE, te=True), 411, "MissingContentLength")


async def test_pst_076_a_large_file_of_another_length_than_the_forms(gateway: Gateway) -> None:
    """Its length is told to the store before its end is seen: neither a byte less nor one more may follow."""
    await accepted(gateway, post(gateway, file=LARGE), 204)
    assert gateway.backend.body_of("t1--alpha", "k") == LARGE
    shorter = post(gateway, file=LARGE, after=[("x-ignore-a", "1")])
    await not_committed(gateway, shorter, 400, "MalformedPOSTRequest")
    longer = post(gateway, file=LARGE)
    longer.body = bytes(longer.body)[:-2]  # the closing boundary without the end of its line
    longer.set("Content-Length", str(len(longer.body)))
    await not_committed(gateway, longer, 400, "MalformedPOSTRequest")


async def test_pst_076_a_large_file_whose_excess_comes_late(gateway: Gateway) -> None:
    """All that the store was promised is here, then two bytes more: it must not get its last piece before them."""
    await accepted(gateway, post(gateway, file=LARGE), 204)
    longer = post(gateway, object_key="late", file=LARGE)
    longer.body = bytes(longer.body)[:-2]
    longer.set("Content-Length", str(len(longer.body)))
    data = longer.wire()
    split = data.index(LARGE) + len(LARGE) - 2
    client = await gateway.connect()
    await client.send(data[:split])
    await asyncio.sleep(0.3)  # until the gateway has taken it; if it has not, the test shows less and fails no more
    await client.send(data[split:])
    reply = await client.reply()
    assert (reply.status, reply.code) == (400, "MalformedPOSTRequest")
    assert gateway.backend.body_of("t1--alpha", "late") is None
