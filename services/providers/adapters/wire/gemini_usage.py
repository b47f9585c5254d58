"""What Gemini says a call took, by modality and in all."""

from collections.abc import Mapping
from typing import Any

from services.providers.adapters.wire.body import arr, obj
from services.providers.domain.usage import by_total, count, inclusive
from turnpike.common.v1 import usage_pb2


def content_usage(raw: Mapping[str, Any]) -> usage_pb2.Usage | None:
    """Usage in our meaning: the vendor keeps thoughts apart from its output. None: it told none."""
    prompt, tool_prompt = count(raw.get("promptTokenCount")), count(raw.get("toolUsePromptTokenCount"))
    thoughts, candidates = count(raw.get("thoughtsTokenCount")), count(raw.get("candidatesTokenCount"))
    total = count(raw.get("totalTokenCount"))
    read = prompt if tool_prompt is None else (prompt or 0) + tool_prompt
    if candidates is None and total is None:
        output = thoughts
    else:
        read, output = by_total(
            read,
            None if candidates is None else candidates + (thoughts or 0),
            total,
            reasoning_tokens=thoughts,
        )
    if read is None and output is None:
        return None
    return inclusive(
        input_tokens=read,
        output_tokens=output,
        cache_read_tokens=count(raw.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        input_audio_tokens=_of_modality(raw.get("promptTokensDetails"), "AUDIO"),
        output_audio_tokens=_of_modality(raw.get("candidatesTokensDetails"), "AUDIO"),
        input_image_tokens=_of_modality(raw.get("promptTokensDetails"), "IMAGE"),
    )


def _of_modality(details: object, modality: str) -> int | None:
    for entry in arr(details):
        if obj(entry).get("modality") == modality:
            return count(obj(entry).get("tokenCount"))
    return None
