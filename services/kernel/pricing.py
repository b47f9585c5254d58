"""What a model call costs: pure functions of a price and of what was, or at worst will be, consumed.

A rate is nano-USD per *million* tokens, so a cost is `sum(tokens x rate) / 1_000_000`: multiplied first and divided
once, half-even for charges (no drift in the sum of many) and up for holds (never too little set aside).

The meaning of the counts is that of turnpike.common.v1.Usage: inclusive, with None for what nobody knows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.kernel.money import AMOUNT_NANOS_MAX, MoneyOutOfRange

TOKENS_PER_RATE = 1_000_000
"""Rates are per this many tokens."""

TOKENS_MAX = 2**40
"""More tokens than any call has: what is above it is refused as a mistake before it is multiplied."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call consumed, in tokens; None is unknown, which is not zero. Parts are contained in their totals."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_long_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    billed_tool_calls: int | None = None
    unbilled_input_tokens: int | None = None
    """Read, and not billed. None: all is billed."""
    unbilled_output_tokens: int | None = None
    """Produced, and not billed. None: all is billed."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            count = getattr(self, name)
            if count is not None and (type(count) is not int or not 0 <= count <= TOKENS_MAX):
                raise ValueError(f"{name} is not a count between 0 and {TOKENS_MAX}: {count!r}")

    @property
    def total_tokens(self) -> int | None:
        """Input and output together, as budgets in tokens count; None if either is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class PriceTier:
    """The rates of one tier in nano-USD per million tokens; None falls back as the field says."""

    input_tokens_above: int = 0
    """The tier applies to requests with more input tokens than this."""
    input_nanos_per_million: int | None = None
    """Input that was not cached. None: the model has no known price for input."""
    output_nanos_per_million: int | None = None
    """Output. None: no known price for output."""
    cache_read_nanos_per_million: int | None = None
    """None: as input."""
    cache_write_nanos_per_million: int | None = None
    """None: as input."""
    cache_write_long_nanos_per_million: int | None = None
    """None: as the short-lived cache's."""
    reasoning_nanos_per_million: int | None = None
    """None: as output."""
    input_audio_nanos_per_million: int | None = None
    """None: as input."""
    output_audio_nanos_per_million: int | None = None
    """None: as output."""
    input_image_nanos_per_million: int | None = None
    """None: as input."""
    request_nanos: int = 0
    """Per request, whatever its size."""
    tool_call_nanos: int | None = None
    """Per billed server-side tool call. None: no known price."""
    batch_input_nanos_per_million: int | None = None
    """Input in the vendor's batch mode. None: not offered."""
    batch_output_nanos_per_million: int | None = None
    """Output in the vendor's batch mode. None: not offered."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            rate = getattr(self, name)
            if rate is not None and (type(rate) is not int or not 0 <= rate <= AMOUNT_NANOS_MAX):
                raise ValueError(f"{name} is not a rate between 0 and {AMOUNT_NANOS_MAX}: {rate!r}")


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs from a date on."""

    model: str
    """`provider/model`."""
    tiers: tuple[PriceTier, ...]
    """By `input_tokens_above`, rising; the first has 0."""
    effective_from: datetime | None = None
    """None: always."""
    effective_until: datetime | None = None
    """None: until the next price of the model."""
    source: str = ""

    def __post_init__(self) -> None:
        bounds = [tier.input_tokens_above for tier in self.tiers]
        if not bounds or bounds[0] != 0 or bounds != sorted(set(bounds)):
            raise ValueError("the tiers of a price begin at 0 input tokens and rise")

    def tier_for(self, input_tokens: int) -> PriceTier:
        """The tier with the highest bound that the request exceeds; it applies to the whole request."""
        for tier in reversed(self.tiers):
            if input_tokens > tier.input_tokens_above:
                return tier
        return self.tiers[0]


class RateUnknown(ValueError):
    """The price lacks a rate that the usage needs; such a cost is unknown, not zero."""

    def __init__(self, model: str, rate: str) -> None:
        super().__init__(f"{model} has no known {rate}")
        self.model = model
        self.rate = rate


