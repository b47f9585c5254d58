"""Budgets as they are administered, with what changes a limit for a while: overrides, transfers, wishes for more.

`budgets.py` has the budget as the owner decides by it; `StoredBudget.in_force` makes one of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, IntEnum

from services.budget.domain.budgets import (
    ALERT_PERCENTS,
    Budget,
    Mode,
    ModelScope,
    ModelScopeKind,
    Override,
    Subject,
    SubjectKind,
    Unit,
)
from services.budget.domain.entities import EntityState
from services.budget.domain.ids import LimitRaiseId
from services.budget.domain.windows import Calendar, Fixed, Lifetime, Period, PerRequest, Rolling, Window
from services.kernel.ids import AdminTokenId, BudgetId, OrganisationId, OverrideId, TeamId


class WindowKind(Enum):
    """Which of the windows."""

    LIFETIME = "lifetime"
    REQUEST = "request"
    CALENDAR = "calendar"
    FIXED = "fixed"
    ROLLING = "rolling"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowForm:
    """A window in one shape, for stores and trails; fields that its kind has no use for are None."""

    kind: WindowKind
    period: Period | None = None
    time_zone: str | None = None
    start_day: int | None = None
    length: timedelta | None = None
    anchor: datetime | None = None
    buckets: int | None = None

    @classmethod
    def of(cls, window: Window) -> "WindowForm":
        """The shape of `window`."""
        match window:
            case Lifetime():
                return cls(kind=WindowKind.LIFETIME)
            case PerRequest():
                return cls(kind=WindowKind.REQUEST)
            case Calendar(period, time_zone, start_day):
                return cls(kind=WindowKind.CALENDAR, period=period, time_zone=time_zone, start_day=start_day)
            case Fixed(length, anchor):
                return cls(kind=WindowKind.FIXED, length=length, anchor=anchor)
            case Rolling(length, buckets):
                return cls(kind=WindowKind.ROLLING, length=length, buckets=buckets)

    def window(self) -> Window:
        """The window of this shape; raises ValueError if there is none."""
        match self:
            case WindowForm(kind=WindowKind.LIFETIME):
                return Lifetime()
            case WindowForm(kind=WindowKind.REQUEST):
                return PerRequest()
            case WindowForm(
                kind=WindowKind.CALENDAR, period=Period() as period, time_zone=str(zone), start_day=int(day)
            ):
                return Calendar(period, zone, day)
            case WindowForm(kind=WindowKind.FIXED, length=timedelta() as length, anchor=datetime() as anchor):
                return Fixed(length, anchor)
            case WindowForm(kind=WindowKind.ROLLING, length=timedelta() as length, buckets=int(buckets)):
                return Rolling(length, buckets)
        raise ValueError(f"a {self.kind.value} window lacks a field")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBudget:
    """A budget as it is stored."""

    budget_id: BudgetId
    organisation_id: OrganisationId
    team_id: TeamId | None
    """The team at or below which the subject hangs. None: it belongs to the organisation as a whole."""
    subject_kind: SubjectKind
    subject_id: str
    scope_kind: ModelScopeKind | None = None
    scope_name: str | None = None
    unit: Unit
    limit: int
    window: WindowForm
    counts_since: datetime
    """When the budget was made or its window last changed."""
    mode: Mode = Mode.HARD
    alert_percents: tuple[int, ...] = ALERT_PERCENTS
    display_name: str
    state: EntityState = EntityState.ACTIVE
    version: int = 1
    created_at: datetime

    @property
    def subject(self) -> Subject:
        """What it is attached to."""
        return Subject(self.subject_kind, self.subject_id)

    @property
    def model_scope(self) -> ModelScope | None:
        """Which models it counts. None: all."""
        if self.scope_kind is None or self.scope_name is None:
            return None
        return ModelScope(self.scope_kind, self.scope_name)

    def in_force(
        self, overrides: Sequence[Override] = (), transfers: Sequence[tuple[datetime, int]] = ()
    ) -> Budget:
        """The budget as its owner decides by it."""
        return Budget(
            budget_id=self.budget_id,
            subject=self.subject,
            unit=self.unit,
            limit=self.limit,
            window=self.window.window(),
            counts_since=self.counts_since,
            model_scope=self.model_scope,
            mode=self.mode,
            alert_percents=self.alert_percents,
            display_name=self.display_name,
            active=self.state is EntityState.ACTIVE,
            overrides=tuple(overrides),
            transfers=tuple(transfers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOverride:
    """Another limit for a while, with its reason."""

    override_id: OverrideId
    budget_id: BudgetId
    organisation_id: OrganisationId
    team_id: TeamId | None
    limit: int
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: AdminTokenId
    created_at: datetime
    revoked_at: datetime | None = None


class LimitRaiseState(IntEnum):
    """Where a wish for more is; the numbers are the contract's."""

    PENDING = 1
    APPROVED = 2
    DENIED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRaise:
    """Somebody's wish for a higher limit."""

    limit_raise_id: LimitRaiseId
    budget_id: BudgetId
    organisation_id: OrganisationId
    team_id: TeamId | None
    limit: int
    ends_at: datetime | None = None
    """None: for good."""
    reason: str
    state: LimitRaiseState = LimitRaiseState.PENDING
    created_by: AdminTokenId
    answered_by: AdminTokenId | None = None
    answer: str = ""
    created_at: datetime
