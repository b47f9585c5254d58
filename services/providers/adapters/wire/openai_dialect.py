"""In what those who speak OpenAI's chat completions differ, as data: a vendor of that shape is one `Dialect`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

from services.providers.domain.tool_ids import COMMON, ToolIdRule
from services.providers.domain.usage import by_total, count, inclusive
from turnpike.common.v1 import content_pb2, usage_pb2

Effort = content_pb2.ReasoningEffort

EFFORT_WORDS: Final[Mapping[Effort.ValueType, str]] = {
    Effort.REASONING_EFFORT_NONE: "none",
    Effort.REASONING_EFFORT_MINIMAL: "minimal",
    Effort.REASONING_EFFORT_LOW: "low",
    Effort.REASONING_EFFORT_MEDIUM: "medium",
    Effort.REASONING_EFFORT_HIGH: "high",
    Effort.REASONING_EFFORT_MAX: "xhigh",
}
_ORDER: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def effort_word(effort: Effort.ValueType, known: tuple[str, ...]) -> str:
    """The vendor's word for `effort`: the nearest the model knows, or ours if it is not known what it knows.

    NONE becomes the least there is; nothing is ever turned into `none`.
    """
    word = EFFORT_WORDS[effort]
    if not known or word in known:
        return word
    wanted = _ORDER.index(word)
    ranked = [option for option in known if option in _ORDER and (option != "none" or word == "none")]
    if not ranked:
        return word
    if effort == Effort.REASONING_EFFORT_MAX:
        return max(ranked, key=_ORDER.index)
    return min(ranked, key=lambda option: (abs(_ORDER.index(option) - wanted), _ORDER.index(option)))


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vendor's way of speaking. The defaults are what most servers take; OpenAI itself deviates in a few."""

    max_tokens: str = "max_tokens"
    """Name of the output cap."""
    seed: str = "seed"
    """Name of the seed. Empty: it takes none."""
    user: str = "user"
    """Name of the end user's pseudonym. Empty: it takes none."""
    stream_usage: bool = True
    """True if a stream's usage must be asked for; false if it comes unasked and `stream_options` is refused."""
    tool_required: str = "required"
    """Its word for a tool choice that demands a call."""
    tool_ids: ToolIdRule = COMMON
    reasoning_effort: bool = True
    """Takes `reasoning_effort`."""
    thinking_switch: str = ""
    """Name of what turns reasoning on and off: `enable_thinking`, a boolean (Qwen), or `thinking`, an object with a
    type (DeepSeek, Z.ai). Empty: there is none, and an effort of none is said as an effort."""
    reasoning_back: str = ""
    """Name under which reasoning text is sent back in a tool loop. Empty: reasoning is left out."""
    thinking_back: bool = False
    """Takes its own reasoning back as parts of the content (Mistral)."""
    signatures_back: bool = False
    """Wants the proofs of tool calls back (Gemini)."""
    reasoning_details_back: bool = False
    """Sends `reasoning_details`, which must come back as they were (OpenRouter)."""
    top_k: bool = False
    parallel_tools: bool = True
    logprobs: bool = True
    prompt_cache_key: bool = False
    cache_control: bool = False
    """Takes Anthropic's cache markers on text parts (OpenRouter)."""
    refusal_back: bool = False
    """Takes `refusal` in assistant turns; elsewhere a refusal is sent as plain text."""
    vector_length: str = "dimensions"
    """Name of the length of vectors."""
    encoding_format: bool = True
    """Takes `encoding_format`, and is asked for numbers; else it sends numbers unasked (Voyage)."""
    reasoning_apart: bool = False
    """Completion tokens leave reasoning out (xAI)."""
    cost_nanos: Callable[[Mapping[str, Any]], int | None] = field(default=lambda _usage: None)
    """Reads the vendor's authoritative cost out of its usage."""


def usd_nanos(amount: object) -> int | None:
    """A vendor's dollars as nano-USD, half-even; None for what is no amount."""
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        return None
    try:
        nanos = (Decimal(str(amount)) * 1_000_000_000).to_integral_value(rounding=ROUND_HALF_EVEN)
    except InvalidOperation:
        return None
    return int(nanos) if nanos.is_finite() and 0 <= nanos < 1 << 62 else None


def chat_usage(raw: object, dialect: Dialect) -> usage_pb2.Usage | None:
    """OpenAI-shaped usage in our meaning. None: there is none."""
    if not isinstance(raw, dict):
        return None
    prompt_details = raw.get("prompt_tokens_details")
    output_details = raw.get("completion_tokens_details")
    cached = cache_write = audio = image = reasoning = output_audio = None
    if isinstance(prompt_details, dict):
        cached = count(prompt_details.get("cached_tokens"))
        cache_write = count(
            prompt_details.get(
                "cache_write_tokens", prompt_details.get("cache_creation_input_tokens")
            )  # Qwen
        )
        audio = count(prompt_details.get("audio_tokens"))
        image = count(prompt_details.get("image_tokens"))
    if isinstance(output_details, dict):
        reasoning = count(output_details.get("reasoning_tokens"))
        output_audio = count(output_details.get("audio_tokens"))
    if reasoning is None:
        reasoning = count(raw.get("reasoning_tokens"))
    input_tokens, output_tokens = by_total(
        count(raw.get("prompt_tokens")),
        count(raw.get("completion_tokens")),
        count(raw.get("total_tokens")),
        reasoning_tokens=reasoning,
        input_audio_tokens=audio,
        reasoning_apart=dialect.reasoning_apart,
    )
    if input_tokens is None and output_tokens is None:
        return None
    if cached is None:
        cached = count(raw.get("prompt_cache_hit_tokens"))  # DeepSeek
    if cached is None:
        cached = count(
            raw.get("cached_tokens", raw.get("cache_read_input_tokens"))
        )  # Together; Claude by gateways
    if cache_write is None:
        cache_write = count(raw.get("cache_creation_input_tokens"))
    return inclusive(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cached,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        input_audio_tokens=audio,
        output_audio_tokens=output_audio,
        input_image_tokens=image,
    )
