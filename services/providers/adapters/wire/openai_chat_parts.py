"""What is the same in whole answers and in chunks of chat completions: content, reasoning, log probabilities."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.providers.adapters.wire.body import arr, encode, encode_text, obj, text
from turnpike.common.v1 import content_pb2

ReasoningPart = content_pb2.ReasoningPart


def pieces(content: object) -> Iterator[tuple[str, Any]]:
    """What content holds: (`text` | `reasoning` | `refusal`, str) and (`image`, url).

    Content is a string, null, or an array of typed parts (Mistral's thinking).
    """
    if isinstance(content, str):
        if content:
            yield "text", content
        return
    for part in arr(content):
        if isinstance(part, str):
            yield "text", part
            continue
        kind = obj(part).get("type")
        if kind == "thinking":
            thinking = part.get("thinking")
            if isinstance(thinking, str):
                yield "reasoning", thinking
            for inner in arr(thinking):
                if text(obj(inner).get("text")):
                    yield "reasoning", inner["text"]
        elif kind == "refusal" and text(part.get("refusal")):
            yield "refusal", part["refusal"]
        elif kind == "image_url":
            yield "image", text(obj(part.get("image_url")).get("url"))
        elif text(obj(part).get("text")):
            yield "text", part["text"]


def reasoning_of(message: Mapping[str, Any], provider: str) -> ReasoningPart | None:
    """Reasoning beside the content, under either of its names, with OpenRouter's details as its signature."""
    thought = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    details = arr(message.get("reasoning_details"))
    if not thought and not details:
        return None
    if not thought:
        thought = "".join(text(obj(d).get("text")) or text(obj(d).get("summary")) for d in details)
    part = ReasoningPart(text=thought, provider=provider)
    if details:
        part.signature = encode(details)
    return part


def arguments(value: object) -> str:
    """A call's arguments as JSON text; some servers send an object where OpenAI sends its text."""
    if isinstance(value, str):
        return value
    return "" if value is None else encode_text(value)


def named(call: Mapping[str, Any]) -> tuple[str, str]:
    """Name and arguments of a call, whole or in part. A custom tool's input, free text, stands for arguments."""
    custom = call.get("custom")
    if isinstance(custom, dict):
        return text(custom.get("name")), text(custom.get("input"))
    function = obj(call.get("function"))
    return text(function.get("name")), arguments(function.get("arguments"))


def call_signature(call: Mapping[str, Any]) -> bytes:
    """Gemini's OpenAI-shaped endpoint wants this back with the call."""
    google = obj(obj(call.get("extra_content")).get("google"))
    return text(google.get("thought_signature")).encode()


def logprobs(raw: object) -> list[content_pb2.TokenLogprob]:
    """Log probabilities of a choice or a delta."""
    if not isinstance(raw, dict):
        return []
    listed = arr(raw.get("content")) or arr(raw.get("refusal"))
    return [_logprob(entry, with_top=True) for entry in listed if isinstance(entry, dict)]


def _logprob(entry: Mapping[str, Any], *, with_top: bool) -> content_pb2.TokenLogprob:
    value = entry.get("logprob")
    return content_pb2.TokenLogprob(
        token=text(entry.get("token")),
        logprob=value if isinstance(value, int | float) else 0.0,
        top=[_logprob(top, with_top=False) for top in arr(entry.get("top_logprobs")) if isinstance(top, dict)]
        if with_top
        else [],
    )
