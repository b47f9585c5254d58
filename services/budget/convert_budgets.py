"""Budgets, and how they stand, between the contract's messages and ours."""

from collections.abc import Iterable
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from services.budget.convert_entities import (
    Shape,
    check_request_id,
    from_pb_etag,
    from_pb_mask,
    from_pb_timestamp,
    to_pb_timestamp,
)
from services.budget.domain.budgets import ALERT_PERCENTS, Mode, ModelScopeKind, SubjectKind, Unit
from services.budget.domain.burn import Burn
from services.budget.domain.checks import Checks
from services.budget.domain.entities import EntityState
from services.budget.domain.kinds import SUBJECTS
from services.budget.domain.limits import StoredBudget, WindowForm, WindowKind
from services.budget.domain.standing import Standing
from services.budget.domain.windows import EPOCH, ROLLING_BUCKETS_MAX, Period
from services.budget.use_cases.entities import Fields, Update
from services.kernel.model_ref import PROVIDER
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1 import entities_pb2 as pb
from turnpike.common.v1 import error_pb2

PERCENT_MAX = 1000
PERCENTS_MAX = 20
GROUP_LENGTH_MAX = 128

_PERIODS = {
    pb.CALENDAR_PERIOD_MINUTE: Period.MINUTE,
    pb.CALENDAR_PERIOD_HOUR: Period.HOUR,
    pb.CALENDAR_PERIOD_DAY: Period.DAY,
    pb.CALENDAR_PERIOD_WEEK: Period.WEEK,
    pb.CALENDAR_PERIOD_MONTH: Period.MONTH,
    pb.CALENDAR_PERIOD_QUARTER: Period.QUARTER,
    pb.CALENDAR_PERIOD_YEAR: Period.YEAR,
}
_PB_PERIODS = {ours: theirs for theirs, ours in _PERIODS.items()}
_DURATION_SECONDS_MAX = 315_576_000_000
_MODEL_SCOPES = {
    "model": ModelScopeKind.MODEL,
    "model_group": ModelScopeKind.GROUP,
    "provider": ModelScopeKind.PROVIDER,
}
_PB_MODEL_SCOPES = {ours: theirs for theirs, ours in _MODEL_SCOPES.items()}


# ---- requests --------------------------------------------------------------------------------------------------------
def from_pb_new_budget(request: admin_pb.CreateBudgetRequest) -> Fields:
    """The fields of a budget that is to be made."""
    checks = Checks()
    check_request_id(checks, request)
    budget = request.budget
    subject_kind, subject_id = from_pb_subject(checks, "budget.subject", budget.subject)
    scope_kind, scope_name = _scope(checks, budget.model_scope)
    unit = _unit(checks, "budget.unit", budget.unit)
    window = _window(checks, "budget.window", budget.window)
    _check_window_of_unit(checks, unit, window)
    new = {
        "subject_kind": subject_kind,
        "subject_id": subject_id,
        "scope_kind": scope_kind,
        "scope_name": scope_name,
        "unit": unit,
        "limit": checks.amount("budget.limit", budget.limit),
        "window": window,
        "mode": _mode(checks, "budget.mode", budget.mode),
        "alert_percents": _percents(checks, "budget.alert_percents", budget.alert_percents),
        "display_name": checks.line("budget.display_name", budget.display_name),
    }
    checks.done()
    return new


def _state(checks: Checks, path: str, value: int) -> EntityState:
    if value not in (EntityState.ACTIVE, EntityState.SUSPENDED):
        checks.wrong(path, "must be ACTIVE or SUSPENDED; archive by ArchiveBudget")
        return EntityState.ACTIVE
    return EntityState(value)


def from_pb_budget_update(request: admin_pb.UpdateBudgetRequest) -> Update:
    """Which budget to change, and the checked values of the fields that the mask names."""
    checks = Checks()
    check_request_id(checks, request)
    budget = request.budget
    readers = from_pb_mask(checks, request.update_mask, _BUDGET_SHAPE.changeable)
    checks.require(bool(budget.budget_id), "budget.budget_id", "is required")
    changes = {
        name: reader(checks, f"budget.{name}", getattr(budget, name)) for name, reader in readers.items()
    }
    checks.done()
    return Update(budget.budget_id, from_pb_etag(budget.etag), changes)


