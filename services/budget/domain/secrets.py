"""Secrets of keys and admin tokens: made once, shown once, kept only as a hash.

A secret is a prefix that says what it opens and 256 random bits. With so much chance in it a plain SHA-256 is enough:
there is nothing to guess, and the hash can be looked up by an index.
"""

import hashlib
import secrets
from dataclasses import dataclass, field

KEY_PREFIX = "tpk_"
ADMIN_TOKEN_PREFIX = "tpa_"
SECRET_BYTES = 32
# Enough to tell a project's keys apart in a list, too little to help anybody guess.
SHOWN_CHARACTERS = 10
# What we take as a bootstrap token from an operator: 128 bits in hexadecimal, at the least.
TEXT_LENGTH_MIN = 32
TEXT_LENGTH_MAX = 256


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret at the one moment when it is known."""

    text: str = field(repr=False)

    @classmethod
    def of_key(cls) -> "NewSecret":
        """A new secret of a tenant's key."""
        return cls(KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES))

    @classmethod
    def of_admin_token(cls) -> "NewSecret":
        """A new secret of an admin token."""
        return cls(ADMIN_TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES))

    @property
    def hash(self) -> bytes:
        """What is kept of it: 32 bytes."""
        return hash_of(self.text)

    @property
    def shown(self) -> str:
        """Its first characters, for people."""
        return self.text[:SHOWN_CHARACTERS]


def hash_of(secret: str) -> bytes:
    """SHA-256 of a secret as it was shown, prefix included; 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()
