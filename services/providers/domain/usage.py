"""Usage in one meaning for all vendors: inclusive counts, and unknown is not zero.

Vendors disagree on what is part of what. Anthropic and Bedrock leave cached tokens out of the input; Gemini and xAI
leave reasoning out of the output; Gemini's OpenAI-shaped endpoint hides reasoning altogether; some report more cached
tokens than input. Each wire format adds up what its vendor keeps apart and hands the sums to `inclusive`.
"""

from turnpike.common.v1 import usage_pb2

Usage = usage_pb2.Usage
UsageSource = usage_pb2.UsageSource

TOKENS_MAX = 1 << 53
"""No call consumes more; a larger figure is a vendor's mistake and is treated as unknown."""


def count(value: object) -> int | None:
    """A vendor's figure as a count; None for what is absent or no count (text, negative, fraction, boolean)."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def _part(value: int | None, whole: int | None) -> int | None:
    """`value` as a part of `whole`: never more than it. Azure's Grok reports 161 cached of 10 input tokens."""
    return value if value is None or whole is None else min(value, whole)


def inclusive(
    *,
    input_tokens: int | None,
    output_tokens: int | None,
    cache_read_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    cache_write_long_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    input_audio_tokens: int | None = None,
    output_audio_tokens: int | None = None,
    input_image_tokens: int | None = None,
    billed_tool_calls: int | None = None,
    unbilled_input_tokens: int | None = None,
    unbilled_output_tokens: int | None = None,
    source: UsageSource.ValueType = usage_pb2.USAGE_SOURCE_VENDOR,
) -> Usage:
    """A usage of inclusive counts; parts are clamped to their whole."""
    cache_read = _part(cache_read_tokens, input_tokens)
    not_read = None if input_tokens is None else input_tokens - (cache_read or 0)
    cache_write = _part(cache_write_tokens, not_read)
    not_written = None if not_read is None else not_read - (cache_write or 0)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_long_tokens=_part(cache_write_long_tokens, not_written),
        reasoning_tokens=_part(reasoning_tokens, output_tokens),
        input_audio_tokens=_part(input_audio_tokens, input_tokens),
        output_audio_tokens=_part(output_audio_tokens, output_tokens),
        input_image_tokens=_part(input_image_tokens, input_tokens),
        billed_tool_calls=billed_tool_calls,
        unbilled_input_tokens=_part(unbilled_input_tokens, input_tokens),
        unbilled_output_tokens=_part(unbilled_output_tokens, output_tokens),
        source=source,
    )


def is_known(usage: Usage | None) -> bool:
    """True if it says anything that can be charged."""
    return usage is not None and (usage.HasField("input_tokens") or usage.HasField("output_tokens"))


def is_complete(usage: Usage | None) -> bool:
    """True if it says all that a charge needs."""
    return usage is not None and usage.HasField("input_tokens") and usage.HasField("output_tokens")


def completed(vendor: Usage | None, counted: Usage) -> Usage:
    """The vendor's figures, with our own count where it told no input or no output; estimated if any of it is ours.

    Ollama leaves out a prompt that it had in its cache. Our count is raised to the parts that the vendor did tell: it
    sees no hidden reasoning.
    """
    if vendor is None:
        return counted
    made = Usage()
    made.CopyFrom(vendor)
    if not made.HasField("input_tokens") and counted.HasField("input_tokens"):
        cached = made.cache_read_tokens + made.cache_write_tokens + made.cache_write_long_tokens
        of_input = (cached, made.input_audio_tokens, made.input_image_tokens, made.unbilled_input_tokens)
        made.input_tokens, made.source = (
            max(counted.input_tokens, *of_input),
            UsageSource.USAGE_SOURCE_ESTIMATED,
        )
    if not made.HasField("output_tokens") and counted.HasField("output_tokens"):
        of_output = (made.reasoning_tokens, made.output_audio_tokens, made.unbilled_output_tokens)
        made.output_tokens, made.source = (
            max(counted.output_tokens, *of_output),
            UsageSource.USAGE_SOURCE_ESTIMATED,
        )
    return made


def larger(vendor: Usage | None, counted: Usage) -> Usage:
    """For cut streams: field by field the larger of the vendor's last figure and our own count, marked estimated.

    Input comes from the vendor where it said it, for it is final from the first event on; output counts that a stream
    reports on its way (Anthropic's message_start says 1) are smaller than what was produced.
    """
    merged = Usage()
    if vendor is not None:
        merged.CopyFrom(vendor)
    if not merged.HasField("input_tokens") and counted.HasField("input_tokens"):
        merged.input_tokens = counted.input_tokens
    if counted.HasField("output_tokens"):
        merged.output_tokens = max(merged.output_tokens, counted.output_tokens)
    merged.source = UsageSource.USAGE_SOURCE_ESTIMATED
    return merged


def by_total(
    input_tokens: int | None,
    output_tokens: int | None,
    total_tokens: int | None,
    *,
    reasoning_tokens: int | None = None,
    input_audio_tokens: int | None = None,
    reasoning_apart: bool = False,
) -> tuple[int | None, int | None]:
    """Input and output with everything that the vendor's own total holds.

    The total is what the vendor bills. What it holds beyond input and output is audio that was kept apart from the
    input (Mistral), reasoning that was kept apart from the output (xAI), or reasoning that is hidden (Gemini's
    OpenAI-shaped endpoint). `reasoning_apart` says the vendor is known to keep it apart, for the case that it gives
    no total.
    """
    if total_tokens is None:
        if reasoning_apart and output_tokens is not None:
            return input_tokens, output_tokens + (reasoning_tokens or 0)
        return input_tokens, output_tokens
    if input_tokens is None:
        left = None if output_tokens is None else max(0, total_tokens - output_tokens)
        return left, output_tokens
    if output_tokens is None:
        return input_tokens, max(0, total_tokens - input_tokens)
    beyond = total_tokens - input_tokens - output_tokens
    if beyond <= 0:
        return input_tokens, output_tokens
    if beyond == input_audio_tokens and beyond != reasoning_tokens:
        return input_tokens + beyond, output_tokens
    return input_tokens, output_tokens + beyond