def from_pb_subject(checks: Checks, path: str, subject: pb.BudgetSubject) -> tuple[SubjectKind, str]:
    """What a budget is attached to; required."""
    field = subject.WhichOneof("subject")
    if field is None:
        checks.wrong(path, "is required: one of organisation_id, team_id, project_id, key_id, user_id")
        return SubjectKind.ORGANISATION, ""
    kind = SubjectKind(field.removesuffix("_id"))
    return kind, checks.id(f"{path}.{field}", SUBJECTS[kind].id_type, getattr(subject, field))


def from_pb_optional_subject(
    checks: Checks, request: admin_pb.ListBudgetsRequest | admin_pb.ListBudgetStatusesRequest
) -> str | None:
    """The id of the subject whose budgets are asked for; None: of all."""
    return from_pb_subject(checks, "subject", request.subject)[1] if request.HasField("subject") else None


def _scope(checks: Checks, scope: pb.ModelScope) -> tuple[ModelScopeKind | None, str | None]:
    field = scope.WhichOneof("scope")
    if field is None:
        return None, None
    kind, name, path = _MODEL_SCOPES[field], getattr(scope, field), f"budget.model_scope.{field}"
    match kind:
        case ModelScopeKind.MODEL:
            checks.model(path, name)
        case ModelScopeKind.PROVIDER:
            checks.require(PROVIDER.fullmatch(name) is not None, path, "is no provider's name such as openai")
        case ModelScopeKind.GROUP:
            checks.line(path, name, length_max=GROUP_LENGTH_MAX)
    return kind, name


def _unit(checks: Checks, path: str, value: int) -> Unit:
    if value not in list(Unit):
        checks.wrong(path, "is required: MONEY, TOKENS, REQUESTS or CONCURRENCY")
        return Unit.MONEY
    return Unit(value)


def _mode(checks: Checks, path: str, value: int) -> Mode:
    if value and value not in list(Mode):
        checks.wrong(path, "must be HARD, SOFT or SHADOW")
        return Mode.HARD
    return Mode(value or Mode.HARD)


def _percents(checks: Checks, path: str, values: Iterable[int]) -> tuple[int, ...]:
    given = tuple(values)
    checks.require(len(given) <= PERCENTS_MAX, path, f"must be at most {PERCENTS_MAX}")
    for index, percent in enumerate(given):
        checks.require(1 <= percent <= PERCENT_MAX, f"{path}[{index}]", f"must be 1 to {PERCENT_MAX}")
    return tuple(sorted(set(given))) or ALERT_PERCENTS


def _check_window_of_unit(checks: Checks, unit: Unit, window: WindowForm) -> None:
    if unit is Unit.CONCURRENCY:
        checks.require(
            window.kind is WindowKind.LIFETIME, "budget.window", "must be absent: concurrency has none"
        )


def _window(checks: Checks, path: str, window: pb.Window) -> WindowForm:
    """A window whose time zone and anchor may still be open: the organisation's and the moment of the change."""
    form = WindowForm(kind=WindowKind.LIFETIME)
    match window.WhichOneof("kind"):
        case "request":
            form = WindowForm(kind=WindowKind.REQUEST)
        case "calendar":
            form = _calendar(checks, f"{path}.calendar", window.calendar)
        case "fixed":
            fixed = window.fixed
            anchor = from_pb_timestamp(
                checks, f"{path}.fixed.anchor", fixed.anchor if fixed.HasField("anchor") else None
            )
            length = _length(checks, f"{path}.fixed.length", fixed.length)
            form = WindowForm(kind=WindowKind.FIXED, length=length, anchor=anchor)
        case "rolling":
            rolling = window.rolling
            form = WindowForm(
                kind=WindowKind.ROLLING,
                length=_length(checks, f"{path}.rolling.length", rolling.length),
                buckets=rolling.buckets or ROLLING_BUCKETS_MAX,
            )
    _check_window(checks, path, form)
    return form


def _check_window(checks: Checks, path: str, form: WindowForm) -> None:
    """The domain's own bounds, with what is still open filled in by something that is surely right."""
    stand_in = WindowForm(
        kind=form.kind,
        period=form.period,
        time_zone="UTC" if form.kind is WindowKind.CALENDAR else None,
        start_day=form.start_day,
        length=form.length,
        anchor=form.anchor or EPOCH,
        buckets=form.buckets,
    )
    try:
        stand_in.window()
    except ValueError as error:
        checks.wrong(f"{path}.{form.kind.value}", str(error))


