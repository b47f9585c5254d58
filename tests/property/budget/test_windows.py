"""Windows divide time without gap or overlap, whatever clocks do."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.budget.domain.windows import (
    Calendar,
    Fixed,
    Lifetime,
    Period,
    Rolling,
    Window,
    rolling_since,
    span_at,
    zone_of,
)

# Clocks that jump at midnight (Havana, Beirut, Sao_Paulo), by half an hour (Lord_Howe), over a whole day (Apia), or
# whose offset is no whole hour (Kolkata, Kathmandu, St_Johns).
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "America/Havana",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Africa/Cairo",
    "Asia/Gaza",
    "Pacific/Kiritimati",
]
MICROSECOND = timedelta(microseconds=1)

instants = st.datetimes(min_value=datetime(1995, 1, 1), max_value=datetime(2037, 12, 31)).map(
    lambda naive: naive.replace(tzinfo=UTC)
)


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    period = draw(st.sampled_from(Period))
    highest = {Period.WEEK: 7, Period.MONTH: 31, Period.QUARTER: 31, Period.YEAR: 31}.get(period, 1)
    return Calendar(period, draw(st.sampled_from(ZONES)), draw(st.integers(1, highest)))


windows = st.one_of(
    calendars(),
    st.builds(
        Fixed,
        st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=900)),
        instants,
    ),
    st.builds(
        Rolling,
        st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=366)),
        st.integers(1, 60),
    ),
)


@given(windows, instants)
@settings(max_examples=600, deadline=None)
@example(Calendar(Period.DAY, "Pacific/Apia"), datetime(2011, 12, 30, 9, 59, tzinfo=UTC))
@example(Calendar(Period.DAY, "America/Havana"), datetime(2023, 3, 12, 4, 59, 59, tzinfo=UTC))
@example(Calendar(Period.DAY, "America/Havana"), datetime(2023, 11, 5, 4, 30, tzinfo=UTC))
@example(Calendar(Period.HOUR, "Australia/Lord_Howe"), datetime(2023, 4, 1, 15, 10, tzinfo=UTC))
@example(Calendar(Period.MONTH, "UTC", 31), datetime(2024, 2, 29, 0, 0, tzinfo=UTC))
@example(Calendar(Period.YEAR, "UTC", 29), datetime(2023, 1, 28, 23, 59, tzinfo=UTC))
def test_every_instant_is_in_exactly_one_span(window: Window, at: datetime) -> None:
    span = span_at(window, at)
    assert span.end is not None
    assert span.start <= at < span.end
    assert span_at(window, span.start) == span
    assert span_at(window, span.end - MICROSECOND) == span
    assert span_at(window, span.end).start == span.end
    assert span_at(window, span.start - MICROSECOND).end == span.start


@given(calendars(), instants)
@settings(max_examples=300, deadline=None)
def test_calendar_windows_begin_on_their_day(window: Calendar, at: datetime) -> None:
    zone = zone_of(window.time_zone)
    begins = span_at(window, at).start.astimezone(zone)
    before = (span_at(window, at).start - MICROSECOND).astimezone(zone)
    if window.period in (Period.MINUTE, Period.HOUR):
        return
    assert begins.date() != before.date(), "it begins with a new date"
    if window.period is Period.WEEK and begins.hour == 0:
        assert begins.isoweekday() == window.start_day
    if window.period in (Period.MONTH, Period.QUARTER, Period.YEAR) and begins.hour == 0:
        last = ((begins.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)).day
        assert begins.day == min(window.start_day, last)
        if window.period is Period.QUARTER:
            assert begins.month in (1, 4, 7, 10)
        if window.period is Period.YEAR:
            assert begins.month == 1


@given(st.integers(1, 60), st.timedeltas(timedelta(seconds=1), timedelta(days=366)), instants)
@settings(max_examples=200, deadline=None)
def test_a_rolling_window_is_never_shorter_and_at_most_one_bucket_longer(
    buckets: int, length: timedelta, at: datetime
) -> None:
    window = Rolling(length, buckets)
    since = rolling_since(window, at)
    assert at - since >= length
    assert at - since <= (buckets + 1) * window.bucket_length
    assert span_at(window, since).start == since


def test_a_lifetime_never_ends() -> None:
    assert span_at(Lifetime(), datetime(2030, 1, 1, tzinfo=UTC)).end is None


def test_forty_eight_hours_are_forty_eight_hours() -> None:
    anchor = datetime(2026, 3, 7, 13, 30, tzinfo=UTC)
    window = Fixed(timedelta(hours=48), anchor)
    assert span_at(window, anchor + timedelta(hours=47, minutes=59)).start == anchor
    assert span_at(window, anchor + timedelta(hours=48)).start == anchor + timedelta(hours=48)
    assert span_at(window, anchor - timedelta(seconds=1)).start == anchor - timedelta(hours=48)


def test_days_have_23_to_25_hours_where_clocks_change() -> None:
    window = Calendar(Period.DAY, "Europe/Berlin")
    spring = span_at(window, datetime(2026, 3, 29, 12, tzinfo=UTC))
    autumn = span_at(window, datetime(2026, 10, 25, 12, tzinfo=UTC))
    assert spring.end is not None
    assert autumn.end is not None
    assert spring.end - spring.start == timedelta(hours=23)
    assert autumn.end - autumn.start == timedelta(hours=25)
