"""What a batch changes in a tree until the journal has it."""

from typing import Any

from services.budget.domain.counters import Counter
from services.budget.domain.entries import Entry


class Draft:
    """What a batch changes, until the journal has it: entries to write, and how to take everything back."""

    __slots__ = (
        "alerts", "base_head", "base_next_counter", "base_sequence", "entries", "limits", "now_us", "number", "opened",
        "renewals", "touched", "undo",
    )  # fmt: skip

    def __init__(self, number: int, now_us: int, sequence: int, head: bytes, next_counter: int) -> None:
        """The last three: how far the tree was before."""
        self.number = number
        self.now_us = now_us
        self.base_sequence = sequence
        self.base_head = head
        self.base_next_counter = next_counter
        self.entries: list[Entry] = []
        self.touched: list[tuple[Counter, tuple[int, int, int, int, int, int]]] = []
        """Counters that were there before, with their figures then."""
        self.opened: list[Counter] = []
        self.limits: dict[int, int] = {}
        """Counter number → limit that changed by itself (an override that began or ended)."""
        self.renewals: dict[int, int] = {}
        """Sequence of a hold → when its lease ends now."""
        self.alerts: list[tuple[int, str, dict[str, Any]]] = []
        """(sequence, kind, facts) for whoever tells people."""
        self.undo: list[tuple[Any, ...]] = []

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to write."""
        return not (self.entries or self.renewals or self.limits)
