"""Secrets at rest."""

import os

import pytest

from services.chassis.sealing import CannotOpen, KeyRing

BOUND = ("cred_1", "openai", "org_1")


def test_what_is_sealed_opens_again_and_shows_nothing() -> None:
    ring = KeyRing([os.urandom(32)])
    sealed = ring.seal("sk-secret", BOUND)
    assert b"secret" not in sealed
    assert ring.seal("sk-secret", BOUND) != sealed
    assert ring.open(sealed, BOUND) == "sk-secret"


def test_it_opens_for_what_it_was_sealed_for_alone() -> None:
    ring = KeyRing([os.urandom(32)])
    sealed = ring.seal("sk-secret", BOUND)
    with pytest.raises(CannotOpen):
        ring.open(sealed, ("cred_2", "openai", "org_1"))
    with pytest.raises(CannotOpen):
        ring.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), BOUND)
    with pytest.raises(CannotOpen):
        ring.open(b"", BOUND)


def test_keys_are_rotated() -> None:
    old, new = os.urandom(32), os.urandom(32)
    sealed = KeyRing([old]).seal("sk-secret", BOUND)
    both = KeyRing([new, old])
    assert both.open(sealed, BOUND) == "sk-secret"
    assert not both.is_current(sealed)
    assert both.is_current(both.seal("sk-secret", BOUND))
    with pytest.raises(CannotOpen):
        KeyRing([old]).open(both.seal("sk-secret", BOUND), BOUND)


@pytest.mark.parametrize("text", ["", "not base64!", "c2hvcnQ="])
def test_wrong_keys_are_told_without_showing_them(text: str) -> None:
    with pytest.raises(ValueError, match="must be base64|has 32 bytes") as wrong:
        KeyRing.parse(text)
    assert not text or text not in str(wrong.value)
