"""Between the catalogue's values and the messages of turnpike.providers.v1."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.model_ref import ModelRef
from services.kernel.pricing import ModelPrice, PriceTier
from services.providers.domain.catalogue import (
    CAPABILITIES,
    Capabilities,
    CatalogueModel,
    Compliance,
    Lifecycle,
    LifecycleStage,
    Limits,
    ModelKind,
    SourcedFact,
)
from turnpike.common.v1 import price_pb2
from turnpike.providers.v1 import catalogue_pb2 as pb

_KINDS: Final = {
    ModelKind.CHAT: pb.MODEL_KIND_CHAT,
    ModelKind.EMBEDDING: pb.MODEL_KIND_EMBEDDING,
}
_STAGES: Final = {
    LifecycleStage.PREVIEW: pb.LIFECYCLE_STAGE_PREVIEW,
    LifecycleStage.ACTIVE: pb.LIFECYCLE_STAGE_ACTIVE,
    LifecycleStage.DEPRECATED: pb.LIFECYCLE_STAGE_DEPRECATED,
    LifecycleStage.RETIRED: pb.LIFECYCLE_STAGE_RETIRED,
}
_KIND_OF: Final = {value: kind for kind, value in _KINDS.items()}
_STAGE_OF: Final = {value: stage for stage, value in _STAGES.items()}
_LIMITS: Final = ("context_tokens_max", "input_tokens_max", "output_tokens_max", "images_max")
_RATES: Final = tuple(
    name for name in PriceTier.__slots__ if name not in ("input_tokens_above", "request_nanos")
)
OVERRIDABLE: Final = frozenset(
    (
        "display_name",
        "limits",
        "capabilities",
        "list_prices",
        "compliance",
        "lifecycle",
        "quality_priors",
        "groups",
        "tokenizer",
    )
)
"""Facts an override may replace. A model's name, kind and endpoints are not among them."""


def to_pb_model(model: CatalogueModel, moment: datetime, endpoints: Iterable[pb.Endpoint] = ()) -> pb.Model:
    """The model as it stands at `moment`, which decides its stage, with the endpoints it is usable at."""
    message = pb.Model(
        model=model.name,
        display_name=model.display_name,
        kind=_KINDS[model.kind],
        list_prices=(to_pb_price(price) for price in model.prices),
        compliance=_to_pb_compliance(model.compliance),
        quality_priors=model.quality_priors,
        endpoints=endpoints,
        groups=model.groups,
        tokenizer=model.tokenizer,
    )
    for name in _LIMITS:
        if (limit := getattr(model.limits, name)) is not None:
            setattr(message.limits, name, limit)
    for name in CAPABILITIES:
        if (fact := getattr(model.capabilities, name)) is not None:
            setattr(message.capabilities, name, fact)
    message.capabilities.refused_parameters.extend(sorted(model.refused_parameters))
    message.capabilities.reasoning_efforts.extend(model.reasoning_efforts)
    message.capabilities.languages.extend(model.languages)
    life = model.lifecycle
    message.lifecycle.stage = _STAGES[model.stage_at(moment)]
    message.lifecycle.successor = life.successor
    if life.retires_on is not None:
        message.lifecycle.retires_at.CopyFrom(_to_pb_day(life.retires_on))
    if life.released_on is not None:
        message.lifecycle.released_at.CopyFrom(_to_pb_day(life.released_on))
    return message


def to_pb_price(price: ModelPrice) -> price_pb2.ModelPrice:
    """The price; absent dates stay absent: it then holds from ever, or until the next."""
    message = price_pb2.ModelPrice(model=price.model, currency_code="USD", source=price.source)
    if price.effective_from is not None:
        message.effective_from.FromDatetime(price.effective_from)
    if price.effective_until is not None:
        message.effective_until.FromDatetime(price.effective_until)
    for tier in price.tiers:
        entry = message.tiers.add(input_tokens_above=tier.input_tokens_above)
        if tier.request_nanos:
            entry.request_nanos = tier.request_nanos
        for name in _RATES:
            if (rate := getattr(tier, name)) is not None:
                setattr(entry, name, rate)
    return message


def from_pb_price(message: price_pb2.ModelPrice, model: str) -> ModelPrice:
    """The price of `model`; raises ValueError for tiers, rates or a currency that cannot be."""
    if message.currency_code not in ("", "USD"):
        raise ValueError(f"prices are in USD, not {message.currency_code}")
    tiers = tuple(
        PriceTier(
            input_tokens_above=entry.input_tokens_above,
            request_nanos=entry.request_nanos,
            **{name: getattr(entry, name) for name in _RATES if entry.HasField(name)},  # type: ignore[arg-type]
        )
        for entry in message.tiers
    )
    return ModelPrice(
        model=model,
        tiers=tiers,
        effective_from=_moment(message, "effective_from"),
        effective_until=_moment(message, "effective_until"),
        source=message.source,
    )


