"""Prices by time and tier, and comparisons that add up."""

import bisect
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.convert_reports import ablest_of
from services.analytics.domain.savings import (
    ALWAYS,
    ComparedTokens,
    PriceList,
    listed_millionths,
    savings,
)
from services.kernel.pricing import (
    ModelPrice,
    PriceTier,
    RateUnknown,
    Usage,
    charge_nanos,
    divide_half_even,
)
from turnpike.router.v1 import decision_pb2

rates = st.none() | st.integers(0, 10**12)
counts = st.integers(0, 10**7)
tiers = st.builds(
    PriceTier,
    input_nanos_per_million=rates,
    output_nanos_per_million=rates,
    cache_read_nanos_per_million=rates,
    reasoning_nanos_per_million=rates,
    request_nanos=st.integers(0, 10**9),
)


@given(tiers, counts, counts, st.integers(0, 100), st.integers(0, 100))
def test_a_request_is_priced_as_it_would_be_charged(
    tier: PriceTier, input_tokens: int, output_tokens: int, cached: int, reasoned: int
) -> None:
    cached, reasoned = input_tokens * cached // 100, output_tokens * reasoned // 100
    usage = Usage(input_tokens, output_tokens, cache_read_tokens=cached, reasoning_tokens=reasoned)
    tokens = ComparedTokens(
        (),
        tier,
        None,
        1,
        0,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cached,
        reasoning_tokens=reasoned,
    )
    try:
        expected = charge_nanos(ModelPrice("a/b", (tier,)), usage)
    except RateUnknown:
        assert listed_millionths(tier, tokens) is None
        return
    millionths = listed_millionths(tier, tokens)
    assert millionths is not None
    assert divide_half_even(millionths, 1_000_000) == expected


sums = st.builds(
    ComparedTokens,
    group=st.sampled_from([("a",), ("b",)]),
    baseline=st.none() | tiers,
    own=st.none() | tiers,
    requests=st.integers(0, 9),
    cost_nanos=st.integers(-(10**9), 10**15),
    input_tokens=counts,
    output_tokens=counts,
    cache_read_tokens=counts,
    reasoning_tokens=counts,
)


@given(st.lists(sums))
def test_what_is_compared_and_what_is_left_out_is_all_there_is(parts: list[ComparedTokens]) -> None:
    rows = savings(parts)
    assert sum(row.actual_nanos + row.left_out_nanos for row in rows) == sum(p.cost_nanos for p in parts)
    assert sum(row.requests + row.not_comparable for row in rows) == sum(part.requests for part in parts)
    assert [row.group for row in rows if not row.requests and row.baseline_nanos] == []
    saved = [row.baseline_nanos - row.actual_nanos for row in rows]
    assert saved == sorted(saved, reverse=True)


MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7))


def price(rate: int, begins: datetime | None, ends: datetime | None = None) -> ModelPrice:
    return ModelPrice("a/b", (PriceTier(input_nanos_per_million=rate),), begins, ends)


def at_moments(*prices: ModelPrice) -> list[tuple[datetime, int | None]]:
    """The moments of a list and the rate from each on."""
    known = PriceList(prices)
    rates_then = [known.tier("a/b", place, 0) for place in range(1, len(known.moments) + 1)]
    found = [None if tier is None else tier.input_nanos_per_million for tier in rates_then]
    return list(zip(known.moments, found, strict=True))


def test_the_later_to_begin_ends_the_one_before_it_and_gives_way_when_it_ends() -> None:
    assert at_moments(price(1, None), price(3, JUNE, JULY), price(2, MAY)) == [
        (ALWAYS, 1),
        (MAY, 2),
        (JUNE, 3),
        (JULY, 2),
    ]
    assert PriceList([price(2, MAY)]).tier("a/b", 0, 0) is None
    assert PriceList([]).tier("a/b", 0, 0) is None


def test_of_two_that_begin_together_the_later_added_holds() -> None:
    assert at_moments(price(1, MAY), price(2, MAY)) == [(MAY, 2)]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.none() | st.integers(10, 19), st.integers(1, 9)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 20),
)
def test_at_any_moment_the_latest_to_begin_holds(dated: list[tuple[int, int | None, int]], day: int) -> None:
    def at(number: int) -> datetime:
        return MAY + timedelta(days=number)

    prices = [price(rate, at(begin), None if end is None else at(end)) for begin, end, rate in dated]
    known = PriceList(prices)
    tier = known.tier("a/b", bisect.bisect_right(known.moments, at(day)), 0)
    expected = [
        (begin, place, rate)
        for place, (begin, end, rate) in enumerate(dated)
        if begin <= day and (end is None or day < end)
    ]
    rate = sorted(expected)[-1][2] if expected else None
    assert (None if tier is None else tier.input_nanos_per_million) == rate


def test_each_length_has_its_tier() -> None:
    two = ModelPrice("a/b", (PriceTier(request_nanos=1), PriceTier(input_tokens_above=100, request_nanos=2)))
    other = ModelPrice("c/d", (PriceTier(), PriceTier(input_tokens_above=50)))
    known = PriceList([two, other])
    for tokens in (0, 50, 51, 100, 101, 10**9):
        assert known.tier("a/b", 1, bisect.bisect_right(known.sizes, tokens)) == two.tier_for(tokens)


def test_the_ablest_is_the_best_of_those_that_were_not_dropped() -> None:
    def candidate(model: str, quality: float | None, excluded_by: str = "") -> decision_pb2.Candidate:
        made = decision_pb2.Candidate(model=model, excluded_by=excluded_by)
        if quality is not None:
            made.estimates.quality = quality
        return made

    def ablest(*candidates: decision_pb2.Candidate) -> str:
        return ablest_of(decision_pb2.Decision(candidates=candidates).SerializeToString())

    assert (
        ablest(candidate("a/x", 0.6), candidate("b/y", 0.8), candidate("c/z", 0.9, "access.denied")) == "b/y"
    )
    assert ablest(candidate("a/x", 0.8), candidate("b/y", 0.8)) == "a/x"
    assert ablest(candidate("a/x", None)) == ""
    assert ablest() == ""
