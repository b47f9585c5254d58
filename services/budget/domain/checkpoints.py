"""What old entries came to, said by CHECKPOINT entries before they leave.

A checkpoint is about one entry, the last that may leave: it has that entry's hash and the windows as they stood after
it, in as many entries as that needs. They are entries like all others: whoever has a head of the chain has the totals.

Windows that are over for good are not among them, or a budget by the minute would make each checkpoint longer than the
one before. A window is over for good when no budget counts in it any more (it ended, and so did the longest rolling
window that it can be a bucket of), no hold is open in it, and nothing that stays in the ledger puts a charge right in
it. Nothing that comes later can: what a checkpoint has summed up is neither corrected nor priced again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.budget.domain.entries import Kind, decoded, text
from services.budget.domain.windows import ROLLING_BUCKETS_MAX

WINDOWS_EACH = 500
"""Of one entry, some 40 KB."""
WINDOWS_MAX = 500_000
"""Of one checkpoint: it is written while the tree is locked, which is some seconds for so many."""
RIGHTING = (Kind.CORRECT, Kind.RERATE, Kind.ADJUST)
"""What may speak of a window after it ended, though no hold is open in it."""
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
    open: int = 0
    """Holds that are open in it."""

    def is_over(self, at_us: int, *, rolling: bool) -> bool:
        """Whether nothing that is decided from `at_us` on can count in it or move in it, but for putting right.
        `rolling`: it is a bucket of its budget's window."""
        if self.end_us is None or self.open:
            return False
        counts_us = ROLLING_BUCKETS_MAX * (self.end_us - self.start_us) if rolling else 0
        return self.end_us + counts_us <= at_us


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
    rolling: set[str] = field(default_factory=set)
    """Budgets whose window rolls."""
    righted: set[int] = field(default_factory=set)
    """Windows that later entries put right."""
    righted_until: int = 0
    """The last entry that was looked at for that."""

    def take(self, fields: Mapping[str, Any], hashed: bytes) -> None:
        """Takes the next entry, which is known to be whole."""
        self.sequence, self.head, self.decided_us = fields["n"], hashed, fields["t"]
        for number, budget_id, unit, start_us, end_us, limit, known in fields.get("w", ()):
            if known:
                self.windows[number].limit = limit
            else:
                self.windows[number] = StandingWindow(budget_id, unit, start_us, end_us, limit)
        kind = fields["k"]
        opened = 1 if kind == Kind.HOLD else -1 if kind in _ENDING else 0
        for _, numbers, held, spent, overage in fields.get("l", ()):
            for number in numbers:
                window = self.windows[number]
                window.held += held
                window.spent += spent
                window.overage += overage
                window.open += opened
        if opened > 0:
            self.open.add((fields["r"], fields["a"]))
        elif opened < 0:
            self.open.discard((fields["r"], fields["a"]))

    def standing(self) -> list[tuple[int, StandingWindow]]:
        """The windows that are not over for good, by number."""
        return [
            (number, window)
            for number, window in sorted(self.windows.items())
            if number in self.righted
            or not window.is_over(self.decided_us, rolling=window.budget_id in self.rolling)
        ]

    def fields_of_checkpoint(self, organisation_id: str) -> list[str]:
        """What the entries of a checkpoint at this point say beside their place in the chain: JSON without braces."""
        rows = [
            [number, w.budget_id, w.unit, w.start_us, w.end_us, w.limit, w.held, w.spent, w.overage, w.open]
            for number, w in self.standing()
        ]
        parts = [rows[at : at + WINDOWS_EACH] for at in range(0, len(rows), WINDOWS_EACH)] or [[]]
        return [
            f'"cp":[{self.sequence},{place},{len(parts)}],"ph":"{self.head.hex()}","ct":{self.decided_us},'
            f'"org":{text(organisation_id)},"ws":{text(part)}'
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
            balance.decided_us = fields.get("ct", 0)
            balance.windows |= _windows(fields["ws"])
    except (ValueError, KeyError, TypeError) as wrong:
        raise CheckpointUnreadable("their content cannot be read") from wrong
    if not bodies:
        raise CheckpointUnreadable("they are missing")
    return balance


def _windows(rows: Iterable[Sequence[Any]]) -> dict[int, StandingWindow]:
    return {number: StandingWindow(*row) for number, *row in rows}