def with_override(
    model: CatalogueModel, message: pb.Model, mask: FieldMask, moment: datetime
) -> CatalogueModel:
    """`model` with the facts that `mask` names taken from `message`.

    A fact that is masked and absent becomes unknown. Raises ValueError for a path that may not be replaced or a value
    that cannot be.
    """
    for path in mask.paths:
        if path.split(".")[0] not in OVERRIDABLE:
            raise ValueError(f"{path} cannot be overridden; possible are {', '.join(sorted(OVERRIDABLE))}")
    known = to_pb_model(model, moment)
    # MergeMessage keeps a message of `known` where the override has none, and so would never make a fact unknown.
    for path in mask.paths:
        outer, _, inner = path.partition(".")
        if not inner:
            known.ClearField(outer)  # type: ignore[arg-type]  # a name out of OVERRIDABLE
    mask.MergeMessage(message, known, replace_message_field=True, replace_repeated_field=True)
    return from_pb_model(known, model)


def from_pb_model(message: pb.Model, known: CatalogueModel) -> CatalogueModel:
    """The message's facts; what it has no field for stays as in `known`. Raises ValueError for what cannot be."""
    limits, capabilities, life = message.limits, message.capabilities, message.lifecycle
    return CatalogueModel(
        ref=ModelRef.parse(message.model),
        kind=_KIND_OF.get(message.kind, known.kind),
        display_name=message.display_name,
        vendor_model=known.vendor_model,
        wire_formats=known.wire_formats,
        tokenizer=message.tokenizer,
        limits=Limits(**{name: getattr(limits, name) for name in _LIMITS if limits.HasField(name)}),
        capabilities=Capabilities(
            **{name: getattr(capabilities, name) for name in CAPABILITIES if capabilities.HasField(name)}  # type: ignore[arg-type]
        ),
        refused_parameters=frozenset(capabilities.refused_parameters),
        reasoning_efforts=tuple(capabilities.reasoning_efforts),
        languages=tuple(capabilities.languages),
        hints=known.hints,
        prices=tuple(from_pb_price(price, message.model) for price in message.list_prices),
        compliance=_from_pb_compliance(message.compliance),
        lifecycle=Lifecycle(
            stage=_STAGE_OF.get(life.stage, LifecycleStage.ACTIVE),
            released_on=_day(life.released_at) if life.HasField("released_at") else None,
            retires_on=_day(life.retires_at) if life.HasField("retires_at") else None,
            successor=life.successor,
        ),
        groups=tuple(message.groups),
        quality_priors=dict(message.quality_priors),
    )


def _to_pb_compliance(compliance: Compliance) -> pb.ModelCompliance:
    message = pb.ModelCompliance(
        regions=map(_to_pb_fact, compliance.regions),
        certifications=map(_to_pb_fact, compliance.certifications),
    )
    if compliance.retention_days is not None:
        message.retention_days.CopyFrom(_to_pb_fact(compliance.retention_days))
    if compliance.trains_on_data is not None:
        message.trains_on_data.CopyFrom(_to_pb_fact(compliance.trains_on_data))
    return message


def _to_pb_fact(fact: SourcedFact) -> pb.SourcedFact:
    return pb.SourcedFact(value=fact.value, source=fact.source, checked_at=_to_pb_day(fact.checked_on))


def _from_pb_compliance(message: pb.ModelCompliance) -> Compliance:
    return Compliance(
        regions=_proven(message.regions),
        retention_days=next(iter(_proven([message.retention_days])), None),
        trains_on_data=next(iter(_proven([message.trains_on_data])), None),
        certifications=_proven(message.certifications),
    )


def _proven(facts: Iterable[pb.SourcedFact]) -> tuple[SourcedFact, ...]:
    """Those with source and date; the others are unknown."""
    return tuple(
        SourcedFact(fact.value, fact.source, _day(fact.checked_at))
        for fact in facts
        if fact.value and fact.source and fact.HasField("checked_at")
    )


def _to_pb_day(day: date) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime(day.year, day.month, day.day, tzinfo=UTC))
    return stamp


def _day(stamp: Timestamp) -> date:
    return stamp.ToDatetime(tzinfo=UTC).date()


def _moment(message: price_pb2.ModelPrice, name: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)
