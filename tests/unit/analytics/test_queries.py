"""Questions are checked, and split between rollups and single entries without a gap or an overlap."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.domain.queries import ROLLUP, Granularity, Grouping, Scope, TimeRange, UsageQuery
from services.kernel.errors import InvalidRequest

START = datetime(2026, 3, 1, tzinfo=UTC)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(moments, st.timedeltas(timedelta(microseconds=1), timedelta(days=40)))
def test_whole_rollups_lie_inside_the_range_and_leave_less_than_one_at_each_end(
    start: datetime, length: timedelta
) -> None:
    span = TimeRange(start, start + length)
    first, last = span.rollup_edges()
    if first == last:
        assert last == span.end
        assert length < 2 * ROLLUP
        return
    assert span.start <= first < last <= span.end
    assert first - span.start < ROLLUP
    assert span.end - last < ROLLUP
    for edge in (first, last):
        assert edge.minute % 15 == 0
        assert edge.second == edge.microsecond == 0


def query(**changes: object) -> UsageQuery:
    base: dict[str, object] = {"scope": Scope("org_1"), "range": TimeRange(START, START + timedelta(hours=1))}
    return UsageQuery(**(base | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"range": TimeRange(START, START)}, "range"),
        (
            {"granularity": Granularity.MINUTE, "range": TimeRange(START, START + timedelta(days=2))},
            "granularity",
        ),
        ({"group_by": (Grouping.TEAM, Grouping.TEAM)}, "group_by"),
        ({"group_by": (Grouping.TEAM, Grouping.KEY, Grouping.USER, Grouping.MODEL)}, "group_by"),
        ({"group_by": (Grouping.DIMENSION,)}, "dimension"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"time_zone": "America"}, "time_zone"),
        ({"time_zone": "x" * 300}, "time_zone"),
        ({"time_zone": "localtime"}, "time_zone"),
        ({"range": TimeRange(START, datetime(9999, 12, 31, 23, 59, tzinfo=UTC))}, "range"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        query(**wrong).check()
    assert [violation.field for violation in refused.value.violations] == [field]


def test_rollups_are_left_aside_where_they_cannot_answer() -> None:
    assert not query(group_by=(Grouping.MODEL,)).needs_entries
    assert query(granularity=Granularity.MINUTE).needs_entries
    assert query(group_by=(Grouping.DIMENSION,), dimension="task").needs_entries
    assert query(scope=Scope("org_1", dimensions={"task": "code"})).needs_entries


@pytest.mark.parametrize(
    ("pattern", "like"),
    [("", "%"), ("openai/*", "openai/%"), ("a_b%c/*", r"a\_b\%c/%"), ("openai/gpt-4o", "openai/gpt-4o")],
)
def test_a_pattern_means_its_star_and_nothing_else(pattern: str, like: str) -> None:
    assert Scope("org_1", model_pattern=pattern).model_like == like