def charge_nanos(price: ModelPrice, usage: Usage, *, batch: bool = False) -> int | None:
    """What `usage` costs, in nano-USD, rounded half-even. None: the usage lacks its input or its output.

    A part the vendor did not report counts at its total's rate. What it does not bill is taken for what it read from
    its cache first: what Cohere leaves out is its own prompt, the same in every call. Parts that together exceed their
    total (a vendor that counts cached audio twice) are charged each at its own rate and the rest is nothing. Raises
    RateUnknown, or MoneyOutOfRange for an amount no budget can hold.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    tier = price.tier_for(usage.input_tokens)
    input_rate, output_rate = _main_rates(price, tier, usage.input_tokens, usage.output_tokens, batch=batch)
    cache_write = _or(tier.cache_write_nanos_per_million, input_rate)
    unbilled_input = usage.unbilled_input_tokens or 0
    billed_input = max(usage.input_tokens - unbilled_input, 0)
    billed_output = max(usage.output_tokens - (usage.unbilled_output_tokens or 0), 0)
    parts_of_input: tuple[tuple[int, int], ...] = (
        (
            max((usage.cache_read_tokens or 0) - unbilled_input, 0),
            _or(tier.cache_read_nanos_per_million, input_rate),
        ),
        (usage.cache_write_tokens or 0, cache_write),
        (usage.cache_write_long_tokens or 0, _or(tier.cache_write_long_nanos_per_million, cache_write)),
        (usage.input_audio_tokens or 0, _or(tier.input_audio_nanos_per_million, input_rate)),
        (usage.input_image_tokens or 0, _or(tier.input_image_nanos_per_million, input_rate)),
    )
    parts_of_output: tuple[tuple[int, int], ...] = (
        (min(usage.reasoning_tokens or 0, billed_output), _or(tier.reasoning_nanos_per_million, output_rate)),
        (usage.output_audio_tokens or 0, _or(tier.output_audio_nanos_per_million, output_rate)),
    )
    if batch:  # A vendor's batch rate is the whole offer: it has no parts of its own.
        parts_of_input = parts_of_output = ()
    millionths = _with_rest(billed_input, input_rate, parts_of_input)
    millionths += _with_rest(billed_output, output_rate, parts_of_output)
    millionths += TOKENS_PER_RATE * _per_piece(price, tier, usage.billed_tool_calls or 0)
    return _in_range(divide_half_even(millionths, TOKENS_PER_RATE))


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a request can become at worst: what its worst case is computed from."""

    input_tokens_bound: int
    """Upper bound of the input tokens, however the vendor counts."""
    output_tokens_cap: int
    """Output cap of one choice, reasoning included: the cap that is sent to the vendor."""
    choices: int = 1
    """How many answers are asked for (`n`)."""
    tool_calls_max: int = 0
    """Upper bound of server-side tool calls the vendor bills by the piece."""
    cache_writes: bool = True
    """False if the request cannot write to the vendor's prompt cache."""
    cache_writes_long: bool = True
    """False if it cannot write to the long-lived one."""
    audio_input: bool = True
    """False if no part of the input is audio."""
    image_input: bool = True
    """False if no part of the input is an image."""
    audio_output: bool = True
    """False if the answer has no audio."""

    def __post_init__(self) -> None:
        for name in ("input_tokens_bound", "output_tokens_cap", "choices", "tool_calls_max"):
            count = getattr(self, name)
            if type(count) is not int or not 0 <= count <= TOKENS_MAX:
                raise ValueError(f"{name} is not a count between 0 and {TOKENS_MAX}: {count!r}")


class WorstCases:
    """`worst_case_nanos` of requests at one price that differ in size alone: their rates are looked up once."""

    __slots__ = ("_flat", "_model", "_tiers")

    def __init__(self, price: ModelPrice, like: Extent) -> None:
        """`like` says what such requests may consist of; its input bound and output cap do not matter."""
        self._model = price.model
        self._tiers = tuple(
            (
                tier.input_tokens_above,
                None if tier.input_nanos_per_million is None else max(_input_rates(tier, like)),
                None if tier.output_nanos_per_million is None else max(_output_rates(tier, like)),
                None
                if like.tool_calls_max and tier.tool_call_nanos is None
                else TOKENS_PER_RATE * _per_piece(price, tier, like.tool_calls_max),
            )
            for tier in price.tiers
        )
        self._flat: tuple[int, int, int] | None = None
        """Rates of input and output, and what a request costs in any case, where there is one tier and all is known."""
        if len(self._tiers) == 1:
            above, input_rate, output_rate, millionths = self._tiers[0]
            if not above and input_rate is not None and output_rate is not None and millionths is not None:
                self._flat = (input_rate, output_rate, millionths)

    def nanos(self, input_tokens_bound: int, output_tokens: int) -> int:
        """The worst case for so many tokens, those of all choices together. Raises RateUnknown or MoneyOutOfRange."""
        if self._flat is not None:
            per_input, per_output, per_request = self._flat
            flat = per_request + input_tokens_bound * per_input + output_tokens * per_output
            return _in_range(divide_up(flat, TOKENS_PER_RATE))
        worst = 0
        for above, input_rate, output_rate, millionths in self._tiers:
            if above and input_tokens_bound <= above:
                break
            if input_rate is None and input_tokens_bound:
                raise RateUnknown(self._model, "input rate")
            if output_rate is None and output_tokens:
                raise RateUnknown(self._model, "output rate")
            if millionths is None:
                raise RateUnknown(self._model, "price of a server-side tool call")
            millionths += input_tokens_bound * (input_rate or 0) + output_tokens * (output_rate or 0)
            worst = max(worst, millionths)
        return _in_range(divide_up(worst, TOKENS_PER_RATE))


