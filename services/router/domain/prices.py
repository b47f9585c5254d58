"""Prices in force, as one organisation sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.kernel.pricing import Extent, ModelPrice, RateUnknown, WorstCases, worst_case_nanos


@dataclass(frozen=True, slots=True)
class PriceView:
    """What every model costs one organisation: overrides and discounts applied. At one revision of the price book."""

    revision: int
    prices: Mapping[str, ModelPrice] = field(default_factory=dict)
    """By `provider/model`."""
    stand_in: ModelPrice | None = None
    """Stands in for prices that nobody knows. None: such models are refused."""

    def of(self, model: str) -> ModelPrice | None:
        """The model's price; None: nobody knows it."""
        return self.prices.get(model, self.stand_in)


def worst_case(price: ModelPrice | None, extent: Extent) -> int | None:
    """What the request costs at most, in nano-USD, rounded up; None: the price, or a rate that it needs, is unknown."""
    if price is None:
        return None
    try:
        return worst_case_nanos(price, extent)
    except RateUnknown:
        return None


def cap_that_fits(price: ModelPrice, extent: Extent, nanos: int) -> int:
    """The largest output cap of one choice whose worst case is at most `nanos`; 0 if not even the input fits.

    By bisection over the exact worst case, so that tiers and rounding are what they are at the hold.
    """
    worst_cases = WorstCases(price, extent)
    low, high = 0, extent.output_tokens_cap
    while low < high:
        middle = (low + high + 1) // 2
        try:
            fits = worst_cases.nanos(extent.input_tokens_bound, middle * extent.choices) <= nanos
        except RateUnknown:
            fits = False
        if fits:
            low = middle
        else:
            high = middle - 1
    return low
