"""Reads LiteLLM's price file: one JSON object of models, prices in dollars per single token.

A flag that is absent there is unknown, not false. Prices become whole nano-USD per million tokens without passing
through binary fractions; one that is no whole number of them is refused rather than rounded.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final

from services.kernel.model_ref import ModelRef
from services.kernel.pricing import ModelPrice, PriceTier
from services.providers.domain.catalogue import (
    Capabilities,
    CatalogueModel,
    Lifecycle,
    LifecycleStage,
    Limits,
    ModelKind,
)
from services.tokens.families import guess_tokenizer

FILE_BYTES_MAX: Final = 32 * 1024 * 1024
"""Twice over what the file has ever been; a larger one is refused before it is parsed."""

NANOS_PER_MILLION_PER_DOLLAR_PER_TOKEN: Final = 10**15

_PROVIDERS: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai": "vertex",
    "vertex_ai-language-models": "vertex",
    "vertex_ai-anthropic_models": "vertex",
    "vertex_ai-embedding-models": "vertex",
    "mistral": "mistral",
    "xai": "xai",
    "deepseek": "deepseek",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "groq": "groq",
    "azure": "azure",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "openrouter": "openrouter",
    "dashscope": "dashscope",
    "voyage": "voyage",
}
_MODES: Final = {"chat": ModelKind.CHAT, "responses": ModelKind.CHAT, "embedding": ModelKind.EMBEDDING}
_RATES: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_long",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "input_cost_per_image_token": "input_image",
    "input_cost_per_token_batches": "batch_input",
    "output_cost_per_token_batches": "batch_output",
}
_CAPABILITIES: Final = {
    "supports_native_streaming": "streaming",
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "parallel_tools",
    "supports_tool_choice": "tool_choice",
    "supports_response_schema": "json_schema",
    "supports_reasoning": "reasoning",
    "supports_vision": "image_input",
    "supports_audio_input": "audio_input",
    "supports_audio_output": "audio_output",
    "supports_pdf_input": "file_input",
    "supports_prompt_caching": "prompt_cache",
    "supports_system_messages": "system_messages",
}
_TIER_MARKS: Final = ("_above_128k_tokens", "_above_200k_tokens", "_above_272k_tokens", "_above_256k_tokens")


@dataclass(slots=True)
class PriceFile:
    """What a price file held."""

    models: list[CatalogueModel] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Entries that were left out, each as `key: reason`."""


def read_price_file(content: bytes, source: str) -> PriceFile:
    """The models of a price file; `source` is kept with every price. Raises ValueError if it is no such file."""
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        data = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError) as broken:
        raise ValueError(f"is not JSON: {broken}") from None
    if not isinstance(data, dict):
        raise ValueError("is not one JSON object of models")
    found = PriceFile()
    seen: set[ModelRef] = set()
    for key, entry in data.items():
        if key == "sample_spec":
            continue
        try:
            model = _model(key, entry, source)
            if model.ref in seen:
                raise ValueError(f"stands for {model.name} again")
        except ValueError as reason:
            found.skipped.append(f"{key}: {reason}")
        else:
            seen.add(model.ref)
            found.models.append(model)
    return found


def _model(key: str, entry: Any, source: str) -> CatalogueModel:
    if not isinstance(entry, Mapping):
        raise ValueError("is not an object")
    provider = _PROVIDERS.get(str(entry.get("litellm_provider")))
    if provider is None:
        raise ValueError(f"its provider {entry.get('litellm_provider')} is not one of ours")
    kind = _MODES.get(str(entry.get("mode")))
    if kind is None:
        raise ValueError(f"its mode is {entry.get('mode')}")
    prefix = str(entry["litellm_provider"]).split("-")[0] + "/"
    ref = ModelRef(provider, key.removeprefix(prefix))
    price = _price(str(ref), entry, source)
    ends = entry.get("deprecation_date")
    return CatalogueModel(
        ref=ref,
        kind=kind,
        display_name=ref.model,
        tokenizer=guess_tokenizer(ref.model),
        limits=Limits(
            context_tokens_max=_count(entry.get("max_input_tokens")),
            output_tokens_max=_count(entry.get("max_output_tokens")),
        ),
        capabilities=Capabilities(
            **{
                ours: entry[theirs]
                for theirs, ours in _CAPABILITIES.items()
                if type(entry.get(theirs)) is bool
            }
        ),
        prices=(price,) if price else (),
        lifecycle=Lifecycle(
            stage=LifecycleStage.ACTIVE,
            retires_on=date.fromisoformat(ends) if isinstance(ends, str) else None,
        ),
    )


def _price(model: str, entry: Mapping[str, Any], source: str) -> ModelPrice | None:
    tiers = dict(_tiers(entry))
    if not tiers:
        return None
    if 0 not in tiers:
        raise ValueError("has no price below its first tier")
    return ModelPrice(model, tuple(tiers[above] for above in sorted(tiers)), source=source)


def _tiers(entry: Mapping[str, Any]) -> Iterator[tuple[int, PriceTier]]:
    base = {ours: _nanos(entry[theirs]) for theirs, ours in _RATES.items() if entry.get(theirs) is not None}
    if "input" in base:
        yield 0, _tier(0, base)
    for mark in _TIER_MARKS:
        rates = {
            ours: _nanos(entry[theirs + mark])
            for theirs, ours in _RATES.items()
            if entry.get(theirs + mark) is not None
        }
        if "input" in rates:
            above = int(mark.split("_")[2].removesuffix("k")) * 1_000
            yield above, _tier(above, rates)
    for step in entry.get("tiered_pricing") or ():
        if not isinstance(step, Mapping) or not isinstance(step.get("range"), list):
            raise ValueError("has a price tier without a range")
        above = int(step["range"][0])
        rates = {
            ours: _nanos(step[theirs]) for theirs, ours in _RATES.items() if step.get(theirs) is not None
        }
        yield above, _tier(above, rates)


def _tier(above: int, rates: Mapping[str, int]) -> PriceTier:
    fields: dict[str, int] = {f"{name}_nanos_per_million": rate for name, rate in rates.items()}
    return PriceTier(input_tokens_above=above, **fields)


def _nanos(dollars_per_token: Any) -> int:
    if isinstance(dollars_per_token, bool) or not isinstance(dollars_per_token, int | Decimal):
        raise ValueError(f"{dollars_per_token!r} is not a price")
    nanos = Decimal(dollars_per_token) * NANOS_PER_MILLION_PER_DOLLAR_PER_TOKEN
    if not nanos.is_finite() or nanos < 0:
        raise ValueError(f"{dollars_per_token} is not a price")
    whole = nanos.to_integral_value()
    # The file's figures are products of binary fractions: 2.9999999999999997e-06 means 3e-06.
    if abs(nanos - whole) > Decimal("0.01"):
        raise ValueError(f"{dollars_per_token} dollars a token are no whole nano-dollars a million")
    return int(whole)


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value <= 0:
        return None
    return int(value)
