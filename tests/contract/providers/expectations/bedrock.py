"""Bedrock: Converse, and InvokeModel with the bodies of all families."""

import json
from typing import Any

from tests.contract.providers.expectations import errors, openai_chat
from tests.contract.providers.expectations.others import ANTHROPIC_FINISHES, anthropic_events, with_calls
from tests.contract.providers.expectations.shape import (
    Expected,
    arguments,
    clamped,
    documents,
    frame_bytes,
    is_stream,
)


def bedrock_converse(recording: dict[str, Any]) -> Expected:
    """Bedrock's Converse, whole or as decoded frames."""
    return _converse(documents(recording), stream=is_stream(recording))


def _converse(found: list[dict[str, Any]], *, stream: bool) -> Expected:
    result = Expected()
    usage: dict[str, Any] = {}
    raw = ""
    calls: list[tuple[str, Any]] = []
    if not stream:
        [whole] = found
        usage, raw = whole.get("usage") or {}, whole.get("stopReason") or ""
        for block in whole["output"]["message"].get("content") or []:
            _bedrock_block(result, calls, block)
    else:
        open_calls: dict[int, list[str]] = {}
        for frame in found:
            headers = frame.get("_headers") or {}
            if headers.get(":message-type") == "exception":
                result.error = errors.of_event(
                    {"error": {"message": headers.get(":exception-type"), **frame}}
                )
                break
            if "start" in frame and "toolUse" in frame["start"]:
                open_calls[frame["contentBlockIndex"]] = [frame["start"]["toolUse"]["name"], ""]
            delta = frame.get("delta") or {}
            result.add(result.texts, 0, delta.get("text"))
            result.add(result.reasoning, 0, (delta.get("reasoningContent") or {}).get("text"))
            if "toolUse" in delta:
                open_calls[frame["contentBlockIndex"]][1] += delta["toolUse"].get("input") or ""
            raw = frame.get("stopReason") or raw
            usage = frame.get("usage") or usage
        calls = [(name, arguments(text)) for name, text in open_calls.values()]
    if calls:
        result.calls[0] = calls
    if raw:
        result.finishes[0] = with_calls(ANTHROPIC_FINISHES.get(raw, "OTHER"), calls)
    read = usage.get("cacheReadInputTokens", usage.get("cacheReadInputTokenCount"))
    written = usage.get("cacheWriteInputTokens", usage.get("cacheWriteInputTokenCount"))
    long = None
    for detail in usage.get("cacheDetails") or []:
        if detail.get("ttl") == "1h":
            long = (long or 0) + detail["inputTokens"]
    if usage.get("inputTokens") is not None:
        result.usage = clamped(
            {
                "input": usage["inputTokens"] + (read or 0) + (written or 0),
                "output": usage.get("outputTokens"),
                "cache_read": read,
                "cache_write": None if written is None else written - (long or 0),
                "cache_write_long": long,
            }
        )
    return result


def _bedrock_block(result: Expected, calls: list[tuple[str, Any]], block: dict[str, Any]) -> None:
    result.add(result.texts, 0, block.get("text"))
    for cited in (block.get("citationsContent") or {}).get("content") or []:
        result.add(result.texts, 0, cited.get("text"))
    thought = (block.get("reasoningContent") or {}).get("reasoningText") or {}
    result.add(result.reasoning, 0, thought.get("text"))
    if "toolUse" in block:
        calls.append((block["toolUse"]["name"], block["toolUse"].get("input") or {}))


def bedrock_invoke(recording: dict[str, Any]) -> Expected:
    """Bedrock's InvokeModel: the body is the model vendor's own."""
    found = documents(recording)
    stream = is_stream(recording)
    if stream:
        found = [frame_bytes(frame) for frame in found]
    if any(document.get("type") for document in found):
        return anthropic_events(found, stream=stream)
    if stream and any("messageStop" in document for document in found):  # Nova
        named = [{name: value for name, value in document.items() if "-" not in name} for document in found]
        return _converse([next(iter(document.values())) for document in named], stream=True)
    if "output" in found[0]:
        return _converse(found, stream=False)
    if any("choices" in document for document in found):
        return _as_chat(recording, found, stream=stream)
    return _completions(recording, found)


def _as_chat(recording: dict[str, Any], found: list[dict[str, Any]], *, stream: bool) -> Expected:
    for document in found:
        for choice in document.get("choices") or []:
            choice["finish_reason"] = choice.get("finish_reason") or choice.get("stop_reason")
    body = "".join(f"data: {json.dumps(document)}\n\n" for document in found) + "data: [DONE]\n\n"
    response = {"body": body if stream else json.dumps(found[0])}
    result = openai_chat.expected({"provider": "bedrock", "response": response})
    result.usage = result.usage or _platform_usage(recording, found)
    return result


INVOKE_FINISHES = {
    "stop": "STOP",
    "length": "LENGTH",
    "FINISH": "STOP",
    "LENGTH": "LENGTH",
    "COMPLETE": "STOP",
    "MAX_TOKENS": "LENGTH",
    "endoftext": "STOP",
    "stop_sequence": "STOP",
    "max_tokens": "LENGTH",
}


def _completions(recording: dict[str, Any], found: list[dict[str, Any]]) -> Expected:
    """Titan, Llama, Mistral, Command, Jurassic, Claude of old."""
    result = Expected()
    indexes: set[int] = set()
    for document in found:
        several = document.get("outputs") or document.get("results") or document.get("generations")
        for completion in document.get("completions") or []:
            several = [
                *(several or []),
                {"text": completion["data"]["text"], "finish_reason": completion["finishReason"]["reason"]},
            ]
        for position, piece in enumerate(several or [document]):
            index = piece.get("index", position)
            for name in ("text", "outputText", "generation", "completion"):
                if piece.get(name):
                    result.add(result.texts, index, piece[name])
                    indexes.add(index)
            raw = (
                piece.get("stop_reason") or piece.get("finish_reason") or piece.get("completionReason") or ""
            )
            if raw:
                ended = {index} if several or "index" in piece else indexes or {0}
                result.finishes.update(dict.fromkeys(ended, INVOKE_FINISHES.get(raw, "OTHER")))
    result.usage = _platform_usage(recording, found)
    if not result.finishes:
        result.error = "truncated"
    return result


def _platform_usage(recording: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, int] | None:
    metrics = found[-1].get("amazon-bedrock-invocationMetrics") or {}
    headers = recording["response"]["headers"]
    figures: list[int | None] = []
    for side, names in (
        ("input", ("prompt_token_count", "inputTextTokenCount")),
        ("output", ("generation_token_count",)),
    ):
        counted = headers.get(f"x-amzn-bedrock-{side}-token-count")
        told = next((found[0][name] for name in names if found[0].get(name) is not None), None)
        if is_stream(recording):
            figures.append(metrics.get(f"{side}TokenCount"))
        else:
            figures.append(int(counted) if counted else told)
    return clamped({"input": figures[0], "output": figures[1]})
