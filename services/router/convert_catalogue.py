"""Reads models and the health of endpoints from the providers service, prices and keys from the budget service."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.pricing import ModelPrice, PriceTier
from services.router.domain.catalogue import (
    Capability,
    Compliance,
    EndpointFacts,
    Health,
    Lifecycle,
    ModelFacts,
    ModelKind,
)
from turnpike.common.v1 import price_pb2
from turnpike.providers.v1 import catalogue_pb2, providers_pb2

_KINDS = {
    catalogue_pb2.MODEL_KIND_CHAT: ModelKind.CHAT,
    catalogue_pb2.MODEL_KIND_EMBEDDING: ModelKind.EMBEDDING,
}
_STAGES = {
    catalogue_pb2.LIFECYCLE_STAGE_PREVIEW: Lifecycle.PREVIEW,
    catalogue_pb2.LIFECYCLE_STAGE_DEPRECATED: Lifecycle.DEPRECATED,
    catalogue_pb2.LIFECYCLE_STAGE_RETIRED: Lifecycle.RETIRED,
}
_HEALTH = {
    providers_pb2.ENDPOINT_STATE_HEALTHY: Health.HEALTHY,
    providers_pb2.ENDPOINT_STATE_DEGRADED: Health.DEGRADED,
    providers_pb2.ENDPOINT_STATE_DOWN: Health.DOWN,
    providers_pb2.ENDPOINT_STATE_RESTING: Health.RESTING,
}


def from_pb_model(model: catalogue_pb2.Model) -> ModelFacts:
    """A model of the catalogue. A fact without source and date counts as unknown."""
    limits, lifecycle = model.limits, model.lifecycle
    return ModelFacts(
        model=model.model,
        display_name=model.display_name,
        kind=_KINDS.get(model.kind, ModelKind.UNKNOWN),
        context_tokens_max=limits.context_tokens_max if limits.HasField("context_tokens_max") else None,
        input_tokens_max=limits.input_tokens_max if limits.HasField("input_tokens_max") else None,
        output_tokens_max=limits.output_tokens_max if limits.HasField("output_tokens_max") else None,
        images_max=limits.images_max if limits.HasField("images_max") else None,
        capabilities=_capabilities(model.capabilities),
        refused_parameters=frozenset(model.capabilities.refused_parameters),
        reasoning_efforts=frozenset(model.capabilities.reasoning_efforts),
        languages=frozenset(model.capabilities.languages),
        compliance=_compliance(model.compliance),
        lifecycle=_STAGES.get(lifecycle.stage, Lifecycle.ACTIVE),
        retires_at_s=lifecycle.retires_at.ToNanoseconds() / 1e9 if lifecycle.HasField("retires_at") else None,
        successor=lifecycle.successor,
        quality_priors={
            task: quality for task, quality in model.quality_priors.items() if math.isfinite(quality)
        },
        groups=frozenset(model.groups),
        tokenizer=model.tokenizer,
        endpoints=tuple(
            EndpointFacts(
                endpoint.endpoint_id, endpoint.region, endpoint.weight if endpoint.HasField("weight") else 1.0
            )
            for endpoint in model.endpoints
        ),
    )


def _capabilities(given: catalogue_pb2.ModelCapabilities) -> Capability:
    found = Capability(0)
    for capability in Capability:
        if given.HasField(capability.spelling) and getattr(given, capability.spelling):  # type: ignore[arg-type]
            found |= capability
    return found


def _proven(fact: catalogue_pb2.SourcedFact) -> str | None:
    return fact.value if fact.value and fact.source and fact.HasField("checked_at") else None


def _compliance(given: catalogue_pb2.ModelCompliance) -> Compliance:
    days = _proven(given.retention_days)
    trains = _proven(given.trains_on_data)
    return Compliance(
        regions=_all_proven(given.regions),
        retention_days=int(days) if days is not None and days.isdigit() else None,
        trains_on_data={"true": True, "false": False}.get(trains or ""),
        certifications=frozenset(
            value for fact in given.certifications if (value := _proven(fact)) is not None
        ),
    )


def _all_proven(facts: Iterable[catalogue_pb2.SourcedFact]) -> frozenset[str]:
    # One region that is not proven leaves open where data goes: then nothing is known.
    values = [_proven(fact) for fact in facts]
    return frozenset(value for value in values if value is not None) if None not in values else frozenset()


def from_pb_health(health: providers_pb2.EndpointHealth) -> tuple[Health, str, float | None]:
    """(health, finding for people, Unix seconds until which it rests or None)."""
    retry_at = health.retry_at.ToNanoseconds() / 1e9 if health.HasField("retry_at") else None
    return _HEALTH.get(health.state, Health.UNKNOWN), health.message, retry_at


def from_pb_price(price: price_pb2.ModelPrice) -> ModelPrice:
    """A price; raises ValueError if its tiers make none."""
    return ModelPrice(
        price.model,
        tuple(_tier(tier) for tier in price.tiers),
        moment(price.effective_from) if price.HasField("effective_from") else None,
        moment(price.effective_until) if price.HasField("effective_until") else None,
        price.source,
    )


_RATES = tuple(name for name in PriceTier.__slots__ if name not in ("input_tokens_above", "request_nanos"))


def _tier(tier: price_pb2.PriceTier) -> PriceTier:
    rates = {name: getattr(tier, name) if tier.HasField(name) else None for name in _RATES}  # type: ignore[arg-type]
    return PriceTier(
        input_tokens_above=tier.input_tokens_above,
        request_nanos=tier.request_nanos if tier.HasField("request_nanos") else 0,
        **rates,
    )


def moment(at: Timestamp) -> datetime:
    """The moment, in UTC, to the microsecond."""
    return datetime.fromtimestamp(at.seconds, UTC).replace(microsecond=at.nanos // 1000)
