"""What `read`, `write` and `read_write` mean."""

from __future__ import annotations

import pytest

from policies.presets import ACTIONS, all_buckets, per_bucket
from policies.statement import decide

DATA_READ = {"s3:GetObject", "s3:ListBucket"}
DATA_WRITE = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
ASKED_FIRST = {"s3:HeadBucket", "s3:GetBucketLocation"}


def test_reading_is_not_writing() -> None:
    assert not ACTIONS["read"] & DATA_WRITE
    assert not ACTIONS["write"] & DATA_READ
    assert ACTIONS["read_write"] >= DATA_READ | DATA_WRITE


@pytest.mark.parametrize("permission", ACTIONS)
def test_every_preset_answers_what_clients_ask_first(permission: str) -> None:
    assert ACTIONS[permission] >= ASKED_FIRST


@pytest.mark.parametrize("permission", ACTIONS)
def test_no_preset_reaches_acls_tags_versions_or_configuration(permission: str) -> None:
    words = ("Acl", "Tagging", "Version", "Policy", "Retention", "LegalHold", "Lifecycle", "Configuration", "Bypass")
    granted = {action for statement in all_buckets(permission) for action in statement.actions}
    assert not [action for action in granted for word in words if word in action]


def test_buckets_are_made_by_keys_that_write_everywhere() -> None:
    for permission, allowed in (("read", False), ("write", True), ("read_write", True)):
        assert decide(all_buckets(permission), "s3:CreateBucket", "new").allowed is allowed
        assert not decide(per_bucket([("a", permission)]), "s3:CreateBucket", "a").allowed
        assert not decide(per_bucket([("a", permission)]), "s3:DeleteBucket", "a").allowed


def test_grants_do_not_mix() -> None:
    """Read in one bucket and write in another is neither in the other's place."""
    policy = per_bucket([("a", "read"), ("b", "write")])
    assert decide(policy, "s3:GetObject", "a").allowed
    assert decide(policy, "s3:PutObject", "b").allowed
    assert not decide(policy, "s3:PutObject", "a").allowed
    assert not decide(policy, "s3:GetObject", "b").allowed


def test_two_grants_on_one_bucket_add_up() -> None:
    policy = per_bucket([("a", "read"), ("a", "write")])
    assert decide(policy, "s3:GetObject", "a").allowed
    assert decide(policy, "s3:PutObject", "a").allowed


def test_an_unknown_permission_is_a_mistake_and_not_nothing() -> None:
    with pytest.raises(KeyError):
        all_buckets("admin")
    with pytest.raises(KeyError):
        per_bucket([("a", "admin")])
