"""What old entries came to, said by CHECKPOINT entries before they leave.

A checkpoint is about one entry, the last that may leave: it has that entry's hash and every window as it stood after
it, in as many entries as that needs. They are entries like all others: whoever has a head of the chain has the totals.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.budget.domain.entries import Kind, decoded, text

WINDOWS_EACH = 500
"""Of one entry, some 40 KB."""
WINDOWS_MAX = 500_000
"""Of one checkpoint: it is written while the tree is locked, which is some seconds for so many."""
_ENDING = frozenset({Kind.COMMIT, Kind.RELEASE, Kind.EXPIRE})


class CheckpointUnreadable(Exception):
    """The entries that should be a checkpoint are none."""


@dataclass(slots=True)
class StandingWindow:
    """A window as entries declare and move it."""

    budget_id: str
    unit: int
    start_us: int
    end_us: int | None
    limit: int
    held: int = 0
    spent: int = 0
    overage: int = 0


@dataclass(slots=True)
class Balance:
    """What entries come to, one after the other."""

    sequence: int = 0
    """Of the last entry taken."""
    head: bytes = b""
    """Its hash."""
    decided_us: int = 0
    """When it was decided; 0: not known."""
    windows: dict[int, StandingWindow] = field(default_factory=dict)
    open: set[tuple[str, int]] = field(default_factory=set)
    """Attempts that hold something. Those from before a checkpoint are not among them."""

    def take(self, fields: Mapping[str, Any], hashed: bytes) -> None:
        """Takes the next entry, which is known to be whole."""
        self.sequence, self.head, self.decided_us = fields["n"], hashed, fields["t"]
        for number, budget_id, unit, start_us, end_us, limit, known in fields.get("w", ()):
            if known:
                self.windows[number].limit = limit
            else:
                self.windows[number] = StandingWindow(budget_id, unit, start_us, end_us, limit)
        for _, numbers, held, spent, overage in fields.get("l", ()):
            for number in numbers:
                window = self.windows[number]
                window.held += held
                window.spent += spent
                window.overage += overage
        kind = fields["k"]
        if kind == Kind.HOLD:
            self.open.add((fields["r"], fields["a"]))
        elif kind in _ENDING:
            self.open.discard((fields["r"], fields["a"]))

    def fields_of_checkpoint(self, organisation_id: str) -> list[str]:
        """What the entries of a checkpoint at this point say beside their place in the chain: JSON without braces."""
        rows = [
            [number, w.budget_id, w.unit, w.start_us, w.end_us, w.limit, w.held, w.spent, w.overage]
            for number, w in sorted(self.windows.items())
        ]
        parts = [rows[at : at + WINDOWS_EACH] for at in range(0, len(rows), WINDOWS_EACH)] or [[]]
        return [
            f'"cp":[{self.sequence},{place},{len(parts)}],"ph":"{self.head.hex()}","org":{text(organisation_id)},'
            f'"ws":{text(part)}'
            for place, part in enumerate(parts, start=1)
        ]


def begun_by(bodies: Sequence[bytes]) -> Balance:
    """The balance that a checkpoint says, from its entries in order. Raises CheckpointUnreadable."""
    balance = Balance()
    try:
        for place, fields in enumerate(map(decoded, bodies), start=1):
            sequence, part, parts = fields["cp"]
            if (fields["k"], part, parts) != (Kind.CHECKPOINT, place, len(bodies)):
                raise CheckpointUnreadable(f"entry {fields['n']} is not part {place} of {len(bodies)}")
            balance.sequence, balance.head = sequence, bytes.fromhex(fields["ph"])
            balance.windows |= _windows(fields["ws"])
    except (ValueError, KeyError, TypeError) as wrong:
        raise CheckpointUnreadable("their content cannot be read") from wrong
    if not bodies:
        raise CheckpointUnreadable("they are missing")
    return balance


def _windows(rows: Iterable[Sequence[Any]]) -> dict[int, StandingWindow]:
    return {number: StandingWindow(*row) for number, *row in rows}
