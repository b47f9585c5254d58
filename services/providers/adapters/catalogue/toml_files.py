"""The catalogue's own format: one TOML file a provider, described in services/providers/data/README.md."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from services.kernel.model_ref import ModelRef
from services.kernel.pricing import ModelPrice, PriceTier
from services.providers.adapters.catalogue.fields import Problems, Table
from services.providers.domain.catalogue import (
    CAPABILITIES,
    Capabilities,
    Catalogue,
    CatalogueInvalid,
    CatalogueModel,
    Compliance,
    Lifecycle,
    LifecycleStage,
    Limits,
    ModelKind,
    SourcedFact,
)
from services.tokens import profile_names

FILE_BYTES_MAX = 4 * 1024 * 1024
"""No provider's file comes near; a larger one is a mistake."""

_RATES = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_long",
    "reasoning",
    "input_audio",
    "output_audio",
    "input_image",
    "batch_input",
    "batch_output",
)


@cache
def shipped() -> Catalogue:
    """The catalogue that comes with the project, read once. Raises CatalogueInvalid with all that is wrong."""
    return load(resources.files("services.providers") / "data")


def load(*folders: Traversable) -> Catalogue:
    """The catalogue in all `*.toml` of the folders; a model in a later folder stands for one of the same name.

    Raises CatalogueInvalid with everything that is wrong in any file, and OSError for a folder that cannot be read.
    """
    problems = Problems()
    models: dict[ModelRef, CatalogueModel] = {}
    quality: dict[str, dict[str, float]] = {}
    for folder in folders:
        of_folder: list[CatalogueModel] = []
        for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if not file.name.endswith(".toml"):
                continue
            data = _parse(file, problems)
            if file.name == QUALITY_FILE:
                quality.update(_quality(Table(data, file.name, problems)))
            elif data is not None:
                of_folder += _models(Table(data, file.name, problems))
        for model in of_folder:
            if model.ref in models and any(
                other.ref == model.ref and other is not model for other in of_folder
            ):
                problems.note(model.name, "is there twice")
            models[model.ref] = model
    if problems.found:
        raise CatalogueInvalid(problems.all())
    return Catalogue(_with_quality(models.values(), quality))


QUALITY_FILE = "quality.toml"


def _parse(file: Traversable, problems: Problems) -> Mapping[str, Any] | None:
    content = file.read_bytes()
    if len(content) > FILE_BYTES_MAX:
        problems.note(file.name, f"is larger than {FILE_BYTES_MAX} bytes")
        return None
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        problems.note(file.name, f"is not TOML: {broken}")
        return None


def _models(file: Table) -> Iterable[CatalogueModel]:
    provider = file.text("provider", required=True)
    wire_formats = file.texts("wire_formats")
    compliance = _compliance(file.table("compliance"))
    for table in file.tables("models"):
        model = _model(table, provider, wire_formats, compliance)
        if model is not None:
            yield model
    file.close()


def read_model(table: Table, ref: ModelRef) -> CatalogueModel | None:
    """A model of a known name from a table of its facts; None from an empty one. Problems go to the table's."""
    return None if table.is_empty else _facts_of(table, ref, (), Compliance())


def _model(
    table: Table, provider: str, wire_formats: tuple[str, ...], compliance: Compliance
) -> CatalogueModel | None:
    try:
        ref = ModelRef(provider, table.text("model", required=True))
    except ValueError as wrong:
        table.problem("model", str(wrong))
        return None
    return _facts_of(table, ref, wire_formats, compliance)


