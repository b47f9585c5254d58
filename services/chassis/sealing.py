"""Seals secrets at rest: AES-256-GCM under a key that the deployment holds outside of the database.

A sealed secret names the key that sealed it and is bound to what its caller says it is for (a credential's id, provider
and organisation, say): moved to another row, it does not open. Several keys may be given, the first seals; so keys are
rotated.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
NAME_BYTES: Final = 8
_FORMAT: Final = b"\x01"


class CannotOpen(Exception):
    """No key here opens it: it was sealed by another, or was changed, or was sealed for something else."""


class KeyRing:
    """The keys. Its repr shows none."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._ciphers = {_name(key): AESGCM(key) for key in keys}
        self._first = _name(keys[0])

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """Keys as base64 with commas between them. Raises ValueError, which shows nothing of them."""
        try:
            keys = [base64.b64decode(part.strip(), validate=True) for part in text.split(",") if part.strip()]
        except binascii.Error:
            raise ValueError("must be base64") from None
        return cls(keys)

    def seal(self, secret: str, bound_to: Sequence[str]) -> bytes:
        """The secret, sealed for what it is bound to."""
        nonce = os.urandom(NONCE_BYTES)
        box = self._ciphers[self._first].encrypt(nonce, secret.encode(), _bound(bound_to))
        return _FORMAT + self._first + nonce + box

    def is_current(self, sealed: bytes) -> bool:
        """Whether the key that seals now has sealed it; else it is to be sealed anew before that key's turn is over."""
        return sealed[: 1 + NAME_BYTES] == _FORMAT + self._first

    def open(self, sealed: bytes, bound_to: Sequence[str]) -> str:
        """The secret. Raises CannotOpen."""
        name, rest = sealed[1 : 1 + NAME_BYTES], sealed[1 + NAME_BYTES :]
        cipher = self._ciphers.get(name)
        if cipher is None or sealed[:1] != _FORMAT:
            raise CannotOpen("sealed by a key that is not here")
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], _bound(bound_to)).decode()
        except InvalidTag:
            raise CannotOpen("changed, or sealed for something else") from None


def _name(key: bytes) -> bytes:
    # With other words nothing that was sealed before would find its key.
    return hashlib.sha256(b"turnpike credentials key" + key).digest()[:NAME_BYTES]


def _bound(parts: Sequence[str]) -> bytes:
    return b"\0".join(part.encode() for part in parts)
