"""Secrets at rest: AES-256-GCM, a data key for every row, wrapped by a key that is not in the database.

Why two layers: the key-encryption key (KEK) then only ever encrypts random 32-byte keys, and changing it
means re-wrapping those, not touching a secret. Why additional data: a row's ciphertext opens only together
with the access key id and the tenant it was sealed for, so swapping rows, or parts of rows, opens nothing.

Nonces are 96 random bits. Every data key encrypts exactly one message, so its nonce cannot repeat; the KEK
encrypts one message per key ever created, far from the 2**32 at which random nonces become a worry
(NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keystore.model import Invalid, KeyStoreError, Secret

SEAL_VERSION = 1

_KEY_BYTES = 32
_NONCE_BYTES = 12
_NOBODY = UUID(int=0)


class SealBroken(KeyStoreError):
    """A sealed value does not open: altered, moved from another row, or sealed under another KEK.

    Carries no material, not even the access key id: the caller knows which row it asked for.
    """

    def __init__(self) -> None:
        super().__init__("a sealed value does not open with this key-encryption key")


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the database holds of a secret. Useless without the KEK."""

    version: int
    wrap_nonce: bytes
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes


def parse_kek(text: str) -> bytes:
    """The 32 bytes of a key-encryption key from its base64 text; blanks and newlines around it do not count.

    Raises `Invalid`, never repeating the text, if it is no base64, not 32 bytes, or an obvious placeholder.
    """
    try:
        kek = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        # `from None`: the codec's message quotes the input.
        raise Invalid("key-encryption key: not base64 text") from None
    return _checked(kek)


def new_kek() -> str:
    """A fresh key-encryption key as base64 text, as `parse_kek` reads it."""
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode("ascii")


class Sealer:
    """Seals and opens secrets under one key-encryption key of 32 bytes; raises `Invalid` for any other."""

    def __init__(self, kek: bytes) -> None:
        self._kek = AESGCM(_checked(kek))

    def __repr__(self) -> str:
        return "Sealer(****)"

    def seal(self, secret: Secret, access_key_id: str, tenant_id: UUID) -> Sealed:
        """Seal a secret so that it opens only for this access key id of this tenant."""
        return self._seal(secret.reveal().encode(), b"secret", access_key_id, tenant_id)

    def open(self, sealed: Sealed, access_key_id: str, tenant_id: UUID) -> Secret:
        """The secret that `seal` was given; raises `SealBroken`."""
        return Secret(self._open(sealed, b"secret", access_key_id, tenant_id).decode())

    def seal_canary(self) -> Sealed:
        """A sealed value that only this KEK opens; kept in the database to recognise a wrong KEK at start."""
        return self._seal(os.urandom(_KEY_BYTES), b"canary", "", _NOBODY)

    def open_canary(self, sealed: Sealed) -> None:
        """Raises `SealBroken` if the canary was sealed under another KEK."""
        self._open(sealed, b"canary", "", _NOBODY)

    def _seal(self, text: bytes, purpose: bytes, access_key_id: str, tenant_id: UUID) -> Sealed:
        data_key = os.urandom(_KEY_BYTES)
        wrap_nonce = os.urandom(_NONCE_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        wrap_context = _context(b"data-key of " + purpose, SEAL_VERSION, access_key_id, tenant_id)
        context = _context(purpose, SEAL_VERSION, access_key_id, tenant_id)
        return Sealed(
            version=SEAL_VERSION,
            wrap_nonce=wrap_nonce,
            wrapped_key=self._kek.encrypt(wrap_nonce, data_key, wrap_context),
            nonce=nonce,
            ciphertext=AESGCM(data_key).encrypt(nonce, text, context),
        )

    def _open(self, sealed: Sealed, purpose: bytes, access_key_id: str, tenant_id: UUID) -> bytes:
        wrap_context = _context(b"data-key of " + purpose, sealed.version, access_key_id, tenant_id)
        context = _context(purpose, sealed.version, access_key_id, tenant_id)
        try:
            data_key = self._kek.decrypt(sealed.wrap_nonce, sealed.wrapped_key, wrap_context)
            return AESGCM(data_key).decrypt(sealed.nonce, sealed.ciphertext, context)
        except (InvalidTag, ValueError):
            # ValueError: a stored nonce or key of impossible length. `from None`: no detail can help anyone.
            raise SealBroken from None


def _checked(kek: bytes) -> bytes:
    if len(kek) != _KEY_BYTES:
        raise Invalid(f"key-encryption key: must be {_KEY_BYTES} bytes, this one is {len(kek)}")
    if len(set(kek)) == 1:
        raise Invalid("key-encryption key: all bytes are equal; this is a placeholder, not a key")
    return kek


def _context(purpose: bytes, version: int, access_key_id: str, tenant_id: UUID) -> bytes:
    """The additional authenticated data; unambiguous: only the last field, of fixed length, can hold NUL."""
    tag = b"bucketwarden seal v%d" % version
    return b"\x00".join((tag, purpose, access_key_id.encode(), tenant_id.bytes))
