import pytest

from services.kernel.money import AMOUNT_NANOS_MAX, MoneyOutOfRange
from services.kernel.pricing import (
    Extent,
    ModelPrice,
    PriceTier,
    RateUnknown,
    Usage,
    charge_nanos,
    discounted,
    worst_case_nanos,
)

PRICE = ModelPrice(
    "anthropic/claude",
    (
        PriceTier(
            0,
            3_000_000_000,
            15_000_000_000,
            cache_read_nanos_per_million=300_000_000,
            cache_write_nanos_per_million=3_750_000_000,
            cache_write_long_nanos_per_million=6_000_000_000,
        ),
        PriceTier(200_000, 6_000_000_000, 22_500_000_000),
    ),
)


def test_each_part_at_its_own_rate() -> None:
    usage = Usage(
        input_tokens=1000,
        output_tokens=100,
        cache_read_tokens=400,
        cache_write_tokens=100,
        cache_write_long_tokens=50,
    )
    expected = 450 * 3000 + 400 * 300 + 100 * 3750 + 50 * 6000 + 100 * 15_000
    assert charge_nanos(PRICE, usage) == expected


def test_the_tier_exceeded_applies_to_the_whole_request() -> None:
    assert charge_nanos(PRICE, Usage(200_000, 0)) == 200_000 * 3000
    assert charge_nanos(PRICE, Usage(200_001, 0)) == 200_001 * 6000


def test_unknown_is_not_zero() -> None:
    assert charge_nanos(PRICE, Usage(input_tokens=5)) is None
    assert charge_nanos(PRICE, Usage(output_tokens=5)) is None
    assert charge_nanos(PRICE, Usage(0, 0)) == 0


def test_what_is_not_billed_costs_nothing_and_is_cached_first() -> None:
    price = ModelPrice("vendor/wraps", (PriceTier(0, 1_000_000, 2_000_000, 100_000),))
    usage = Usage(1_476, 58, cache_read_tokens=1_376, unbilled_input_tokens=1_432, unbilled_output_tokens=30)
    assert charge_nanos(price, usage) == 44 * 1 + 28 * 2
    assert charge_nanos(price, Usage(100, 10, unbilled_input_tokens=100, unbilled_output_tokens=10)) == 0
    thought = Usage(0, 100, reasoning_tokens=90, unbilled_output_tokens=40)
    assert charge_nanos(price, thought) == 60 * 2


def test_missing_rates_are_unknown_prices() -> None:
    with pytest.raises(RateUnknown, match="tool call"):
        charge_nanos(PRICE, Usage(1, 1, billed_tool_calls=1))
    embedding = ModelPrice("openai/embedding", (PriceTier(0, 20_000_000),))
    assert charge_nanos(embedding, Usage(1_000_000, 0)) == 20_000_000
    with pytest.raises(RateUnknown, match="output"):
        charge_nanos(embedding, Usage(1, 1))
    with pytest.raises(RateUnknown, match="input"):
        charge_nanos(PRICE, Usage(1, 1), batch=True)


def test_a_bound_above_a_tiers_edge_takes_the_dearer_tier() -> None:
    odd = ModelPrice("vendor/odd", (PriceTier(0, 10**9, 10**9), PriceTier(100, 1, 1)))
    assert worst_case_nanos(odd, Extent(200, 50)) == 250_000
    assert worst_case_nanos(PRICE, Extent(200_000, 0)) == 200_000 * 6000  # the long-lived cache's rate
    assert worst_case_nanos(PRICE, Extent(10, 0, cache_writes=False, cache_writes_long=False)) == 10 * 3000


def test_holds_round_up_and_charges_half_even() -> None:
    tiny = ModelPrice("vendor/tiny", (PriceTier(0, 500_000, 0),))
    assert charge_nanos(tiny, Usage(1, 0)) == 0
    assert charge_nanos(tiny, Usage(3, 0)) == 2
    assert worst_case_nanos(tiny, Extent(1, 0)) == 1


@pytest.mark.parametrize("count", [-1, 2**41, 1.0, True])
def test_counts_that_nothing_has_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        Usage(input_tokens=count)
    with pytest.raises(ValueError, match="count"):
        Extent(count, 1)


def test_more_than_any_budget_holds_is_refused() -> None:
    dear = ModelPrice("vendor/dear", (PriceTier(0, AMOUNT_NANOS_MAX, 0),))
    with pytest.raises(MoneyOutOfRange):
        charge_nanos(dear, Usage(10_000_000, 0))


def test_a_discount_applies_to_every_rate() -> None:
    half = discounted(PRICE, 500_000)
    assert half.tiers[0].cache_read_nanos_per_million == 150_000_000
    assert half.tiers[1].output_nanos_per_million == 11_250_000_000
    assert half.tiers[0].reasoning_nanos_per_million is None
    assert half.tiers[1].input_tokens_above == 200_000
    assert discounted(PRICE, 0) is PRICE
    with pytest.raises(ValueError, match="discount"):
        discounted(PRICE, 1_000_001)


def test_tiers_begin_at_zero_and_rise() -> None:
    with pytest.raises(ValueError, match="tiers"):
        ModelPrice("vendor/model", (PriceTier(5),))
    with pytest.raises(ValueError, match="tiers"):
        ModelPrice("vendor/model", ())
