"""Forecasts: exact where life is regular, honest intervals where it is not, and silence where nothing is known."""

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.domain.forecasting import DAYS_FOR_INTERVAL, SpentHour, forecast

NOW = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
Question = tuple[list[SpentHour], datetime, datetime, datetime, str]


def hours(begin: datetime, end: datetime, rate: Callable[[datetime], float]) -> list[SpentHour]:
    found, at = [], begin.replace(minute=0)
    while at < end:
        found.append(SpentHour(at, round(rate(at))))
        at += HOUR
    return found


def asked(days: int, rate: Callable[[datetime], float], ahead: timedelta, zone: str = "UTC") -> Question:
    since = NOW - timedelta(days=days)
    return hours(since, NOW, rate), since, NOW, NOW + ahead, zone


def test_without_a_day_of_history_nothing_is_said() -> None:
    for days in (0, 0.9):
        since = NOW - timedelta(days=days)
        made = forecast([SpentHour(since, 5)], since, NOW, NOW + timedelta(days=9), "UTC")
        assert (made.expected_nanos, made.low_nanos, made.high_nanos, made.history_days) == (
            None,
            None,
            None,
            0,
        )
        assert "too little" in made.method


def test_with_few_days_there_is_a_figure_and_no_interval() -> None:
    made = forecast(*asked(3, lambda at: 100, timedelta(days=10)))
    assert made.expected_nanos == pytest.approx(100 * 240, rel=0.02)
    assert (made.low_nanos, made.high_nanos, made.history_days) == (None, None, 3)
    assert f"needs {DAYS_FOR_INTERVAL} days" in made.method


def test_steady_spending_goes_on_steadily() -> None:
    made = forecast(*asked(28, lambda at: 1000, timedelta(days=7)))
    assert made.expected_nanos == pytest.approx(7 * 24 * 1000, rel=0.01)
    assert made.low_nanos is not None
    assert made.high_nanos is not None
    assert made.high_nanos - made.low_nanos < 0.02 * 7 * 24 * 1000


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_weekends_and_nights_are_seen(zone: str) -> None:
    def office(at: datetime) -> float:
        return 1000 if at.weekday() < 5 and 8 <= at.hour < 18 else 0

    monday = datetime(2026, 11, 23, tzinfo=UTC)
    since = monday - timedelta(days=56)
    past = hours(since, monday, office)
    week = forecast(past, since, monday, monday + timedelta(days=5), zone).expected_nanos
    whole = forecast(past, since, monday, monday + timedelta(days=7), zone).expected_nanos
    morning = forecast(past, since, monday, monday + timedelta(hours=8), zone).expected_nanos
    assert week is not None
    assert whole is not None
    assert morning is not None
    assert whole == pytest.approx(50_000, rel=0.02)
    assert whole - week < 0.3 * (week / 5 * 2)  # two days of rest cost a fraction of two days of work
    assert morning < 0.1 * week / 5


@pytest.mark.parametrize("minute", [0, 1, 31, 45, 59])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_the_minute_of_asking_moves_no_rhythm(minute: int, zone: str) -> None:
    """A thousand an hour from nine to five, every day: what is left of such a day is what is left of its hours."""

    def past(now: datetime) -> list[SpentHour]:
        begin, found = (now - timedelta(days=56)).replace(minute=0), []
        while begin < now:
            if 9 <= begin.hour < 17:
                found.append(SpentHour(begin, round(1000 * (min(begin + HOUR, now) - begin) / HOUR)))
            begin += HOUR
        return found

    def left(hour: int, until: int) -> int:
        day = datetime(2026, 6, 10, tzinfo=ZoneInfo(zone))
        now = day.replace(hour=hour, minute=minute)
        made = forecast(past(now), now - timedelta(days=56), now, day.replace(hour=until), zone)
        assert made.expected_nanos is not None
        return made.expected_nanos

    # Eight weeks draw a factor a little towards the mean.
    assert left(15, 17) == pytest.approx(1000 * (2 - minute / 60), rel=0.09)
    assert left(15, 20) - left(15, 17) < 200
    assert left(6, 9) < 200


def test_no_spending_is_forecast_as_none() -> None:
    made = forecast(*asked(20, lambda at: 0, timedelta(days=7)))
    assert (made.expected_nanos, made.low_nanos, made.high_nanos) == (0, 0, 0)


def test_the_same_question_has_the_same_answer() -> None:
    dice = random.Random(4)
    question = asked(20, lambda at: dice.randrange(1000), timedelta(days=7))
    assert forecast(*question) == forecast(*question)


def test_the_interval_holds_what_it_says() -> None:
    """Of a hundred tenants with rhythm and noise the truth lies in four fifths of the intervals, roughly."""
    dice, inside, errors = random.Random(11), 0, []
    for _ in range(100):
        scale = 10 ** dice.uniform(4, 9)
        noise: dict[object, float] = {}

        def rate(at: datetime, scale: float = scale, noise: dict[object, float] = noise) -> float:
            day = noise.setdefault(at.date(), math.exp(dice.gauss(0, 0.4)))
            weekday = 1.0 if at.weekday() < 5 else 0.3
            return scale * day * weekday * (1.5 + math.sin(at.hour / 24 * 2 * math.pi))

        begin, end = NOW - timedelta(days=35), NOW + timedelta(days=7)
        life = hours(begin, end, rate)
        past = [hour for hour in life if hour.start + HOUR <= NOW]
        truth = sum(hour.nanos for hour in life if hour.start + HOUR > NOW)
        made = forecast(past, begin, NOW, end, "UTC")
        assert made.expected_nanos is not None
        assert made.low_nanos is not None
        assert made.high_nanos is not None
        inside += made.low_nanos <= truth <= made.high_nanos
        errors.append(abs(made.expected_nanos / truth - 1))
    assert 0.68 <= inside / 100 <= 0.92
    assert sorted(errors)[50] < 0.15


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(10**12), 10**15), min_size=24, max_size=24 * 20),
    st.floats(0.01, 60),
    st.sampled_from(["UTC", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_whatever_was_spent_the_interval_surrounds_the_middle(
    spent: list[int], days_ahead: float, zone: str
) -> None:
    since = NOW - HOUR * len(spent)
    past = [SpentHour(since + HOUR * place, nanos) for place, nanos in enumerate(spent)]
    made = forecast(past, since, NOW, NOW + timedelta(days=days_ahead), zone)
    assert made.expected_nanos is not None
    assert made.expected_nanos >= 0
    if made.low_nanos is not None and made.high_nanos is not None:
        assert 0 <= made.low_nanos <= made.expected_nanos <= made.high_nanos