def _calendar(checks: Checks, path: str, calendar: pb.CalendarWindow) -> WindowForm:
    if calendar.period not in _PERIODS:
        checks.wrong(f"{path}.period", "is required")
    return WindowForm(
        kind=WindowKind.CALENDAR,
        period=_PERIODS.get(calendar.period, Period.MONTH),
        time_zone=checks.time_zone(f"{path}.time_zone", calendar.time_zone, default="") or None,
        start_day=calendar.start_day or 1,
    )


def _length(checks: Checks, path: str, length: Duration) -> timedelta:
    if not -_DURATION_SECONDS_MAX <= length.seconds <= _DURATION_SECONDS_MAX:
        checks.wrong(path, "is not a duration")
        return timedelta(0)
    return timedelta(seconds=length.seconds, microseconds=length.nanos // 1000)


_BUDGET_SHAPE = Shape(
    "budget",
    given={},
    changeable={
        "limit": lambda checks, path, value: checks.amount(path, value),
        "window": _window,
        "mode": _mode,
        "alert_percents": _percents,
        "display_name": lambda checks, path, value: checks.line(path, value),
        "state": _state,
    },
    only_changed={},
)


# ---- answers ---------------------------------------------------------------------------------------------------------
def to_pb_budget(budget: StoredBudget) -> pb.Budget:
    """A budget on the wire."""
    message = pb.Budget(
        budget_id=budget.budget_id,
        organisation_id=budget.organisation_id,
        unit=error_pb2.BudgetUnit.ValueType(budget.unit),
        limit=budget.limit,
        window=to_pb_window(budget.window),
        mode=pb.BudgetMode.ValueType(budget.mode),
        alert_percents=budget.alert_percents,
        display_name=budget.display_name,
        state=pb.EntityState.ValueType(budget.state),
        etag=str(budget.version),
        created_at=to_pb_timestamp(budget.created_at),
    )
    setattr(message.subject, f"{budget.subject_kind.value}_id", budget.subject_id)
    if budget.scope_kind is not None:
        setattr(message.model_scope, _PB_MODEL_SCOPES[budget.scope_kind], budget.scope_name)
    return message


def to_pb_window(form: WindowForm) -> pb.Window:
    """A window on the wire."""
    window = pb.Window()
    match form.kind:
        case WindowKind.LIFETIME:
            window.lifetime.SetInParent()
        case WindowKind.REQUEST:
            window.request.SetInParent()
        case WindowKind.CALENDAR:
            assert form.period is not None, "a calendar window has a period"
            window.calendar.period = _PB_PERIODS[form.period]
            window.calendar.time_zone = form.time_zone or ""
            window.calendar.start_day = form.start_day or 1
        case WindowKind.FIXED:
            window.fixed.length.CopyFrom(_to_pb_duration(form.length))
            if form.anchor is not None:
                window.fixed.anchor.CopyFrom(to_pb_timestamp(form.anchor))
        case WindowKind.ROLLING:
            window.rolling.length.CopyFrom(_to_pb_duration(form.length))
            window.rolling.buckets = form.buckets or 0
    return window


def _to_pb_duration(length: timedelta | None) -> Duration:
    duration = Duration()
    duration.FromTimedelta(length or timedelta(0))
    return duration


def to_pb_status(budget: StoredBudget, standing: Standing, burn: Burn | None = None) -> pb.BudgetStatus:
    """How a budget stands and, where that was looked at, how fast it is spent."""
    status = pb.BudgetStatus(
        budget=to_pb_budget(budget),
        limit_in_force=standing.limit,
        spent=standing.spent,
        held=standing.held,
        overage=standing.overage,
        unconfirmed=standing.unconfirmed,
        left=standing.left,
        window_start=to_pb_timestamp(standing.window_start),
        open_holds=standing.open_holds,
        ledger_sequence=standing.sequence,
    )
    if standing.window_end is not None:
        status.resets_at.CopyFrom(to_pb_timestamp(standing.window_end))
    if burn is not None and burn.per_hour is not None:
        status.burn_per_hour = burn.per_hour
    if burn is not None and burn.exhausted_at is not None:
        status.projected_exhaustion_at.CopyFrom(to_pb_timestamp(burn.exhausted_at))
    return status
