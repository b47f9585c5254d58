"""When budgets begin anew: pure arithmetic of windows, in UTC instants and in the budget's time zone.

Every kind of window divides time without gap or overlap: each instant is in exactly one span, whatever the zone's
clocks do (tests/property/budget/test_windows.py). A window that clocks cut is shorter or longer, never double.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)

FIXED_LENGTH_MIN = timedelta(minutes=1)
FIXED_LENGTH_MAX = timedelta(days=3660)
ROLLING_LENGTH_MIN = timedelta(seconds=1)
ROLLING_LENGTH_MAX = timedelta(days=366)
ROLLING_BUCKETS_MAX = 60
"""Each bucket in use is a counter that is summed at every hold."""


class Period(Enum):
    """How long a calendar window is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Never begins anew."""


@dataclass(frozen=True, slots=True)
class PerRequest:
    """Each request by itself: the limit is a ceiling for one request."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """With the calendar of a time zone."""

    period: Period
    time_zone: str = "UTC"
    """IANA name."""
    start_day: int = 1
    """Weeks: 1 Monday to 7 Sunday. Months, quarters, years: 1 to 31, in shorter months the last day."""

    def __post_init__(self) -> None:
        zone_of(self.time_zone)
        highest = {Period.WEEK: 7, Period.MONTH: 31, Period.QUARTER: 31, Period.YEAR: 31}.get(self.period, 1)
        if not 1 <= self.start_day <= highest:
            raise ValueError(f"the start day of a {self.period.value} is 1 to {highest}")


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every so long since the anchor, whatever clocks do: 48 hours means 48 hours."""

    length: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        if not FIXED_LENGTH_MIN <= self.length <= FIXED_LENGTH_MAX:
            raise ValueError("a fixed window is a minute to ten years long")
        if self.anchor.tzinfo is None:
            raise ValueError("an anchor needs a time zone")


@dataclass(frozen=True, slots=True)
class Rolling:
    """The last so long, counted in buckets that leave whole and late: never shorter than its length."""

    length: timedelta
    buckets: int = ROLLING_BUCKETS_MAX

    def __post_init__(self) -> None:
        if not ROLLING_LENGTH_MIN <= self.length <= ROLLING_LENGTH_MAX:
            raise ValueError("a rolling window is a second to 366 days long")
        if not 1 <= self.buckets <= ROLLING_BUCKETS_MAX:
            raise ValueError(f"a rolling window has 1 to {ROLLING_BUCKETS_MAX} buckets")

    @property
    def bucket_length(self) -> timedelta:
        """How long a bucket is; rounded up to a microsecond, so that the buckets cover the length."""
        return -(-self.length // self.buckets // _MICROSECOND) * _MICROSECOND


Window = Lifetime | PerRequest | Calendar | Fixed | Rolling


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` (within) to `end` (without). `end` None: never ends."""

    start: datetime
    end: datetime | None


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name; raises ValueError for a name nobody knows."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as unknown:
        raise ValueError(f"there is no time zone {name!r}") from unknown


def span_at(window: Window, at: datetime) -> Span:
    """The span of `window` that `at` is in; of a rolling window the bucket."""
    match window:
        case Lifetime() | PerRequest():
            return Span(EPOCH, None)
        case Fixed(length, anchor):
            start = anchor + (at - anchor) // length * length
            return Span(start.astimezone(UTC), (start + length).astimezone(UTC))
        case Rolling():
            length = window.bucket_length
            start = EPOCH + (at - EPOCH) // length * length
            return Span(start, start + length)
        case Calendar(Period.MINUTE, zone):
            return _by_the_clock(at, zone_of(zone), timedelta(minutes=1))
        case Calendar(Period.HOUR, zone):
            return _by_the_clock(at, zone_of(zone), timedelta(hours=1))
        case Calendar():
            return _by_the_date(at, window)


def rolling_since(window: Rolling, at: datetime) -> datetime:
    """Start of the oldest bucket that counts at `at`: as many full ones as the window has, and the present one."""
    return span_at(window, at).start - window.buckets * window.bucket_length


def _by_the_clock(at: datetime, zone: ZoneInfo, length: timedelta) -> Span:
    """Whole minutes or hours of local time. Where the zone's offset changes within one it is cut there in two."""
    offset = _offset(at, zone)
    start = at - (at - EPOCH + offset) % length
    end = start + length
    if _offset(start, zone) != offset:
        start = _first_instant(start, at, lambda instant: _offset(instant, zone) == offset)
    if _offset(end - _MICROSECOND, zone) != offset:
        end = _first_instant(at, end, lambda instant: _offset(instant, zone) != offset)
    return Span(start, end)


def _by_the_date(at: datetime, window: Calendar) -> Span:
    """Days and what is made of them: from the first instant of a local date to the first instant of another."""
    zone = zone_of(window.time_zone)
    first = _start_date(window, at.astimezone(zone).date(), back=0)
    start, end = _midnight(first, zone), _midnight(_next_start(window, first), zone)
    # A clock set back over midnight repeats the end of a date after the next has begun.
    while at >= end:
        first = _next_start(window, first)
        start, end = end, _midnight(_next_start(window, first), zone)
    while at < start:
        first = _start_date(window, first, back=1)
        start, end = _midnight(first, zone), start
    return Span(start, end)


def _start_date(window: Calendar, day: date, *, back: int) -> date:
    """The date on which the window of `day` began (`back` 0) or the window before that (`back` 1)."""
    day -= timedelta(days=back)
    match window.period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - timedelta(days=(day.isoweekday() - window.start_day) % 7)
        case _:
            months = _MONTHS[window.period]
            index = (day.year * 12 + day.month - 1) // months * months
            start = _month_day(index, window.start_day)
            return start if start <= day else _month_day(index - months, window.start_day)


def _next_start(window: Calendar, first: date) -> date:
    match window.period:
        case Period.DAY:
            return first + _DAY
        case Period.WEEK:
            return first + timedelta(days=7)
        case _:
            return _month_day(first.year * 12 + first.month - 1 + _MONTHS[window.period], window.start_day)


_MONTHS = {Period.MONTH: 1, Period.QUARTER: 3, Period.YEAR: 12}


def _month_day(index: int, day: int) -> date:
    """Day `day` of the month `index` months after year 0, or the month's last day if it has fewer."""
    year, month = divmod(index, 12)
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day, (following - timedelta(days=1)).day))


@lru_cache(maxsize=4096)
def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local date, in UTC: its midnight, or the end of the gap that swallowed it."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    instant = midnight.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return instant
    return _first_instant(
        instant - _DAY, instant + _DAY, lambda candidate: candidate.astimezone(zone).date() >= day
    )


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None, "a zone has an offset at every instant"
    return offset


def _first_instant(low: datetime, high: datetime, holds: Callable[[datetime], bool]) -> datetime:
    """The first instant in (low, high] at which `holds` is true, where it is false before and true after."""
    while high - low > _MICROSECOND:
        middle = low + (high - low) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
