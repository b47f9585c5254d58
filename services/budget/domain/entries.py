"""How a movement is written into the ledger, and chained to the one before (docs/ledger.md describes the form).

An entry's body is a JSON object with short names, written once and never again changed; what is hashed are its bytes:
`hash = SHA-256(previous hash + body)`. Counters (one window of one budget) are named by numbers that a LIMIT entry
declares, so that a leg is a few digits and the ledger still says everything by itself.

    n  sequence             t   decided at, µs since 1970      k   kind, as LedgerEntryKind
    r  request id, a attempt                                   p   [team, project, key, user]     m  model
    l  legs: [unit, [counter numbers], held delta, spent delta, overage delta], one for all counters of a unit
    $  amount in nano-USD, as LedgerEntry.amount               o   overage                        rel released
    un 1: unconfirmed       c   charged in all after CORRECT   re  unconfirmed charge that a CORRECT replaces
    u  usage counts         oc  outcome                        x   dimensions
    e  endpoint             vr  vendor's request id            pr  price revision
    by who made the hold    d   digest of a hold's request     le  lease length, µs               ex extension number
    h  sequence of the hold w   windows declared or limits changed: [number, budget, unit, start, end, limit, known]
    sh budgets in shadow mode that would have refused          why reason        org organisation (first entry)
    tk [input, output] token bounds of a hold                  wi  1: a witness settled           cv  1: vendor's cost
    cc 1: nobody stated the cost
"""

import json
from collections.abc import Sequence
from enum import IntEnum
from hashlib import sha256
from typing import Any

import msgspec


def _plain(value: object) -> str:
    """Ids are text with a type; nothing else of ours belongs into an entry."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"an entry holds no {type(value).__name__}")


ENCODER = msgspec.json.Encoder(enc_hook=_plain)
DECODER = msgspec.json.Decoder()

GENESIS = b""
"""What comes before the first entry."""


class Kind(IntEnum):
    """What an entry moves; the numbers are the contract's (turnpike.budget.v1.LedgerEntryKind)."""

    HOLD = 1
    COMMIT = 2
    RELEASE = 3
    EXTEND = 4
    EXPIRE = 5
    CORRECT = 6
    LIMIT = 7
    RERATE = 8
    ADJUST = 9
    CHECKPOINT = 10


ROLE_HOLD = 0
ROLE_SETTLE = 1
ROLE_CORRECT = 2
ROLE_EXTENSION = 10
"""Plus the extension's number. An attempt has at most one entry of each role, which a unique index also says."""

EXTENSIONS_MAX = 10_000
"""A role is a smallint; a hold that grows more often holds too little at a time."""


class Entry(msgspec.Struct, gc=False):
    """An entry as the journal stores it."""

    sequence: int
    kind: int
    request_id: str
    """Empty for entries that are not about an attempt."""
    attempt: int
    role: int | None
    """None: not one of those an attempt has at most once."""
    body: bytes
    hash: bytes


def chained(previous: bytes, body: bytes) -> bytes:
    """The hash of an entry with this body after an entry with that hash."""
    return sha256(previous + body).digest()


def decoded(body: bytes) -> dict[str, Any]:
    """The fields of a body."""
    fields: dict[str, Any] = DECODER.decode(body)
    return fields


def text(value: object) -> str:
    """`value` as compact JSON."""
    return ENCODER.encode(value).decode()


def numbers(counters: Sequence[int]) -> str:
    """Counter numbers as a JSON list."""
    return json.dumps(list(counters), separators=(",", ":"))
