"""Questions about usage, checked: whose, when, by what."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.kernel.errors import FieldViolation, InvalidRequest

GROUPINGS_MAX = 3  # more make tables nobody reads, and rows without bound
ROWS_DEFAULT = 1000
ROWS_MAX = 10_000
DECISIONS_DEFAULT = 50
DECISIONS_MAX = 500  # a decision with its candidates has some kilobytes
MINUTES_RANGE_MAX = timedelta(days=1)

# Rollups are kept by quarters of an hour: every time zone's offset is a multiple of it.
ROLLUP = timedelta(minutes=15)


class Granularity(Enum):
    """How long a row of a series is; the values are Postgres' words for date_trunc, empty for the whole range."""

    WHOLE = ""
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Grouping(Enum):
    """What rows are told apart by; the values are the words that queries.sql knows."""

    ORGANISATION = "organisation"
    TEAM = "team"
    PROJECT = "project"
    KEY = "key"
    USER = "user"
    MODEL = "model"
    PROVIDER = "provider"
    OUTCOME = "outcome"
    DIMENSION = "dimension"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose usage. Empty parts are not asked for."""

    organisation_id: str
    team_id: str = ""
    project_id: str = ""
    key_id: str = ""
    user_id: str = ""
    model_pattern: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)

    @property
    def model_like(self) -> str:
        """The pattern as Postgres' LIKE takes it; `%` where none is asked for."""
        if not self.model_pattern:
            return "%"
        escaped = self.model_pattern.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        return escaped.replace("*", "%")


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From `start` on, before `end`."""

    start: datetime
    end: datetime

    def rollup_edges(self) -> tuple[datetime, datetime]:
        """The part of the range that whole rollups cover: its start rounded up and its end rounded down.

        The parts before and after are summed from single entries. If there is no whole rollup both are the range's end.
        """
        first = -(-(self.start - _EPOCH) // ROLLUP) * ROLLUP + _EPOCH
        last = (self.end - _EPOCH) // ROLLUP * ROLLUP + _EPOCH
        return (first, last) if first < last else (self.end, self.end)

    def violations(self) -> Iterator[FieldViolation]:
        """What is wrong with it."""
        if self.start >= self.end:
            yield FieldViolation("range", "must end after it begins")
        if self.start < EARLIEST or self.end > LATEST:
            yield FieldViolation("range", f"must lie between the years {EARLIEST.year} and {LATEST.year}")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""A year from where times end, so that rounding and every zone stay within them."""
MACHINES_ZONES = frozenset({"localtime", "posixrules"})
"""Files beside the IANA zones that mean another zone on each machine."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A question for sums."""

    scope: Scope
    range: TimeRange
    granularity: Granularity = Granularity.WHOLE
    group_by: tuple[Grouping, ...] = ()
    dimension: str = ""
    time_zone: str = "UTC"
    rows: int = ROWS_DEFAULT

    @property
    def needs_entries(self) -> bool:
        """True if rollups cannot answer it: they know neither minutes nor dimensions."""
        return (
            self.granularity is Granularity.MINUTE
            or Grouping.DIMENSION in self.group_by
            or bool(self.scope.dimensions)
        )

    @property
    def rollups(self) -> TimeRange | None:
        """The part of the range that whole rollups answer. None: they cannot."""
        return None if self.needs_entries else TimeRange(*self.range.rollup_edges())

    def check(self) -> None:
        """Raises InvalidRequest with everything that is wrong."""
        violations = tuple(self._violations())
        if violations:
            raise InvalidRequest(violations)

    def _violations(self) -> Iterator[FieldViolation]:
        yield from self.range.violations()
        if self.granularity is Granularity.MINUTE and self.range.end - self.range.start > MINUTES_RANGE_MAX:
            yield FieldViolation("granularity", "minutes are for ranges of up to a day")
        yield from _grouping_violations(self.group_by, self.dimension)
        yield from zone_violations(self.time_zone)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A question for a report over a range: one row a group, or one of all if nothing is told apart."""

    scope: Scope
    range: TimeRange
    group_by: tuple[Grouping, ...] = ()
    dimension: str = ""

    def check(self) -> None:
        """Raises InvalidRequest with everything that is wrong."""
        violations = (*self.range.violations(), *_grouping_violations(self.group_by, self.dimension))
        if violations:
            raise InvalidRequest(violations)


def _grouping_violations(group_by: tuple[Grouping, ...], dimension: str) -> Iterator[FieldViolation]:
    if len(group_by) > GROUPINGS_MAX:
        yield FieldViolation("group_by", f"takes at most {GROUPINGS_MAX} groupings")
    if len(set(group_by)) < len(group_by):
        yield FieldViolation("group_by", "names a grouping twice")
    if Grouping.DIMENSION in group_by and not dimension:
        yield FieldViolation("dimension", "is required to group by a dimension")


def zone_violations(name: str) -> Iterator[FieldViolation]:
    """What is wrong with a time zone's name."""
    try:
        known = ZoneInfo(name).key not in MACHINES_ZONES
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
    ):  # OSError: a folder of zones, or a name too long for a file
        known = False
    if not known:
        yield FieldViolation("time_zone", "is not an IANA time zone")


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """A question for decision records, newest first."""

    scope: Scope
    range: TimeRange | None = None
    failed_only: bool = False
    fallback_only: bool = False
    task: str = ""
    rows: int = DECISIONS_DEFAULT
