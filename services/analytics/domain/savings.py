"""What the same tokens would have cost at a baseline's list prices, from sums of tokens by price.

A cost is linear in tokens within one tier of one price, so tokens are summed first and priced once: exact, and rounded
once for a group instead of once for a request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.kernel.pricing import (
    TOKENS_PER_RATE,
    ModelPrice,
    PriceTier,
    divide_half_even,
)

ALWAYS = datetime(1, 1, 1, tzinfo=UTC)


class PriceList:
    """List prices by model, time and size: what tells apart the sums that a comparison is made of.

    `prices` of a model that begin together count in their order: the last is the one that holds.
    """

    def __init__(self, prices: Sequence[ModelPrice]) -> None:
        self._dated: dict[str, list[ModelPrice]] = {}
        for price in sorted(prices, key=_begins):
            self._dated.setdefault(price.model, []).append(price)
        ends = {price.effective_until for price in prices if price.effective_until is not None}
        self.moments = sorted({_begins(price) for price in prices} | ends)
        """When some price begins or ends."""
        self.sizes = sorted({tier.input_tokens_above + 1 for price in prices for tier in price.tiers[1:]})
        """Input tokens from which on some tier counts."""

    def tier(self, model: str, dated: int, sized: int) -> PriceTier | None:
        """What holds after so many of the moments and from so many of the sizes on. None: there is no price."""
        at = self.moments[dated - 1] if dated else None
        holding = [price for price in self._dated.get(model, ()) if at is not None and _holds(price, at)]
        return holding[-1].tier_for(self.sizes[sized - 1] if sized else 0) if holding else None


def _begins(price: ModelPrice) -> datetime:
    return price.effective_from or ALWAYS


def _holds(price: ModelPrice, at: datetime) -> bool:
    return _begins(price) <= at and (price.effective_until is None or at < price.effective_until)


@dataclass(frozen=True, slots=True)
class ComparedTokens:
    """Sums over answers of one group that have the same two prices."""

    group: tuple[str, ...]
    baseline: PriceTier | None
    """None: the answers' usage or the baseline's price is not known."""
    own: PriceTier | None
    """None: there is no list price of the model that answered."""
    requests: int
    """0: money that belongs to no answer."""
    cost_nanos: int
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class SavingsRow:
    """One comparison; `actual + left_out` is all that was spent."""

    group: tuple[str, ...]
    actual_nanos: int
    baseline_nanos: int
    requests: int
    not_comparable: int
    left_out_nanos: int
    cache_saved_nanos: int


def savings(sums: Iterable[ComparedTokens]) -> list[SavingsRow]:
    """Rows by group, the one that saved most first."""
    groups: dict[tuple[str, ...], _Group] = {}
    for part in sums:
        groups.setdefault(part.group, _Group()).add(part)
    rows = [group.row(name) for name, group in groups.items()]
    return sorted(rows, key=lambda row: (row.actual_nanos - row.baseline_nanos, row.group))


class _Group:
    def __init__(self) -> None:
        self._actual = self._left_out = self._requests = self._not_comparable = 0
        self._baseline_millionths = self._cache_millionths = 0

    def add(self, part: ComparedTokens) -> None:
        listed = (
            None if part.baseline is None or not part.requests else listed_millionths(part.baseline, part)
        )
        if listed is None:
            self._left_out += part.cost_nanos
            self._not_comparable += part.requests
        else:
            self._actual += part.cost_nanos
            self._requests += part.requests
            self._baseline_millionths += listed
        if part.own is not None:
            self._cache_millionths += cache_millionths(part.own, part)

    def row(self, name: tuple[str, ...]) -> SavingsRow:
        return SavingsRow(
            group=name,
            actual_nanos=self._actual,
            baseline_nanos=divide_half_even(self._baseline_millionths, TOKENS_PER_RATE),
            requests=self._requests,
            not_comparable=self._not_comparable,
            left_out_nanos=self._left_out,
            cache_saved_nanos=divide_half_even(self._cache_millionths, TOKENS_PER_RATE),
        )


def listed_millionths(tier: PriceTier, tokens: ComparedTokens) -> int | None:
    """What tokens cost, in millionths of a nano; None: the tier lacks a rate they need. As `charge_nanos` counts."""
    input_rate, output_rate = tier.input_nanos_per_million, tier.output_nanos_per_million
    if (input_rate is None and tokens.input_tokens) or (output_rate is None and tokens.output_tokens):
        return None
    input_rate, output_rate = input_rate or 0, output_rate or 0
    cached_rate = tier.cache_read_nanos_per_million
    reasoning_rate = tier.reasoning_nanos_per_million
    return (
        max(tokens.input_tokens - tokens.cache_read_tokens, 0) * input_rate
        + tokens.cache_read_tokens * (input_rate if cached_rate is None else cached_rate)
        + max(tokens.output_tokens - tokens.reasoning_tokens, 0) * output_rate
        + tokens.reasoning_tokens * (output_rate if reasoning_rate is None else reasoning_rate)
        + tokens.requests * tier.request_nanos * TOKENS_PER_RATE
    )


def cache_millionths(tier: PriceTier, tokens: ComparedTokens) -> int:
    """What tokens read from a cache would have cost in addition without it, in millionths of a nano."""
    plain, cached = tier.input_nanos_per_million, tier.cache_read_nanos_per_million
    if plain is None or cached is None:
        return 0
    return tokens.cache_read_tokens * (plain - cached)
