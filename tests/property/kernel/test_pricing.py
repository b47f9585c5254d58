"""What calls cost, against exact fractions, and worst cases against every usage they bound."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.pricing import (
    Extent,
    ModelPrice,
    PriceTier,
    Usage,
    WorstCases,
    charge_nanos,
    discounted,
    divide_half_even,
    divide_up,
    worst_case_nanos,
)

rates = st.integers(0, 10**12)
maybe = st.none() | rates
counts = st.integers(0, 2_000_000)


@st.composite
def tiers(draw: st.DrawFn, above: int) -> PriceTier:
    return PriceTier(
        input_tokens_above=above,
        input_nanos_per_million=draw(rates),
        output_nanos_per_million=draw(rates),
        cache_read_nanos_per_million=draw(maybe),
        cache_write_nanos_per_million=draw(maybe),
        cache_write_long_nanos_per_million=draw(maybe),
        reasoning_nanos_per_million=draw(maybe),
        input_audio_nanos_per_million=draw(maybe),
        output_audio_nanos_per_million=draw(maybe),
        input_image_nanos_per_million=draw(maybe),
        request_nanos=draw(st.integers(0, 10**9)),
        tool_call_nanos=draw(rates),
    )


@st.composite
def prices(draw: st.DrawFn) -> ModelPrice:
    bounds = [0, *sorted(draw(st.sets(st.sampled_from([100, 200_000, 272_000]), max_size=2)))]
    return ModelPrice("vendor/model", tuple(draw(tiers(bound)) for bound in bounds))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Parts are disjoint and within their totals, as vendors report them."""
    parts = [draw(st.none() | counts) for _ in range(5)]
    outputs = [draw(st.none() | counts) for _ in range(2)]
    return Usage(
        input_tokens=sum(part or 0 for part in parts) + draw(counts),
        output_tokens=sum(part or 0 for part in outputs) + draw(counts),
        cache_read_tokens=parts[0],
        cache_write_tokens=parts[1],
        cache_write_long_tokens=parts[2],
        input_audio_tokens=parts[3],
        input_image_tokens=parts[4],
        reasoning_tokens=outputs[0],
        output_audio_tokens=outputs[1],
        billed_tool_calls=draw(st.none() | st.integers(0, 50)),
        unbilled_input_tokens=draw(st.none() | counts),
        unbilled_output_tokens=draw(st.none() | counts),
    )


@given(prices(), usages(), st.integers(0, 10_000), st.integers(1, 8), st.integers(0, 5))
@settings(max_examples=400, deadline=None)
def test_no_usage_within_the_extent_is_charged_more_than_the_worst_case(
    price: ModelPrice, usage: Usage, slack: int, choices: int, more_calls: int
) -> None:
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    extent = Extent(
        usage.input_tokens + slack,
        divide_up(usage.output_tokens, choices),
        choices=choices,
        tool_calls_max=(usage.billed_tool_calls or 0) + more_calls,
    )
    charged = charge_nanos(price, usage)
    assert charged is not None
    assert charged <= worst_case_nanos(price, extent)


@given(prices(), st.lists(st.tuples(counts, counts), min_size=1, max_size=5), st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_worst_cases_at_one_price_are_those_of_each_extent(
    price: ModelPrice, sizes: list[tuple[int, int]], cache_writes: bool, image_input: bool
) -> None:
    def extent(bound: int, cap: int) -> Extent:
        return Extent(bound, cap, choices=2, cache_writes=cache_writes, image_input=image_input)

    worst_cases = WorstCases(price, extent(0, 0))
    for bound, cap in sizes:
        assert worst_cases.nanos(bound, 2 * cap) == worst_case_nanos(price, extent(bound, cap))


@given(prices(), usages(), st.integers(0, 1_000_000))
@settings(max_examples=200, deadline=None)
def test_a_discount_never_raises_and_never_goes_below_its_share(
    price: ModelPrice, usage: Usage, discount_ppm: int
) -> None:
    full, less = charge_nanos(price, usage), charge_nanos(discounted(price, discount_ppm), usage)
    assert full is not None
    assert less is not None
    assert less <= full + 1
    assert less + 1 >= Fraction(full) * (1_000_000 - discount_ppm) / 1_000_000


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_divisions_are_exact(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert divide_half_even(numerator, denominator) == round(exact)  # Fraction rounds half to even
    assert divide_up(numerator, denominator) - exact < 1
    assert divide_up(numerator, denominator) >= exact
