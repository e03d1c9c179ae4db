"""Identifiers and secrets."""

from __future__ import annotations

import math
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystore import ident
from keystore.model import Invalid

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def test_an_access_key_id_is_the_prefix_and_sixteen_of_base32():
    assert all(re.fullmatch(r"BWAK[A-Z2-7]{16}", ident.new_access_key_id()) for _ in range(200))
    assert ident.new_access_key_id("AB12").startswith("AB12")


@pytest.mark.parametrize("prefix", ["", "BWA", "BWAKX", "bwak", "BW-K", "BWÄK", "BWAK\n"])
def test_a_prefix_that_is_not_four_of_upper_case_and_digits_is_refused(prefix):
    with pytest.raises(Invalid):
        ident.new_access_key_id(prefix)


def test_a_secret_has_40_base62_characters_and_at_least_190_random_bits():
    secret = ident.new_secret()
    assert re.fullmatch(r"[0-9A-Za-z]{40}", secret.reveal())
    assert 34 * math.log2(62) >= 190
    assert ident.is_secret(secret.reveal())


def test_every_random_position_takes_every_character_and_nothing_repeats():
    """A position that is constant or an alphabet that is short would show in 20 000 draws."""
    secrets = [ident.new_secret().reveal() for _ in range(20_000)]
    assert len(set(secrets)) == len(secrets)
    assert all({secret[position] for secret in secrets} == set(BASE62) for position in range(34))
    ids = [ident.new_access_key_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)


@given(position=st.integers(0, 39), replacement=st.sampled_from(BASE62))
def test_a_secret_with_one_wrong_character_fails_its_checksum(position, replacement):
    secret = ident.new_secret().reveal()
    altered = secret[:position] + replacement + secret[position + 1 :]
    assert ident.is_secret(altered) == (altered == secret)


@given(st.text(max_size=60))
def test_arbitrary_text_is_neither_a_secret_nor_a_token(text):
    assert not ident.is_secret(text)
    assert not ident.is_token(text)


def test_a_token_starts_with_its_mark_and_carries_a_checksum():
    token = ident.new_token()
    assert re.fullmatch(r"bwop_[0-9A-Za-z]{36}", token)
    assert ident.is_token(token)
    assert not ident.is_token(token[:-1] + ("0" if token[-1] != "0" else "1"))
    assert not ident.is_token(token.removeprefix("bwop_"))


@pytest.mark.parametrize("name", ["abc", "a.b", "my-bucket", "1bucket", "a" * 63, "a-.b", "1.2.3", "1.2.3.4.5"])
def test_names_that_s3_allows_for_buckets(name):
    assert ident.is_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "ab", "a" * 64, "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "192.168.5.4", "999.1.1.1",
        "xn--abc", "abc-s3alias", "a/b", "a b", "äbc", "abc\n", "", "..", "a\x00bc", "٣٣٣",
    ],
)  # fmt: skip
def test_names_that_s3_refuses_for_buckets(name):
    assert not ident.is_bucket_name(name)
    with pytest.raises(Invalid):
        ident.check_bucket_name(name)


@given(st.text(alphabet="ab.-0", min_size=0, max_size=70))
def test_a_bucket_name_always_is_a_safe_host_label_sequence(name):
    if ident.is_bucket_name(name):
        assert 3 <= len(name) <= 63
        assert all(label for label in name.split("."))
        assert name[0].isalnum()
        assert name[-1].isalnum()


@pytest.mark.parametrize("name", ["default", "a", "team-7", "a" * 63])
def test_good_tenant_names(name):
    assert ident.check_tenant_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a" * 64, "a\n", "ä"])
def test_bad_tenant_names(name):
    with pytest.raises(Invalid):
        ident.check_tenant_name(name)
