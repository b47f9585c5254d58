"""Walks a ledger's chain and sums it up again, trusting nothing but the bytes of its entries.

A chain is intact if every entry follows the one before without a gap, its hash is that of its bytes after the hash
before, no total of a window ever falls below zero, and, walked from the start or from a checkpoint, the totals are
those that the service decides by.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

MISMATCHES_MAX = 100
"""More would say nothing more."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What is kept of a counter beside the ledger, or what the ledger says of it."""

    held: int
    spent: int
    overage: int


@dataclass(frozen=True, slots=True)
class KeptCounter:
    """A counter as the service keeps it."""

    number: int
    budget_id: str
    totals: Totals
    end_us: int


@dataclass(slots=True)
class Finding:
    """What a walk found."""

    after_sequence: int = 0
    """The walk began after this entry."""
    entries_checked: int = 0
    head_sequence: int = 0
    head_hash: bytes = b""
    first_broken_sequence: int = 0
    problem: str = ""
    total_mismatches: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.first_broken_sequence and not self.problem and not self.total_mismatches


class ChainWalk:
    """One walk, entry after entry."""

    def __init__(
        self,
        after_sequence: int,
        previous_hash: bytes,
        expected_head: bytes,
        totals: Mapping[int, Totals] | None = None,
        closed_us: int = 0,
    ) -> None:
        """`totals` of windows after the entry before the first, if a checkpoint says them; that was at `closed_us`, and
        it may leave out windows that had ended by then."""
        self.finding = Finding(
            after_sequence=after_sequence, head_sequence=after_sequence, head_hash=previous_hash
        )
        self._knows_totals = after_sequence == 0 or totals is not None
        self._closed_us = closed_us
        self._expected = expected_head
        self._met = not expected_head or expected_head == previous_hash
        self._totals: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
        for number, begun in (totals or {}).items():
            self._totals[number] = [begun.held, begun.spent, begun.overage]

    def step(self, sequence: int, body: bytes, hashed: bytes) -> bool:
        """Takes the next entry; False if it is broken, which ends the walk."""
        finding = self.finding
        problem = self._problem_of(sequence, body, hashed)
        if problem:
            finding.first_broken_sequence, finding.problem = sequence, problem
            return False
        finding.entries_checked += 1
        finding.head_sequence, finding.head_hash = sequence, hashed
        self._met = self._met or hashed == self._expected
        return True

    def _problem_of(self, sequence: int, body: bytes, hashed: bytes) -> str:
        finding = self.finding
        if sequence != finding.head_sequence + 1:
            return f"entry {finding.head_sequence + 1} is missing"
        if sha256(finding.head_hash + body).digest() != hashed:
            return "its hash is not that of its content after the entry before"
        try:
            entry = json.loads(body)
            said = entry["n"]
            legs = [(leg[1], leg[2], leg[3], leg[4]) for leg in entry.get("l", ())]
        except (ValueError, KeyError, IndexError, TypeError):
            return "its content cannot be read"
        if said != sequence:
            return f"it says that it is entry {said}"
        for numbers, *deltas in legs:
            for number in numbers:
                totals = self._totals[number]
                for place, delta in enumerate(deltas):
                    totals[place] += delta
                if self._knows_totals and min(totals) < 0:
                    return f"it takes more from window {number} than there was"
        return ""

    def end(self, kept: Iterable[KeptCounter], head_sequence: int) -> Finding:
        """Compares with what is kept, after the last entry; `head_sequence` is where the chain should end."""
        finding = self.finding
        if finding.first_broken_sequence:
            return finding
        if finding.head_sequence != head_sequence:
            finding.first_broken_sequence = finding.head_sequence + 1
            finding.problem = f"entries {finding.head_sequence + 1} to {head_sequence} are missing"
        elif not self._met:
            left = f", or it was before entry {finding.after_sequence + 1}" if finding.after_sequence else ""
            finding.problem = (
                f"the exported head was not met: the chain is not the one it was taken from{left}"
            )
        elif self._knows_totals:
            self._compare(kept)
        return finding

    def _compare(self, kept: Iterable[KeptCounter]) -> None:
        mismatches = self.finding.total_mismatches
        for counter in kept:
            if counter.number not in self._totals and counter.end_us <= self._closed_us:
                continue  # over for good: only the archive says what it came to
            derived = Totals(*self._totals.pop(counter.number, [0, 0, 0]))
            if derived != counter.totals and len(mismatches) < MISMATCHES_MAX:
                mismatches.append(f"{counter.budget_id}: kept {counter.totals}, by the ledger {derived}")
        for number, totals in self._totals.items():
            if any(totals) and len(mismatches) < MISMATCHES_MAX:
                mismatches.append(f"window {number}: not kept, by the ledger {Totals(*totals)}")
