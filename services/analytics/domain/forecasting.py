"""What will be spent from now on: a level, the rhythm of days and weeks, and how far days have strayed from them.

The history is hours of spending up to now. An hour is expected to cost

    level x factor(hour of the day) x factor(day of the week)

in the zone's own hours. Factors are shares of the mean, drawn towards 1 while there is little to learn them from: the
less history, the flatter the forecast. The level is what was spent over what the factors say, by whole days (24 hours
back from now, then the 24 before, …), recent ones weighing more. No trend is continued: growth is seen in the level.

The interval is a block bootstrap. Days of the past are drawn again and again, in runs of up to a week because bad days
come together; each draw makes a level of its own, and strays from it along the horizon as drawn days strayed from their
rhythm. So both the doubt about the level and the noise of the days to come are in the interval.
"""

import math
import operator
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

HISTORY_DAYS_MAX = 56  # eight of each weekday; what is older says little about next week
HORIZON_MAX = timedelta(days=366)
DAYS_FOR_INTERVAL = 7  # fewer say nothing about how far a day can stray
HALF_LIFE_DAYS = 14.0
"""A day weighs half as much as one that is this much younger."""
HOUR_SHRINKAGE_DAYS = 5.0
"""With this many days of history an hour's factor is half its own."""
WEEKDAY_SHRINKAGE_WEEKS = 2.0
"""With this many weeks of history a weekday's factor is half its own."""
BLOCK_DAYS = 7
DRAWS = 1000  # the ends of an 80 % interval then lie within about 1.3 percentage points of where they should
LOW, HIGH = 0.1, 0.9
SEED = 20  # the same question has the same answer

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURS_A_DAY, DAYS_A_WEEK = 24, 7


Drawn = TypeVar("Drawn")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will be spent in addition. None is unknown, which is not nothing."""

    expected_nanos: int | None
    low_nanos: int | None
    high_nanos: int | None
    history_days: int
    method: str
    """How it was made, for people."""


@dataclass(frozen=True, slots=True)
class SpentHour:
    """What was spent in one hour."""

    start: datetime
    nanos: int


def forecast(
    history: Sequence[SpentHour], since: datetime, now: datetime, until: datetime, zone: str
) -> Forecast:
    """The spending between `now` and `until`, from hours of spending; an hour that is not named spent nothing.

    `since` is when spending began, or when the history does, if that is later.
    """
    days = min(HISTORY_DAYS_MAX, (now - since) // timedelta(days=1))
    if days < 1:
        return Forecast(None, None, None, 0, "Less than a day of history: too little for a forecast.")
    past = _Past(history, now, days, ZoneInfo(zone))
    rhythm = _Rhythm.of(past)
    seen = past.by_day(rhythm)
    ahead = rhythm.ahead(now, until, past.zone)
    weights = [0.5 ** ((days - 1 - place) / HALF_LIFE_DAYS) for place in range(days)]
    level = max(0.0, _level(seen, weights))
    expected = round(level * sum(day.factor for day in ahead))
    words = _words(days)
    if days < DAYS_FOR_INTERVAL:
        words += f" An interval needs {DAYS_FOR_INTERVAL} days of history."
        return Forecast(expected, None, None, days, words)
    sums = sorted(_drawn(seen, weights, ahead, level))
    low, high = (round(sums[int(share * (len(sums) - 1))]) for share in (LOW, HIGH))
    return Forecast(expected, min(low, expected), max(high, expected), days, words)


@dataclass(frozen=True, slots=True)
class _SeenDay:
    """24 hours of the past: what they spent, and the sum of their hours' factors."""

    nanos: float
    factor: float


@dataclass(frozen=True, slots=True)
class _DayAhead:
    """24 hours to come, or what of them is before the end: the sum of their hours' factors, and which part they are."""

    factor: float
    part: float


@dataclass(frozen=True, slots=True)
class _Part:
    """An hour of the zone's clocks, or what of it lies within a day and the time asked about."""

    start: datetime
    end: datetime
    local: datetime
    """Its middle, in the zone."""

    @property
    def length(self) -> float:
        """In hours."""
        return (self.end - self.start) / HOUR


