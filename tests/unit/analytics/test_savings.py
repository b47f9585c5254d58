"""Prices by time and tier, and comparisons that add up."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.convert_reports import ablest_of
from services.analytics.domain.savings import (
    ALWAYS,
    FOR_GOOD,
    ComparedTokens,
    listed_millionths,
    rated,
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


def test_the_later_to_begin_ends_the_one_before_it_and_gives_way_when_it_ends() -> None:
    spans = rated([price(1, None), price(3, JUNE, JULY), price(2, MAY)])
    assert [(span.begins, span.ends, span.tier.input_nanos_per_million) for span in spans] == [
        (ALWAYS, MAY, 1),
        (MAY, JUNE, 2),
        (JUNE, JULY, 3),
        (JULY, FOR_GOOD, 2),
    ]


def test_of_two_that_begin_together_the_later_added_holds() -> None:
    assert [span.tier.input_nanos_per_million for span in rated([price(1, MAY), price(2, MAY)])] == [2]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.none() | st.integers(10, 19), st.integers(1, 9)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 20),
)
def test_at_any_moment_at_most_one_price_holds(dated: list[tuple[int, int | None, int]], day: int) -> None:
    def at(number: int) -> datetime:
        return MAY + timedelta(days=number)

    prices = [price(rate, at(begin), None if end is None else at(end)) for begin, end, rate in dated]
    holding = [span for span in rated(prices) if span.begins <= at(day) < span.ends]
    expected = [
        (begin, place, rate)
        for place, (begin, end, rate) in enumerate(dated)
        if begin <= day and (end is None or day < end)
    ]
    assert [span.tier.input_nanos_per_million for span in holding] == [
        rate for _, _, rate in sorted(expected)[-1:]
    ]


def test_tiers_share_all_lengths_among_them() -> None:
    two = ModelPrice("a/b", (PriceTier(request_nanos=1), PriceTier(input_tokens_above=100, request_nanos=2)))
    spans = rated([two])
    for tokens in (0, 100, 101):
        (found,) = [span.tier for span in spans if span.above < tokens <= span.up_to]
        assert found == two.tier_for(tokens)


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
