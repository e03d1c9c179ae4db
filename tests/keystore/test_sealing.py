"""Sealed secrets: only the right key, the right row and unaltered bytes open them."""

from __future__ import annotations

import base64
import dataclasses
import os
import traceback
import uuid

import pytest

from keystore.model import Invalid, Secret
from keystore.sealing import SealBroken, Sealer, new_kek, parse_kek

TENANT = uuid.UUID(int=7)
SECRET = Secret("S" * 40)


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(os.urandom(32))


def test_what_was_sealed_opens(sealer):
    sealed = sealer.seal(SECRET, "BWAKA", TENANT)
    assert sealer.open(sealed, "BWAKA", TENANT).reveal() == SECRET.reveal()


def test_the_sealed_form_does_not_contain_the_secret(sealer):
    sealed = sealer.seal(SECRET, "BWAKA", TENANT)
    assert SECRET.reveal().encode() not in b"".join(
        value for value in dataclasses.astuple(sealed) if isinstance(value, bytes)
    )


@pytest.mark.parametrize("field", ["wrap_nonce", "wrapped_key", "nonce", "ciphertext"])
def test_every_flipped_bit_is_noticed(sealer, field):
    """CRY-278."""
    sealed = sealer.seal(SECRET, "BWAKA", TENANT)
    good = getattr(sealed, field)
    for bit in range(len(good) * 8):
        altered = bytearray(good)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBroken):
            sealer.open(dataclasses.replace(sealed, **{field: bytes(altered)}), "BWAKA", TENANT)


@pytest.mark.parametrize("field", ["wrap_nonce", "wrapped_key", "nonce", "ciphertext"])
@pytest.mark.parametrize("length", [0, 1, 7, 200])
def test_values_of_impossible_length_do_not_open(sealer, field, length):
    sealed = dataclasses.replace(sealer.seal(SECRET, "BWAKA", TENANT), **{field: bytes(length)})
    with pytest.raises(SealBroken):
        sealer.open(sealed, "BWAKA", TENANT)


def test_a_row_moved_to_another_key_or_tenant_does_not_open(sealer):
    """CRY-277: whole rows."""
    sealed = sealer.seal(SECRET, "BWAKA", TENANT)
    with pytest.raises(SealBroken):
        sealer.open(sealed, "BWAKB", TENANT)
    with pytest.raises(SealBroken):
        sealer.open(sealed, "BWAKA", uuid.UUID(int=8))


@pytest.mark.parametrize("fields", [("wrap_nonce", "wrapped_key"), ("nonce", "ciphertext"), ("nonce",), ("version",)])
def test_parts_of_a_row_put_into_another_do_not_open(sealer, fields):
    """CRY-277: single columns, and the version."""
    ours = sealer.seal(SECRET, "BWAKA", TENANT)
    theirs = dataclasses.replace(sealer.seal(SECRET, "BWAKB", TENANT), version=2)
    mixed = dataclasses.replace(ours, **{field: getattr(theirs, field) for field in fields})
    with pytest.raises(SealBroken):
        sealer.open(mixed, "BWAKA", TENANT)


def test_a_canary_and_a_secret_cannot_stand_for_each_other(sealer):
    canary = sealer.seal_canary()
    sealer.open_canary(canary)
    with pytest.raises(SealBroken):
        sealer.open(canary, "", uuid.UUID(int=0))
    with pytest.raises(SealBroken):
        sealer.open_canary(sealer.seal(SECRET, "", uuid.UUID(int=0)))


def test_another_kek_opens_neither_secret_nor_canary(sealer):
    other = Sealer(os.urandom(32))
    with pytest.raises(SealBroken):
        other.open(sealer.seal(SECRET, "BWAKA", TENANT), "BWAKA", TENANT)
    with pytest.raises(SealBroken):
        other.open_canary(sealer.seal_canary())


def test_sealing_the_same_secret_again_repeats_nothing(sealer):
    """CRY-283, a short form."""
    sealed = [sealer.seal(SECRET, "BWAKA", TENANT) for _ in range(5000)]
    for field in ("wrap_nonce", "wrapped_key", "nonce", "ciphertext"):
        assert len({getattr(one, field) for one in sealed}) == len(sealed)


def test_a_broken_seal_shows_no_material(sealer):
    sealed = sealer.seal(SECRET, "BWAKA", TENANT)
    with pytest.raises(SealBroken) as caught:
        sealer.open(sealed, "BWAKB", TENANT)
    text = "".join(traceback.format_exception(caught.value))
    assert "BWAKA" not in text.replace('"BWAKB"', "")
    assert SECRET.reveal() not in text
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kek", [b"", os.urandom(16), os.urandom(31), os.urandom(33), bytes(32), b"\xff" * 32], ids=len)
def test_unusable_keks_are_refused(kek):
    """CRY-281."""
    with pytest.raises(Invalid):
        Sealer(kek)
    with pytest.raises(Invalid):
        parse_kek(base64.b64encode(kek).decode())


@pytest.mark.parametrize("text", ["not base64!", "päss", "A" * 43, "c2VjcmV0LXRleHQ"])
def test_a_refused_kek_text_is_not_repeated(text):
    with pytest.raises(Invalid) as caught:
        parse_kek(text)
    assert text not in "".join(traceback.format_exception(caught.value)).replace(repr(text), "")
    assert caught.value.__cause__ is None


def test_a_kek_is_read_from_a_file_with_a_newline():
    text = new_kek()
    assert base64.b64encode(parse_kek(f"  {text}\n")).decode() == text


def test_a_sealer_does_not_print_its_key():
    kek = os.urandom(32)
    assert kek.hex() not in repr(Sealer(kek))
    assert repr(Sealer(kek)) == "Sealer(****)"
