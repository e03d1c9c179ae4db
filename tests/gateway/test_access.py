"""The two decisions: is it really them, and may they."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from gateway.access import authenticate, authorize, may
from gateway.errors import S3Error
from gateway.events import Trace
from gateway.messages import Headers, RequestHead
from gateway.s3.address import Address
from gateway.s3.operation import S3Request, identify
from gateway.sigv4.claim import read_claim
from keystore.model import Access, AccessKey, Grant, Permission, Secret
from tests import wire
from tests.wire import NOW

ID, SECRET = "BWAKAAAAAAAAAAAAAAAA", "the-secret-of-this-key"


def key(*grants: tuple[str, str], permission: str = "read_write") -> AccessKey:
    return AccessKey(
        id=uuid4(),
        access_key_id=ID,
        secret=Secret(SECRET),
        tenant_id=uuid4(),
        tenant="t1",
        access=Access.BUCKETS if grants else Access.ALL_BUCKETS,
        permission=Permission(permission),
        grants=tuple(Grant(bucket, Permission(one)) for bucket, one in grants),
    )


def head(secret: str = SECRET) -> RequestHead:
    request = wire.sign(wire.Key(ID, secret), wire.Request("GET", "/a/k", [("Host", "h")]))
    return RequestHead("GET", "/a/k", "", Headers((name.lower(), value) for name, value in request.headers))


def code(held: AccessKey | None, request: RequestHead, trace: Trace | None = None) -> str | None:
    trace = trace or Trace("id", "GET", "h", "peer", "agent", 0.0)
    try:
        authenticate(read_claim(request), request, held, NOW, trace, explain=True, public_url="http://h")
    except S3Error as refusal:
        return f"{refusal.code} {refusal.reason}"
    return None


def test_the_right_secret_is_the_caller() -> None:
    assert code(key(), head()) is None


def test_a_wrong_signature_is_refused_and_its_cause_looked_for() -> None:
    trace = Trace("id", "GET", "h", "peer", "agent", 0.0)
    assert code(key(), head("another"), trace) == "SignatureDoesNotMatch signature_mismatch"
    assert trace.likely_cause is not None


def test_an_unknown_key_is_told_so() -> None:
    assert code(None, head()) == "InvalidAccessKeyId unknown_key"


def test_revoked_and_expired_keys_are_told_only_to_their_holder() -> None:
    """Without the right signature nobody can find out what became of a key."""
    revoked = replace(key(), revoked_at=NOW - timedelta(days=1))
    expired = replace(key(), expires_at=NOW)
    assert code(revoked, head()) == "InvalidAccessKeyId revoked"
    assert code(expired, head()) == "InvalidAccessKeyId expired_key"
    assert code(replace(key(), expires_at=NOW + timedelta(seconds=1)), head()) is None
    for held in (revoked, expired):
        assert code(held, head("another")) == "SignatureDoesNotMatch signature_mismatch"


def asked(
    method: str, bucket: str | None, object_key: str | None = None, query: str = "", source: str = ""
) -> S3Request:
    pairs = tuple((name, value) for name, _, value in (piece.partition("=") for piece in query.split("&")) if name)
    return identify(
        method, Address(bucket, object_key), pairs, Headers([("x-amz-copy-source", source)] if source else [])
    )


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (asked("GET", "aaa", "k"), {"read", "read_write"}),
        (asked("HEAD", "aaa", "k"), {"read", "read_write"}),
        (asked("GET", "aaa"), {"read", "read_write"}),
        (asked("GET", "aaa", query="list-type=2"), {"read", "read_write"}),
        (asked("PUT", "aaa", "k"), {"write", "read_write"}),
        (asked("DELETE", "aaa", "k"), {"write", "read_write"}),
        (asked("POST", "aaa", query="delete"), {"write", "read_write"}),
        (asked("POST", "aaa", "k", "uploads"), {"write", "read_write"}),
        (asked("PUT", "aaa", "k", "partNumber=1&uploadId=u"), {"write", "read_write"}),
        (asked("DELETE", "aaa", "k", "uploadId=u"), {"write", "read_write"}),
        (asked("GET", "aaa", "k", "uploadId=u"), {"read", "write", "read_write"}),
        (asked("GET", "aaa", query="location"), {"read", "write", "read_write"}),
        (asked("HEAD", "aaa"), {"read", "write", "read_write"}),
        (asked("PUT", "aaa", "k", source="/aaa/s"), {"read_write"}),
        (asked("PUT", "aaa", "k", source="/bbb/s"), set()),
        (asked("GET", "aaa", "k", "versionId=v"), set()),
        (asked("DELETE", "aaa", "k", "versionId=v"), set()),
        (asked("PUT", "aaa", "k", source="/aaa/s?versionId=v"), set()),
        (asked("PUT", "aaa"), set()),
        (asked("DELETE", "aaa"), set()),
        (asked("GET", "bbb", "k"), set()),
    ],
    ids=lambda value: f"{value.method} {value.operation.name}" if isinstance(value, S3Request) else "",
)
def test_presets_by_operation(request_: S3Request, allowed: set[str]) -> None:
    for permission in ("read", "write", "read_write"):
        held = key(("aaa", permission))
        if permission in allowed:
            authorize(held, request_)
        else:
            with pytest.raises(S3Error) as refusal:
                authorize(held, request_)
            assert refusal.value.code == "AccessDenied"


def test_everybody_may_ask_for_the_list_of_buckets() -> None:
    """The answer is filtered by `may`."""
    authorize(key(("aaa", "read")), asked("GET", None))
    assert may(key(("aaa", "read")), "s3:HeadBucket", "aaa")
    assert not may(key(("aaa", "read")), "s3:HeadBucket", "bbb")


def test_a_foreign_bucket_and_one_that_is_not_there_are_refused_alike() -> None:
    refusals = []
    for bucket in ("foreign", "nothing"):
        with pytest.raises(S3Error) as refusal:
            authorize(key(("aaa", "read")), asked("GET", bucket, "k"))
        refusals.append((refusal.value.code, refusal.value.message, refusal.value.fields))
    assert refusals[0] == refusals[1]
