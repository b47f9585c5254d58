"""What the same tokens would have cost at a baseline's list prices, from sums of tokens by price.

A cost is linear in tokens within one tier of one price, so tokens are summed first and priced once: exact, and rounded
once for a group instead of once for a request.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.kernel.pricing import (
    TOKENS_PER_RATE,
    ModelPrice,
    PriceTier,
    divide_half_even,
)

ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
FOR_GOOD = datetime(9999, 12, 31, tzinfo=UTC)
TOKENS_UNBOUNDED = 2**62


@dataclass(frozen=True, slots=True)
class Rated:
    """One tier of one price, for the time it was in force: what a statement finds by model, time and input tokens."""

    model: str
    begins: datetime
    ends: datetime
    above: int
    """It is for more input tokens than this; -1 in a base tier."""
    up_to: int
    tier: PriceTier


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


def rated(prices: Sequence[ModelPrice]) -> list[Rated]:
    """The tiers of list prices as they were in force: of each model's, the later to begin ends the one before it.

    `prices` of a model that begin together count in their order: the last is the one that holds.
    """
    by_model: dict[str, list[ModelPrice]] = {}
    for price in sorted(prices, key=lambda price: price.effective_from or ALWAYS):
        by_model.setdefault(price.model, []).append(price)
    return [
        Rated(span.model, span.effective_from or ALWAYS, span.effective_until or FOR_GOOD, above, up_to, tier)
        for dated in by_model.values()
        for span in _spans(dated)
        for above, up_to, tier in _tiers(span)
    ]


def _spans(dated: Sequence[ModelPrice]) -> list[ModelPrice]:
    """One model's prices, by their beginning, each cut to the times at which it is the one that holds."""
    edges = sorted(
        {price.effective_from or ALWAYS for price in dated}
        | {price.effective_until for price in dated if price.effective_until is not None}
        | {FOR_GOOD}
    )
    found = []
    for begins, ends in itertools.pairwise(edges):
        holding = [
            price
            for price in dated
            if (price.effective_from or ALWAYS) <= begins
            and (price.effective_until is None or begins < price.effective_until)
        ]
        if holding:
            found.append(replace(holding[-1], effective_from=begins, effective_until=ends))
    return found


def _tiers(price: ModelPrice) -> list[tuple[int, int, PriceTier]]:
    bounds = [-1, *(tier.input_tokens_above for tier in price.tiers[1:]), TOKENS_UNBOUNDED]
    return [
        (above, up_to, tier)
        for (above, up_to), tier in zip(itertools.pairwise(bounds), price.tiers, strict=True)
    ]
