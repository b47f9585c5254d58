"""Ids, each of its own type, so that a key's id cannot be handed in where a project's is wanted.

Ids that we make are a prefix and a UUIDv7 in Crockford's base 32: `org_01k9x3v6q8e2tb0m5r4w7y1zcd`. They sort by time,
have one spelling, and say what they name when they turn up in a log. Ids are text everywhere: on the wire, in
Postgres, in logs. Ids that come from a caller (`RequestId`, `UserPseudonym`) only have to keep to an alphabet.
"""

import os
import re
import threading
import time
from typing import ClassVar, Self

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_BODY_LENGTH = 26  # 128 bits, five a character
_CALLERS = re.compile(r"[A-Za-z0-9\-_.:]{1,128}")

_COUNTER_MAX = 0xFFF
_lock = threading.Lock()
_last_ms = 0
_counter = 0


def uuid7() -> int:
    """A UUIDv7 (RFC 9562) as an integer, strictly increasing within this process.

    48 bits of Unix milliseconds, a counter of 12 bits for ids of one millisecond, 62 random bits. When the counter is
    used up, or the wall clock is set back, time is borrowed from the next millisecond.
    """
    global _last_ms, _counter
    now_ms = time.time_ns() // 1_000_000
    with _lock:
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, 0
        elif _counter < _COUNTER_MAX:
            _counter += 1
        else:
            _last_ms, _counter = _last_ms + 1, 0
        ms, counter = _last_ms, _counter
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return ms << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | random


_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_PAIR_SHIFTS = range((_BODY_LENGTH - 2) * 5, -1, -10)


def _encode(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in _PAIR_SHIFTS])


class Id(str):
    """Base of all ids: text with a type. Not used itself."""

    __slots__ = ()
    pattern: ClassVar[re.Pattern[str]]
    described: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """`text` as this kind of id; raises ValueError, which says what one looks like, if it is none."""
        if not cls.pattern.fullmatch(text):
            raise ValueError(f"is not {cls.described}")
        return cls(text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class MadeId(Id):
    """An id that a service of ours makes."""

    __slots__ = ()
    prefix: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.pattern = re.compile(rf"{cls.prefix}_[{_ALPHABET}]{{{_BODY_LENGTH}}}")
        cls.described = f"an id of the form {cls.prefix}_… with {_BODY_LENGTH} characters after the prefix"

    @classmethod
    def new(cls) -> Self:
        """A new id, later in order than every id made before in this process."""
        return cls(f"{cls.prefix}_{_encode(uuid7())}")


class CallersId(Id):
    """An id that a caller chose."""

    __slots__ = ()
    pattern = _CALLERS
    described = "1 to 128 characters out of letters, digits and `-_.:`"


class OrganisationId(MadeId):
    """A customer: the root of one budget tree."""

    __slots__ = ()
    prefix = "org"


class TeamId(MadeId):
    """A team of an organisation."""

    __slots__ = ()
    prefix = "team"


class ProjectId(MadeId):
    """A project of a team."""

    __slots__ = ()
    prefix = "proj"


class KeyId(MadeId):
    """A tenant's API key; the id is public, the secret is not derived from it."""

    __slots__ = ()
    prefix = "key"


class UserId(MadeId):
    """A user of an organisation; the tenant's own name for him is his `UserPseudonym`."""

    __slots__ = ()
    prefix = "user"


class AdminTokenId(MadeId):
    """A token for the admin API."""

    __slots__ = ()
    prefix = "adm"


class BudgetId(MadeId):
    """A budget."""

    __slots__ = ()
    prefix = "bud"


class OverrideId(MadeId):
    """A temporary change of a budget's limit."""

    __slots__ = ()
    prefix = "ovr"


class HoldId(MadeId):
    """Money set aside for one attempt."""

    __slots__ = ()
    prefix = "hold"


class EntryId(MadeId):
    """An entry of the ledger."""

    __slots__ = ()
    prefix = "ent"


class PriceId(MadeId):
    """A price in the price book."""

    __slots__ = ()
    prefix = "price"


class PolicyId(MadeId):
    """A routing policy."""

    __slots__ = ()
    prefix = "pol"


class DecisionId(MadeId):
    """A routing decision."""

    __slots__ = ()
    prefix = "dec"


class EndpointId(MadeId):
    """An endpoint at a vendor."""

    __slots__ = ()
    prefix = "ep"


class CredentialId(MadeId):
    """Our credential at a vendor."""

    __slots__ = ()
    prefix = "cred"


class IncidentId(MadeId):
    """Names one internal error, so that a client can quote it and an operator find it."""

    __slots__ = ()
    prefix = "err"


class RequestId(CallersId):
    """The caller's id of a request: the same id and content always get the same answer."""

    __slots__ = ()

    @classmethod
    def new(cls) -> Self:
        """An id for a caller that gave none; such a request cannot be repeated safely by its caller."""
        return cls(f"req_{_encode(uuid7())}")


class UserPseudonym(CallersId):
    """A user as the tenant names him; nothing that names a person."""

    __slots__ = ()