def _parts(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[_Part]:
    """A time cut at the zone's full hours."""
    while start < end:
        local = start.astimezone(zone)
        gone = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        cut = min(start + HOUR - gone, end)
        yield _Part(start, cut, (start + (cut - start) / 2).astimezone(zone))
        start = cut


class _Past:
    """Whole days back from now, each cut at the zone's full hours: the youngest last."""

    def __init__(self, history: Sequence[SpentHour], now: datetime, days: int, zone: ZoneInfo) -> None:
        self.zone = zone
        begin = now - DAY * days
        starts = [begin + DAY * day for day in range(days)]
        self._firsts: list[int] = []
        self.parts: list[_Part] = []
        for start in starts:
            self._firsts.append(len(self.parts))
            self.parts += _parts(start, start + DAY, zone)
        self.spent = [0.0] * len(self.parts)
        ends = [part.end for part in self.parts]
        for hour in history:
            # One that has begun just now is spent up to now; of one that a day's end cuts, each day gets its share.
            end = min(hour.start + HOUR, now)
            place = bisect_right(ends, hour.start)
            while place < len(ends) and self.parts[place].start < end:
                part = self.parts[place]
                shared = min(part.end, end) - max(part.start, hour.start)
                self.spent[place] += hour.nanos * (shared / (end - hour.start))
                place += 1

    def by_day(self, rhythm: "_Rhythm") -> list[_SeenDay]:
        """The days, oldest first."""
        factors = [part.length * rhythm.factor(part.local) for part in self.parts]
        bounds = zip(self._firsts, [*self._firsts[1:], len(self.parts)], strict=True)
        return [_SeenDay(sum(self.spent[first:end]), sum(factors[first:end])) for first, end in bounds]


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """Factors by hour of the day and by day of the week; their means are 1."""

    hours: Sequence[float]
    weekdays: Sequence[float]

    @classmethod
    def of(cls, past: _Past) -> "_Rhythm":
        of_hour, of_weekday = [0.0] * HOURS_A_DAY, [0.0] * DAYS_A_WEEK
        on_hour, on_weekday = [0.0] * HOURS_A_DAY, [0.0] * DAYS_A_WEEK
        for part, nanos in zip(past.parts, past.spent, strict=True):
            at, length = part.local, part.length
            of_hour[at.hour] += nanos
            on_hour[at.hour] += length
            of_weekday[at.weekday()] += nanos
            on_weekday[at.weekday()] += length
        mean = sum(past.spent) / sum(on_hour)
        seen_weekdays = [count / HOURS_A_DAY for count in on_weekday]
        return cls(
            _factors(of_hour, on_hour, on_hour, HOUR_SHRINKAGE_DAYS, mean),
            _factors(of_weekday, on_weekday, seen_weekdays, WEEKDAY_SHRINKAGE_WEEKS, mean),
        )

    def factor(self, at: datetime) -> float:
        """What an hour is expected to cost, for a mean of 1; `at` is in the zone."""
        return self.hours[at.hour] * self.weekdays[at.weekday()]

    def ahead(self, now: datetime, until: datetime, zone: ZoneInfo) -> list[_DayAhead]:
        """The days from now on."""
        found: list[_DayAhead] = []
        begin = now
        while begin < until:
            end = min(begin + DAY, until)
            factor = sum(part.length * self.factor(part.local) for part in _parts(begin, end, zone))
            found.append(_DayAhead(factor, (end - begin) / DAY))
            begin = end
        return found


def _factors(
    sums: Sequence[float], hours: Sequence[float], seen: Sequence[float], shrinkage: float, mean: float
) -> list[float]:
    """Shares of the mean, drawn towards 1 as if `shrinkage` more were seen of it."""
    raw = [
        (times * (total / count / mean if count and mean else 1.0) + shrinkage) / (times + shrinkage)
        for total, count, times in zip(sums, hours, seen, strict=True)
    ]
    # Corrections can make a sum negative; nobody expects to earn.
    kept = [max(factor, 0.0) for factor in raw]
    scale = len(kept) / sum(kept)
    return [factor * scale for factor in kept]


def _level(days: Sequence[_SeenDay], weights: Sequence[float]) -> float:
    """What an hour of factor 1 spends: a ratio of sums, so that weeks add up whatever a weekday's factor is."""
    spent = sum(weight * day.nanos for day, weight in zip(days, weights, strict=True))
    return spent / sum(weight * day.factor for day, weight in zip(days, weights, strict=True))


def _drawn(
    seen: Sequence[_SeenDay], weights: Sequence[float], ahead: Sequence[_DayAhead], level: float
) -> list[float]:
    """Sums over the horizon as they might come."""
    plain = _level(seen, [1.0] * len(seen))
    if plain <= 0:
        return [0.0]
    dice = random.Random(SEED)  # noqa: S311 - a simulation
    strays = [day.nanos - plain * day.factor for day in seen]
    # Hours stray one by one: a part of a day strays by more than its share.
    shares = [math.sqrt(day.part) for day in ahead]
    factors, scale = sum(day.factor for day in ahead), level / plain

    def draw() -> float:
        strayed: float = sum(map(operator.mul, _run(strays, len(ahead), dice), shares))
        return max(0.0, scale * (_level(_run(seen, len(seen), dice), weights) * factors + strayed))

    return [draw() for _ in range(DRAWS)]


def _run(values: Sequence[Drawn], length: int, dice: random.Random) -> list[Drawn]:
    """So many values in runs of BLOCK_DAYS, each begun anywhere; the last is followed by the first."""
    ring = [*values, *values[: BLOCK_DAYS - 1]]
    found: list[Drawn] = []
    while len(found) < length:
        first = dice.randrange(len(values))
        found += ring[first : first + BLOCK_DAYS]
    return found[:length]


def _words(days: int) -> str:
    weekly = " and the day of the week" if days >= DAYS_A_WEEK else ""
    return (
        f"The level of the last {days} day{'s' if days > 1 else ''}, recent ones weighing more, with the rhythm of the"
        f" hour{weekly}; the interval by drawing runs of days again; no trend is continued."
    )
