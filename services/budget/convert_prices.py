"""Prices between the contract's messages and ours."""

from google.protobuf.descriptor import FieldDescriptor

from services.budget.convert_entities import from_pb_timestamp, to_pb_timestamp
from services.budget.domain.checks import Checks
from services.budget.domain.price_book import StoredPrice
from services.budget.domain.windows import EPOCH
from services.kernel.money import AMOUNT_NANOS_MAX
from services.kernel.pricing import ModelPrice, PriceTier
from turnpike.budget.v1 import budget_pb2
from turnpike.common.v1 import price_pb2 as pb

TIERS_MAX = 16
SOURCE_LENGTH_MAX = 300
CURRENCY = "USD"

_RATES: tuple[FieldDescriptor, ...] = tuple(pb.PriceTier.DESCRIPTOR.fields)


def from_pb_price(checks: Checks, path: str, price: pb.ModelPrice) -> ModelPrice | None:
    """A price; None if anything is wrong with it, which is noted."""
    wrong = len(checks.found)
    model = checks.model(f"{path}.model", price.model)
    begin = from_pb_timestamp(
        checks,
        f"{path}.effective_from",
        price.effective_from if price.HasField("effective_from") else None,
    )
    end = from_pb_timestamp(
        checks,
        f"{path}.effective_until",
        price.effective_until if price.HasField("effective_until") else None,
    )
    if (
        end is not None
    ):  # without a beginning it holds from the epoch on, or from now, which is looked at when it is set
        checks.require((begin or EPOCH) < end, f"{path}.effective_until", "must be later than effective_from")
    checks.require(
        price.currency_code in ("", CURRENCY), f"{path}.currency_code", "must be USD: no other is accepted"
    )
    checks.require(
        len(price.source) <= SOURCE_LENGTH_MAX,
        f"{path}.source",
        f"has more than {SOURCE_LENGTH_MAX} characters",
    )
    checks.require(0 < len(price.tiers) <= TIERS_MAX, f"{path}.tiers", f"must be 1 to {TIERS_MAX}")
    above = -1
    for index, tier in enumerate(price.tiers):
        here = f"{path}.tiers[{index}]"
        for rate in _RATES:
            value = getattr(tier, rate.name)
            good = 0 <= value <= AMOUNT_NANOS_MAX
            checks.require(good, f"{here}.{rate.name}", f"must be 0 to {AMOUNT_NANOS_MAX}")
        checks.require(
            tier.HasField("input_nanos_per_million"), f"{here}.input_nanos_per_million", "is required"
        )
        rises = tier.input_tokens_above > above if index else tier.input_tokens_above == 0
        checks.require(rises, f"{here}.input_tokens_above", "must be 0 in the first tier and rise")
        above = tier.input_tokens_above
    if len(checks.found) > wrong:
        return None
    return ModelPrice(
        model=model,
        tiers=tuple(_tier(tier) for tier in price.tiers),
        effective_from=begin,
        effective_until=end,
        source=price.source,
    )


def _tier(tier: pb.PriceTier) -> PriceTier:
    return PriceTier(**{rate.name: value for rate, value in tier.ListFields()})


def to_pb_price(price: ModelPrice) -> pb.ModelPrice:
    """A price on the wire."""
    message = pb.ModelPrice(model=price.model, currency_code=CURRENCY, source=price.source)
    if price.effective_from is not None:
        message.effective_from.CopyFrom(to_pb_timestamp(price.effective_from))
    if price.effective_until is not None:
        message.effective_until.CopyFrom(to_pb_timestamp(price.effective_until))
    for tier in price.tiers:
        known = {rate.name: getattr(tier, rate.name) for rate in _RATES}
        message.tiers.add(**{name: value for name, value in known.items() if value is not None})
    return message


def to_pb_price_entry(stored: StoredPrice) -> budget_pb2.PriceBookEntry:
    """A price of the book on the wire."""
    return budget_pb2.PriceBookEntry(
        price=to_pb_price(stored.price),
        organisation_id=stored.organisation_id or "",
        revision=stored.revision,
    )
