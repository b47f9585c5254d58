"""What limits are: budgets, what they are attached to, which models they count, and the limit in force at a moment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, IntEnum

from services.budget.domain.windows import Calendar, Fixed, Period, PerRequest, Rolling, Span, Window, span_at
from services.kernel.money import AMOUNT_NANOS_MAX

LIMIT_MAX = AMOUNT_NANOS_MAX
"""Largest limit in any unit; twice it still fits an int64."""

RATE_LENGTH_MAX = timedelta(hours=1)
"""A limit on tokens or requests within at most so long is a rate: a caller may wait for it."""

ALERT_PERCENTS = (50, 80, 100)
"""Shares of a limit at which a budget alerts that names none."""


class Unit(IntEnum):
    """What a budget counts; the numbers are the contract's (turnpike.common.v1.BudgetUnit)."""

    MONEY = 1
    TOKENS = 2
    REQUESTS = 3
    CONCURRENCY = 4


class Mode(IntEnum):
    """What happens at the limit; the numbers are the contract's (turnpike.budget.v1.BudgetMode)."""

    HARD = 1
    """Refuses."""
    SOFT = 2
    """Alerts and lets pass."""
    SHADOW = 3
    """Counts, and records whom it would have refused."""


class SubjectKind(Enum):
    """What a budget can be attached to."""

    ORGANISATION = "organisation"
    TEAM = "team"
    PROJECT = "project"
    KEY = "key"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a budget is attached to."""

    kind: SubjectKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.id}"


class ModelScopeKind(Enum):
    """How models are picked."""

    MODEL = "model"
    GROUP = "group"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class ModelScope:
    """The models a budget counts."""

    kind: ModelScopeKind
    name: str
    """`provider/model`, a group's name, or a provider's name."""

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"

    def covers(self, model: str, groups: Sequence[str]) -> bool:
        """Whether `model` ("provider/model"), a member of `groups`, is counted."""
        match self.kind:
            case ModelScopeKind.MODEL:
                return model == self.name
            case ModelScopeKind.GROUP:
                return self.name in groups
            case ModelScopeKind.PROVIDER:
                return model.partition("/")[0] == self.name


@dataclass(frozen=True, slots=True)
class Override:
    """Another limit for a while."""

    limit: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit and everything that decides what it is at a moment."""

    budget_id: str
    subject: Subject
    unit: Unit
    limit: int
    """In the unit: nano-USD, tokens, requests, open holds. 0 refuses everything."""
    window: Window
    """Concurrency has none: it is given as `Lifetime`."""
    counts_since: datetime
    """When the budget was made, or when its window was last changed: the first window begins here, empty."""
    model_scope: ModelScope | None = None
    """None: all models."""
    mode: Mode = Mode.HARD
    alert_percents: tuple[int, ...] = ALERT_PERCENTS
    display_name: str = ""
    active: bool = True
    """False: suspended or archived; it neither counts nor refuses."""
    overrides: tuple[Override, ...] = field(default=())
    """Those not yet over, in the order they were made: of several in force the last counts."""
    transfers: tuple[tuple[datetime, int], ...] = field(default=())
    """(an instant within a window, what was added to or taken from its limit)."""

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= LIMIT_MAX:
            raise ValueError(f"a limit is 0 to {LIMIT_MAX}")
        if self.unit is Unit.CONCURRENCY and isinstance(self.window, PerRequest | Rolling):
            raise ValueError("a limit on open holds has no window")

    @property
    def is_rate(self) -> bool:
        """Whether this is a rate or concurrency limit, where waiting a little helps: open holds, or tokens or requests
        within an hour at most."""
        if self.unit is Unit.CONCURRENCY:
            return True
        match self.window:
            case Rolling(length) | Fixed(length):
                short = length <= RATE_LENGTH_MAX
            case Calendar(period):
                short = period in (Period.MINUTE, Period.HOUR)
            case _:
                short = False
        return short and self.unit is not Unit.MONEY

    def span_at(self, at: datetime) -> Span:
        """The window that `at` is in; the first one begins when the budget did. Of a rolling window the bucket."""
        span = span_at(self.window, at)
        if span.start < self.counts_since and (span.end is None or self.counts_since < span.end):
            return Span(self.counts_since, span.end)
        return span

    def limit_at(self, at: datetime) -> int:
        """The limit in force: the last override in force at `at`, else the limit; and the transfers of the window."""
        limit = self.limit
        for override in self.overrides:
            if override.starts_at <= at < override.ends_at:
                limit = override.limit
        if self.transfers:
            span = self.span_at(at)
            limit += sum(
                amount
                for moment, amount in self.transfers
                if moment >= span.start and (span.end is None or moment < span.end)
            )
        return min(max(limit, 0), LIMIT_MAX)

    def limit_changes_at(self, at: datetime) -> datetime | None:
        """When the limit in force changes next without anyone doing anything; None: not within this window."""
        moments = [moment for override in self.overrides for moment in (override.starts_at, override.ends_at)]
        return min((moment for moment in moments if moment > at), default=None)