def worst_case_nanos(price: ModelPrice, extent: Extent) -> int:
    """What a request costs at most, in nano-USD, rounded up: the amount of its hold.

    The dearest of every tier the request can reach (a bound above a tier's edge does not mean the request will be),
    with every input token at the dearest input rate it may have and every output token likewise; so no usage within
    the extent is charged more (tests/property/kernel/test_pricing.py). Raises RateUnknown or MoneyOutOfRange.
    """
    return WorstCases(price, extent).nanos(
        extent.input_tokens_bound, extent.output_tokens_cap * extent.choices
    )


def discounted(price: ModelPrice, discount_ppm: int) -> ModelPrice:
    """`price` less so many parts per million of every rate; each rate is rounded up, so a discount never favours us.

    Applied to the rates and not to charges, so that what is held and what is charged agree.
    """
    if type(discount_ppm) is not int or not 0 <= discount_ppm <= 1_000_000:
        raise ValueError("a discount is 0 to 1_000_000 parts per million")
    if discount_ppm == 0:
        return price
    kept_ppm = 1_000_000 - discount_ppm
    tiers = []
    for tier in price.tiers:
        rates = {name: getattr(tier, name) for name in PriceTier.__slots__ if name != "input_tokens_above"}
        kept: dict[str, Any] = {
            name: None if rate is None else divide_up(rate * kept_ppm, 1_000_000)
            for name, rate in rates.items()
        }
        tiers.append(replace(tier, **kept))
    return replace(price, tiers=tuple(tiers))


def divide_half_even(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest whole number, ties to the even one. `denominator` is positive."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))


def divide_up(numerator: int, denominator: int) -> int:
    """The quotient rounded towards plus infinity. `denominator` is positive."""
    return -(-numerator // denominator)


def _or(rate: int | None, otherwise: int) -> int:
    return otherwise if rate is None else rate


def _main_rates(
    price: ModelPrice, tier: PriceTier, input_tokens: int, output_tokens: int, *, batch: bool
) -> tuple[int, int]:
    """The rates of plain input and output; an absent one is unknown, unless nothing is counted by it."""
    input_rate = tier.batch_input_nanos_per_million if batch else tier.input_nanos_per_million
    output_rate = tier.batch_output_nanos_per_million if batch else tier.output_nanos_per_million
    if input_rate is None and input_tokens:
        raise RateUnknown(price.model, "input rate")
    if output_rate is None and output_tokens:
        raise RateUnknown(price.model, "output rate")
    return input_rate or 0, output_rate or 0


def _with_rest(total: int, rate: int, parts: tuple[tuple[int, int], ...]) -> int:
    rest = total - sum(tokens for tokens, _ in parts)
    return max(rest, 0) * rate + sum(tokens * part_rate for tokens, part_rate in parts)


def _per_piece(price: ModelPrice, tier: PriceTier, tool_calls: int) -> int:
    if tool_calls and tier.tool_call_nanos is None:
        raise RateUnknown(price.model, "price of a server-side tool call")
    return tier.request_nanos + tool_calls * (tier.tool_call_nanos or 0)


def _input_rates(tier: PriceTier, extent: Extent) -> Iterator[int]:
    plain = tier.input_nanos_per_million or 0
    yield plain
    yield _or(tier.cache_read_nanos_per_million, plain)
    if extent.cache_writes or extent.cache_writes_long:
        yield _or(tier.cache_write_nanos_per_million, plain)
    if extent.cache_writes_long:
        yield _or(tier.cache_write_long_nanos_per_million, plain)
    if extent.audio_input:
        yield _or(tier.input_audio_nanos_per_million, plain)
    if extent.image_input:
        yield _or(tier.input_image_nanos_per_million, plain)


def _output_rates(tier: PriceTier, extent: Extent) -> Iterator[int]:
    plain = tier.output_nanos_per_million or 0
    yield plain
    yield _or(tier.reasoning_nanos_per_million, plain)
    if extent.audio_output:
        yield _or(tier.output_audio_nanos_per_million, plain)


def _in_range(nanos: int) -> int:
    if nanos > AMOUNT_NANOS_MAX:
        raise MoneyOutOfRange(f"{nanos} nanos are more than any budget holds")
    return nanos