def _facts_of(
    table: Table, ref: ModelRef, wire_formats: tuple[str, ...], compliance: Compliance
) -> CatalogueModel:
    table = table.renamed(str(ref))
    limits = table.table("limits")
    own_compliance = _compliance(table.table("compliance"))
    kind = _one_of(table, "kind", ModelKind, ModelKind.CHAT)
    tokenizer = table.text("tokenizer") or "bytes"
    if tokenizer not in profile_names():
        table.problem("tokenizer", f"{tokenizer} is not one of {', '.join(profile_names())}")
    model = CatalogueModel(
        ref=ref,
        kind=kind,
        display_name=table.text("display_name") or ref.model,
        vendor_model=table.text("vendor_model"),
        wire_formats=table.texts("wire_formats") or wire_formats,
        tokenizer=tokenizer,
        limits=Limits(
            context_tokens_max=limits.count("context_tokens_max", least=1),
            input_tokens_max=limits.count("input_tokens_max", least=1),
            output_tokens_max=limits.count("output_tokens_max", least=1),
            images_max=limits.count("images_max"),
        ),
        capabilities=_capabilities(table),
        refused_parameters=frozenset(table.texts("refused_parameters")),
        reasoning_efforts=table.texts("reasoning_efforts"),
        languages=table.texts("languages"),
        hints=table.mapping("hints", str),
        prices=tuple(price for entry in table.tables("prices") if (price := _price(entry, str(ref)))),
        compliance=own_compliance if own_compliance != Compliance() else compliance,
        lifecycle=Lifecycle(
            stage=_one_of(table, "stage", LifecycleStage, LifecycleStage.ACTIVE),
            released_on=table.day("released_on"),
            retires_on=table.day("retires_on"),
            successor=table.text("successor"),
        ),
        groups=table.texts("groups"),
        quality_priors=table.mapping("quality", float),
    )
    limits.close()
    table.close()
    return model


Choice = TypeVar("Choice", bound=StrEnum)


def _one_of(table: Table, name: str, choices: type[Choice], otherwise: Choice) -> Choice:
    text = table.text(name)
    if not text:
        return otherwise
    try:
        return choices(text)
    except ValueError:
        table.problem(name, f"{text} is not one of {', '.join(choices)}")
        return otherwise


def _capabilities(table: Table) -> Capabilities:
    facts: dict[str, bool] = {}
    for name, value in (("can", True), ("cannot", False)):
        for capability in table.texts(name):
            if capability not in CAPABILITIES:
                table.problem(name, f"{capability} is not one of {', '.join(CAPABILITIES)}")
            elif capability in facts:
                table.problem(name, f"{capability} is said twice")
            else:
                facts[capability] = value
    return Capabilities(**facts)


def _price(table: Table, model: str) -> ModelPrice | None:
    tiers = []
    for entry in table.tables("tiers"):
        rates = {f"{name}_nanos_per_million": entry.count(name) for name in _RATES}
        tier = {
            "input_tokens_above": entry.count("above") or 0,
            "request_nanos": entry.count("request_nanos") or 0,
            "tool_call_nanos": entry.count("tool_call_nanos"),
            **rates,
        }
        entry.close()
        try:
            tiers.append(PriceTier(**tier))  # type: ignore[arg-type]  # every name is a field, every value a count
        except ValueError as wrong:
            entry.problem("", str(wrong))
    begins, ends = table.moment("effective_from"), table.moment("effective_until")
    source = table.text("source", required=True)
    table.close()
    try:
        return ModelPrice(model, tuple(tiers), begins, ends, source)
    except ValueError as wrong:
        table.problem("tiers", str(wrong))
        return None


def _compliance(table: Table) -> Compliance:
    compliance = Compliance(
        regions=_facts(table, "regions"),
        retention_days=next(iter(_facts(table, "retention_days")), None),
        trains_on_data=next(iter(_facts(table, "trains_on_data")), None),
        certifications=_facts(table, "certifications"),
    )
    table.close()
    return compliance


def _facts(table: Table, name: str) -> tuple[SourcedFact, ...]:
    """Statements with their proof; one without source or date is a problem, for it would silently be unknown."""
    facts = []
    for entry in table.tables(name):
        value, source = entry.text("value", required=True), entry.text("source", required=True)
        checked_on = entry.day("checked_on")
        if checked_on is None:
            entry.problem("checked_on", "is missing")
        else:
            facts.append(SourcedFact(value, source, checked_on))
        entry.close()
    return tuple(facts)


def _quality(file: Table) -> dict[str, dict[str, float]]:
    """Priors by group: `quality.toml` says per class of models what to expect of it, task by task."""
    classes = {}
    for entry in file.tables("classes"):
        name = entry.text("group", required=True)
        classes[name] = entry.mapping("quality", float)
        entry.close()
    file.close()
    return classes


def _with_quality(
    models: Iterable[CatalogueModel], classes: Mapping[str, Mapping[str, float]]
) -> Iterable[CatalogueModel]:
    """Each chat model with the priors of its groups; what its own entry says comes first."""
    for model in models:
        priors: dict[str, float] = {}
        if model.kind is ModelKind.CHAT:
            for group in model.groups:
                priors.update(classes.get(group, {}))
        priors.update(model.quality_priors)
        yield replace(model, quality_priors=priors) if priors else model
