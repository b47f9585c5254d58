from datetime import UTC, datetime, timedelta

from services.budget.domain.burn import Sample, burn
from services.budget.domain.standing import Standing
from services.budget.domain.windows import Calendar, Lifetime, Period, Rolling

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = Calendar(Period.DAY)
MIDNIGHT = NOW.replace(hour=0)


def standing(
    spent: int, *, limit: int = 1000, start: datetime = MIDNIGHT, end: datetime | None = None
) -> Standing:
    return Standing(
        budget_id="bud_1",
        window_start=start,
        window_end=end,
        limit=limit,
        spent=spent,
        held=0,
        overage=0,
        unconfirmed=0,
        open_holds=0,
        sequence=1,
    )


def sample(hours_ago: float, spent: int, start: datetime = MIDNIGHT) -> Sample:
    return Sample(NOW - timedelta(hours=hours_ago), start, spent)


def test_too_little_says_nothing() -> None:
    assert burn(DAY, standing(500), [], NOW).per_hour is None
    assert burn(DAY, standing(500), [sample(1 / 120, 400)], NOW).per_hour is None
    begun = NOW - timedelta(seconds=30)
    assert burn(DAY, standing(500, start=begun), [], NOW).per_hour is None


def test_the_last_hour_counts_and_the_end_follows_from_it() -> None:
    rate = burn(DAY, standing(600), [sample(3, 100), sample(0.5, 500)], NOW)
    assert rate.per_hour == 200
    assert rate.exhausted_at == NOW + timedelta(hours=2)


def test_a_young_window_began_at_nothing() -> None:
    start = NOW - timedelta(minutes=30)
    rate = burn(Lifetime(), standing(100, start=start), [sample(2, 900)], NOW)
    assert rate.per_hour == 200  # what was spent in the window before is not this one's
    assert rate.exhausted_at == NOW + timedelta(hours=4, minutes=30)


def test_what_lasts_until_the_window_ends_has_no_end() -> None:
    rate = burn(DAY, standing(600, end=NOW + timedelta(hours=1)), [sample(0.5, 500)], NOW)
    assert rate.per_hour == 200
    assert rate.exhausted_at is None


def test_nothing_spent_never_ends() -> None:
    rate = burn(DAY, standing(500), [sample(0.5, 500)], NOW)
    assert (rate.per_hour, rate.exhausted_at) == (0, None)


def test_much_faster_than_before_is_unusual() -> None:
    calm = [sample(10, 50), sample(1, 140)]
    assert burn(DAY, standing(150), calm, NOW).unusual is False
    assert burn(DAY, standing(400), calm, NOW).unusual is True


def test_a_rolling_window_has_the_rate_of_its_length() -> None:
    rate = burn(Rolling(timedelta(hours=4)), standing(100, limit=200), [], NOW)
    assert rate.per_hour == 25
    assert rate.exhausted_at == NOW + timedelta(hours=4)
