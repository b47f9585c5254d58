"""Budgets at work: the counters of their windows, and which of them a hold is in."""

from collections import deque
from collections.abc import Sequence

from services.budget.domain.budgets import Budget, Mode
from services.budget.domain.entries import numbers, text
from services.budget.domain.moments import NEVER_US
from services.budget.domain.windows import Rolling


class Counter:
    """One window of one budget. `held + spent <= limit` wherever the mode is hard, at every admission."""

    __slots__ = (
        "alert_at", "alerted", "budget_id", "draft", "end_us", "held", "limit", "no", "open", "overage", "slot",
        "spent", "start_us", "unconfirmed", "unit",
    )  # fmt: skip

    def __init__(
        self, no: int, budget_id: str, unit: int, start_us: int, end_us: int, limit: int, *,
        held: int = 0, spent: int = 0, overage: int = 0, unconfirmed: int = 0, open: int = 0, alerted: int = 0,
    ) -> None:  # fmt: skip
        self.no = no
        self.budget_id = budget_id
        self.unit = unit
        self.start_us = start_us
        self.end_us = end_us
        self.limit = limit
        self.held = held
        self.spent = spent
        self.overage = overage
        self.unconfirmed = unconfirmed
        self.open = open
        self.alerted = alerted
        """Highest percentage that was alerted."""
        self.alert_at = NEVER_US
        """Spent amount at which the next alert is due."""
        self.slot: Slot | None = None
        """Set while this is a past bucket that still counts."""
        self.draft = 0
        """Number of the batch that touched it last."""

    @property
    def used(self) -> int:
        """What no longer fits because of it."""
        return self.held + self.spent + self.overage

    def figures(self) -> tuple[int, int, int, int, int, int]:
        """What a batch may change."""
        return (self.held, self.spent, self.overage, self.unconfirmed, self.open, self.alerted)

    def restore(self, figures: tuple[int, int, int, int, int, int]) -> None:
        """Takes a batch's changes back."""
        self.held, self.spent, self.overage, self.unconfirmed, self.open, self.alerted = figures


class Slot:
    """A budget at work: the counter of its present window, and for rolling ones the buckets before."""

    __slots__ = (
        "budget",
        "current",
        "past",
        "refuses",
        "rest",
        "unit",
        "valid_until_us",
    )

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.unit = int(budget.unit)
        self.refuses = budget.mode is Mode.HARD
        self.current: Counter | None = None
        self.valid_until_us = 0
        """When its window ends or its limit in force changes by itself."""
        self.past: deque[Counter] = deque()
        self.rest = 0
        """Sum of what the past buckets use."""

    @property
    def subject(self) -> str:
        """What its budget is attached to, in words."""
        return str(self.budget.subject)

    @property
    def scope(self) -> str:
        """The models that its budget counts, in words; empty: all."""
        return str(self.budget.model_scope) if self.budget.model_scope else ""

    @property
    def is_rate(self) -> bool:
        """True if waiting a little helps."""
        return self.budget.is_rate

    @property
    def rolling(self) -> Rolling | None:
        """Its window, if that is a rolling one."""
        return self.budget.window if isinstance(self.budget.window, Rolling) else None

    def left(self, counter: Counter) -> int:
        """What `counter` leaves room for; may be negative."""
        current = self.current
        if current is not None and (counter is current or counter.slot is self):
            return current.limit - self.rest - current.used
        return counter.limit - counter.used

    def buckets(self, counter: Counter) -> list[Counter]:
        """What is counted together with `counter`: itself, or all buckets of the rolling window that it is in."""
        current = self.current
        if current is not None and self.past and (counter is current or counter.slot is self):
            return [*self.past, current]
        return [counter]

    def restate(self) -> None:
        """Sums the past buckets anew."""
        self.rest = sum(counter.used for counter in self.past)


class Legs:
    """The counters a hold is in, by unit, with their JSON."""

    __slots__ = ("groups", "numbers")

    def __init__(self, groups: tuple[tuple[int, tuple[Counter, ...], str], ...]) -> None:
        self.groups = groups
        """(unit, counters, JSON up to the deltas)."""
        self.numbers = tuple(
            (unit, tuple(counter.no for counter in counters)) for unit, counters, _ in groups
        )

    @classmethod
    def of(cls, counters: Sequence[Counter]) -> "Legs":
        """The legs of these counters."""
        groups = []
        for unit in sorted({counter.unit for counter in counters}):
            of_unit = tuple(counter for counter in counters if counter.unit == unit)
            groups.append((unit, of_unit, f"[{unit},{numbers([counter.no for counter in of_unit])},"))
        return cls(tuple(groups))


class Path:
    """Which budgets apply to a key, user and model: resolved once, rolled with their windows."""

    __slots__ = (
        "ceilings", "checks", "json", "legs", "lenient", "model", "principal", "slots", "valid_until_us",
    )  # fmt: skip

    def __init__(self, principal: tuple[str, str, str, str], model: str) -> None:
        self.principal = principal
        self.model = model
        self.json = f'"p":{text(principal)},"m":{text(model)}'
        self.slots: tuple[Slot, ...] = ()
        self.ceilings: tuple[Slot, ...] = ()
        """Budgets whose window is one request."""
        self.checks: tuple[tuple[int, tuple[tuple[Slot, Counter], ...]], ...] = ()
        """By unit, the budgets that may refuse."""
        self.lenient: tuple[tuple[int, Slot, Counter], ...] = ()
        """(unit, slot, counter) of those that let pass."""
        self.legs = Legs(())
        self.valid_until_us = 0
