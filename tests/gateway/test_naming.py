"""Backend names: two tenants never mean the same bucket."""

from __future__ import annotations

import pytest

from gateway.naming import backend_bucket_name, check_backend_name, check_tenant_name
from keystore.model import Invalid


def test_the_default_tenant_s_buckets_keep_their_names() -> None:
    assert backend_bucket_name("default", "photos") == "photos"


def test_other_tenants_are_put_in_front() -> None:
    assert backend_bucket_name("acme", "photos") == "acme--photos"


def test_no_two_pairs_of_tenant_and_bucket_have_one_backend_name() -> None:
    """What could be read in two ways would need a tenant with two hyphens in a row, and there is none."""
    assert backend_bucket_name("a", "b--cc") == "a--b--cc"
    with pytest.raises(Invalid):
        check_tenant_name("a--b")
    assert check_tenant_name("a-b") == "a-b"


@pytest.mark.parametrize("name", ["", "ab", "a/b", "a..b", "_ab", "a b", "x" * 256, "ab\n"])
def test_what_no_store_can_have_is_no_backend_name(name: str) -> None:
    with pytest.raises(Invalid):
        check_backend_name(name)


def test_names_from_before_the_rules_are_backend_names() -> None:
    assert check_backend_name("Old_Bucket.2009") == "Old_Bucket.2009"
