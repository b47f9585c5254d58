"""What is known of each model, as frozen values: prices, limits, capabilities, compliance, life.

Unknown is not false: an absent capability satisfies no request that needs it, an absent compliance fact no policy, and
an absent price refuses. Facts come from files (adapters/catalogue), are checked together at the start, and may be
replaced for all or for one organisation.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from services.kernel.model_ref import ModelRef
from services.kernel.pricing import ModelPrice
from services.providers.domain.profile import ModelProfile

WARN_AHEAD: Final = timedelta(days=90)
"""How long before its end a model is spoken of as leaving."""


class ModelKind(StrEnum):
    """What a model does."""

    CHAT = "chat"
    EMBEDDING = "embedding"


class LifecycleStage(StrEnum):
    """Where a model is in its life."""

    PREVIEW = "preview"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class SourcedFact:
    """A statement with its proof; without source and date it is not made at all."""

    value: str
    source: str
    checked_on: date


@dataclass(frozen=True, slots=True)
class Compliance:
    """What is known of how the vendor treats data; what is absent is unknown."""

    regions: tuple[SourcedFact, ...] = ()
    retention_days: SourcedFact | None = None
    trains_on_data: SourcedFact | None = None
    certifications: tuple[SourcedFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a model takes, in tokens; None is unknown."""

    context_tokens_max: int | None = None
    """Input and output together."""
    input_tokens_max: int | None = None
    """Input alone. None: only the context limits it."""
    output_tokens_max: int | None = None
    """Reasoning included."""
    images_max: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do. None is unknown and satisfies no request that needs it."""

    streaming: bool | None = None
    tools: bool | None = None
    parallel_tools: bool | None = None
    tool_choice: bool | None = None
    json_schema: bool | None = None
    json_object: bool | None = None
    reasoning: bool | None = None
    image_input: bool | None = None
    audio_input: bool | None = None
    audio_output: bool | None = None
    file_input: bool | None = None
    prompt_cache: bool | None = None
    system_messages: bool | None = None
    multiple_choices: bool | None = None
    logprobs: bool | None = None


CAPABILITIES: Final = tuple(item.name for item in fields(Capabilities))


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A model's life. The stage at a moment also depends on the dates: ask `CatalogueModel.stage_at`."""

    stage: LifecycleStage = LifecycleStage.ACTIVE
    released_on: date | None = None
    retires_on: date | None = None
    successor: str = ""
    """`provider/model`. Empty: none is recommended."""


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model of one provider."""

    ref: ModelRef
    kind: ModelKind = ModelKind.CHAT
    display_name: str = ""
    vendor_model: str = ""
    """Name at the vendor, where it differs from the reference's."""
    wire_formats: tuple[str, ...] = ()
    """What it is spoken to in, the preferred one first. Empty: the vendor's default."""
    tokenizer: str = "bytes"
    """A profile of services/tokens."""
    limits: Limits = Limits()
    capabilities: Capabilities = Capabilities()
    refused_parameters: frozenset[str] = frozenset()
    """Names of GenerationInput's fields the vendor refuses for it, such as `temperature`."""
    reasoning_efforts: tuple[str, ...] = ()
    """As the vendor spells them, from least to most. Empty: unknown, or none can be chosen."""
    languages: tuple[str, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    """Further facts for the wire format, such as `thinking: adaptive`."""
    prices: tuple[ModelPrice, ...] = ()
    """List prices, oldest first. Empty: no known price, so it is refused."""
    compliance: Compliance = Compliance()
    lifecycle: Lifecycle = Lifecycle()
    groups: tuple[str, ...] = ()
    quality_priors: Mapping[str, float] = field(default_factory=dict)
    """Expected quality per task, 0 to 1; an absent task is unknown."""

    @property
    def name(self) -> str:
        """`provider/model`."""
        return str(self.ref)

    def price_at(self, moment: datetime) -> ModelPrice | None:
        """The list price in force at `moment`; None if none is known. The latest that had begun wins."""
        for price in reversed(self.prices):
            begun = price.effective_from is None or price.effective_from <= moment
            if begun and (price.effective_until is None or moment < price.effective_until):
                return price
        return None

    def stage_at(self, moment: datetime) -> LifecycleStage:
        """Where it is: retired from its day on, deprecated as soon as that day is known."""
        life = self.lifecycle
        if life.stage is LifecycleStage.RETIRED:
            return life.stage
        if life.retires_on is not None:
            gone = life.retires_on <= moment.date()
            return LifecycleStage.RETIRED if gone else LifecycleStage.DEPRECATED
        return life.stage

    def leaves_soon(self, moment: datetime) -> bool:
        """True within WARN_AHEAD before its end, when those who use it should hear of it."""
        retires_on = self.lifecycle.retires_on
        return retires_on is not None and moment.date() < retires_on <= (moment + WARN_AHEAD).date()

    def profile(self) -> ModelProfile:
        """The part a wire format must know."""
        return ModelProfile(
            model=self.name,
            refused_parameters=self.refused_parameters,
            reasoning=self.capabilities.reasoning,
            reasoning_efforts=self.reasoning_efforts,
            output_tokens_max=self.limits.output_tokens_max,
            hints=self.hints,
        )


class CatalogueInvalid(ValueError):
    """The catalogue cannot be used; `problems` has all of them, each with its place."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the catalogue is invalid:\n  " + "\n  ".join(self.problems))


class Catalogue:
    """Every model, by name, with what replaces it for an organisation. Immutable: a change makes a new one."""

    __slots__ = ("_models", "_overrides", "revision")

    def __init__(
        self,
        models: Iterable[CatalogueModel],
        overrides: Mapping[str, Mapping[ModelRef, CatalogueModel]] | None = None,
        revision: int = 1,
    ) -> None:
        """`overrides` are whole models by organisation; those under the empty name hold for all.

        Raises CatalogueInvalid with everything that is wrong.
        """
        listed = list(models)
        self._models = {model.ref: model for model in sorted(listed, key=lambda model: model.ref)}
        self._overrides = {organisation: dict(changed) for organisation, changed in (overrides or {}).items()}
        self.revision = revision
        """Grows with every change."""
        problems = list(_duplicates(listed))
        for model in listed:
            problems += (f"{model.name}: {problem}" for problem in self._problems_of(model))
        if problems:
            raise CatalogueInvalid(problems)

    def _problems_of(self, model: CatalogueModel) -> Iterator[str]:
        successor = model.lifecycle.successor
        if successor and self._by_name(successor) is None:
            yield f"its successor {successor} is not in the catalogue"
        if successor == model.name:
            yield "it is its own successor"
        for earlier, later in zip(model.prices, model.prices[1:], strict=False):
            if later.effective_from is None or (
                earlier.effective_from is not None and later.effective_from <= earlier.effective_from
            ):
                yield "its prices are not in the order of their dates"
        for price in model.prices:
            if price.model != model.name:
                yield f"has a price of {price.model}"
            for tier in price.tiers:
                if tier.input_nanos_per_million is None:
                    yield f"the price tier above {tier.input_tokens_above} tokens has no input rate"
                if model.kind is ModelKind.CHAT and tier.output_nanos_per_million is None:
                    yield f"the price tier above {tier.input_tokens_above} tokens has no output rate"
        limits = model.limits
        if (
            limits.context_tokens_max is not None
            and (limits.input_tokens_max or 0) > limits.context_tokens_max
        ):
            yield "takes more input than its context"
        for task, quality in model.quality_priors.items():
            if not 0 <= quality <= 1:
                yield f"its quality prior for {task} is not between 0 and 1"

    def _by_name(self, name: str) -> CatalogueModel | None:
        try:
            return self._models.get(ModelRef.parse(name))
        except ValueError:
            return None

    def __len__(self) -> int:
        return len(self._models)

    def get(self, ref: ModelRef, organisation_id: str = "") -> CatalogueModel | None:
        """The model as the organisation sees it; None if there is none of that name."""
        for owner in (organisation_id, "") if organisation_id else ("",):
            changed = self._overrides.get(owner)
            if changed is not None and ref in changed:
                return changed[ref]
        return self._models.get(ref)

    def models(self, organisation_id: str = "", provider: str = "") -> list[CatalogueModel]:
        """The models as the organisation sees them, by name; of one provider, or of all."""
        refs = set(self._models)
        for owner in {"", organisation_id}:
            refs.update(self._overrides.get(owner, ()))
        found = (self.get(ref, organisation_id) for ref in sorted(refs) if provider in ("", ref.provider))
        return [model for model in found if model is not None]

    def with_override(self, model: CatalogueModel, organisation_id: str = "") -> "Catalogue":
        """A new catalogue in which `model` stands for the one of its name, for an organisation or for all."""
        overrides = {owner: dict(changed) for owner, changed in self._overrides.items()}
        overrides.setdefault(organisation_id, {})[model.ref] = model
        changed = Catalogue(self._models.values(), overrides, self.revision + 1)
        problems = [f"{model.name}: {problem}" for problem in changed._problems_of(model)]
        if problems:
            raise CatalogueInvalid(problems)
        return changed

    def without_override(self, ref: ModelRef, organisation_id: str = "") -> "Catalogue":
        """A new catalogue in which the override is taken back; the same one if there was none."""
        if ref not in self._overrides.get(organisation_id, {}):
            return self
        overrides = {owner: dict(changed) for owner, changed in self._overrides.items()}
        del overrides[organisation_id][ref]
        return Catalogue(self._models.values(), overrides, self.revision + 1)

    def successor_of(self, model: CatalogueModel, moment: datetime) -> CatalogueModel | None:
        """The first of the chain of successors that is not retired at `moment`; None if there is none."""
        seen = {model.name}
        while (name := model.lifecycle.successor) and name not in seen:
            seen.add(name)
            following = self._by_name(name)
            if following is None:
                return None
            if following.stage_at(moment) is not LifecycleStage.RETIRED:
                return following
            model = following
        return None


def _duplicates(models: Iterable[CatalogueModel]) -> Iterator[str]:
    seen: set[ModelRef] = set()
    for model in models:
        if model.ref in seen:
            yield f"{model.name}: is there twice"
        seen.add(model.ref)
