"""Anthropic, Gemini, Cohere, Ollama."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tests.contract.providers.expectations import errors
from tests.contract.providers.expectations.shape import (
    Expected,
    arguments,
    clamped,
    documents,
    is_stream,
)

ANTHROPIC_FINISHES = {
    "end_turn": "STOP",
    "stop_sequence": "STOP",
    "max_tokens": "LENGTH",
    "model_context_window_exceeded": "LENGTH",
    "tool_use": "TOOL_CALLS",
    "pause_turn": "PAUSE",
    "refusal": "REFUSAL",
    "guardrail_intervened": "CONTENT_FILTER",
    "content_filtered": "CONTENT_FILTER",
    "malformed_model_output": "ERROR",
    "malformed_tool_use": "ERROR",
}
GEMINI_FINISHES = {
    "STOP": "STOP",
    "MAX_TOKENS": "LENGTH",
    "SAFETY": "CONTENT_FILTER",
    "RECITATION": "CONTENT_FILTER",
    "BLOCKLIST": "CONTENT_FILTER",
    "PROHIBITED_CONTENT": "CONTENT_FILTER",
    "SPII": "CONTENT_FILTER",
    "MODEL_ARMOR": "CONTENT_FILTER",
    "LANGUAGE": "CONTENT_FILTER",
    "IMAGE_SAFETY": "CONTENT_FILTER",
    "MALFORMED_FUNCTION_CALL": "ERROR",
    "UNEXPECTED_TOOL_CALL": "ERROR",
    "TOO_MANY_TOOL_CALLS": "ERROR",
    "MISSING_THOUGHT_SIGNATURE": "ERROR",
    "MALFORMED_RESPONSE": "ERROR",
}
GEMINI_NUMBERS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}
COHERE_FINISHES = {
    "COMPLETE": "STOP",
    "STOP_SEQUENCE": "STOP",
    "MAX_TOKENS": "LENGTH",
    "TOOL_CALL": "TOOL_CALLS",
    "ERROR": "ERROR",
    "TIMEOUT": "ERROR",
}


def with_calls(finish: str, calls: Sequence[object]) -> str:
    """A plain stop of an answer with calls wants them called: some copies of a vendor's format say no more."""
    return "TOOL_CALLS" if finish == "STOP" and calls else finish


def anthropic(recording: dict[str, Any]) -> Expected:
    """Anthropic's Messages, wherever they are served."""
    return anthropic_events(documents(recording), stream=is_stream(recording))


def anthropic_events(found: list[dict[str, Any]], *, stream: bool) -> Expected:
    if not stream:
        [whole] = found
        if whole.get("type") == "error":
            return Expected(error=errors.of_event(whole))
        return _anthropic_message(whole)
    message: dict[str, Any] = {"content": [], "usage": {}}
    blocks: dict[int, dict[str, Any]] = {}
    json_pieces: dict[int, str] = {}
    ended = False
    error = None
    for event in found:
        match event.get("type"):
            case "message_start":
                message = {**event["message"], "content": []}
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                block, delta = blocks[event["index"]], event["delta"]
                for name in ("text", "thinking"):
                    if f"{name}_delta" == delta["type"]:
                        block[name] = block.get(name, "") + delta[name]
                if delta["type"] == "input_json_delta":
                    index = event["index"]
                    json_pieces[index] = json_pieces.get(index, "") + delta["partial_json"]
            case "message_delta":
                message.update({name: value for name, value in event["delta"].items() if value is not None})
                told = {
                    name: value for name, value in (event.get("usage") or {}).items() if value is not None
                }
                message["usage"] = {**(message.get("usage") or {}), **told}
            case "message_stop":
                ended = True
            case "error":
                error = errors.of_event(event)
                break
    for index, pieces in json_pieces.items():
        if pieces:
            blocks[index]["input"] = arguments(pieces)
    message["content"] = [blocks[index] for index in sorted(blocks)]
    result = _anthropic_message(message)
    if error or not ended:
        result.error = error or "truncated"
        result.finishes = {}
    return result


def _anthropic_message(message: dict[str, Any]) -> Expected:
    result = Expected(model=message.get("model"))
    calls = []
    for block in message.get("content") or []:
        match block.get("type"):
            case "text":
                result.add(result.texts, 0, block.get("text"))
            case "thinking":
                result.add(result.reasoning, 0, block.get("thinking"))
            case "tool_use":
                calls.append((block["name"], block.get("input") or {}))
    if calls:
        result.calls[0] = calls
    if message.get("stop_reason"):
        result.finishes[0] = with_calls(ANTHROPIC_FINISHES.get(message["stop_reason"], "OTHER"), calls)
    raw = message.get("usage") or {}
    read, written = raw.get("cache_read_input_tokens"), raw.get("cache_creation_input_tokens")
    by_lifetime = raw.get("cache_creation") or {}
    long = by_lifetime.get("ephemeral_1h_input_tokens")
    short = by_lifetime.get("ephemeral_5m_input_tokens", None if written is None else written - (long or 0))
    if raw.get("input_tokens") is not None:
        result.usage = clamped(
            {
                "input": raw["input_tokens"] + (read or 0) + (written or 0),
                "output": raw.get("output_tokens"),
                "cache_read": read,
                "cache_write": short,
                "cache_write_long": long,
                "reasoning": (raw.get("output_tokens_details") or {}).get("thinking_tokens"),
            }
        )
    return result


def gemini(recording: dict[str, Any]) -> Expected:
    """Gemini's generateContent, of AI Studio and Vertex."""
    result = Expected()
    usage: dict[str, Any] = {}
    calls: dict[int, list[tuple[str, Any]]] = {}
    raws: dict[int, str] = {}
    blocked = False
    for document in documents(recording):
        if document.get("error"):
            result.error = errors.of_event(document)
            break
        usage = document.get("usageMetadata") or usage
        result.model = result.model or document.get("modelVersion")
        blocked = blocked or bool((document.get("promptFeedback") or {}).get("blockReason"))
        for position, candidate in enumerate(document.get("candidates") or []):
            index = candidate.get("index", position)
            for part in (candidate.get("content") or {}).get("parts") or []:
                if part.get("functionCall"):
                    call = part["functionCall"]
                    if call.get("name"):
                        calls.setdefault(index, []).append((call["name"], call.get("args") or {}))
                    for piece in call.get("partialArgs") or []:
                        _place(calls[index][-1][1], piece)
                elif part.get("thought"):
                    result.add(result.reasoning, index, part.get("text"))
                else:
                    result.add(result.texts, index, part.get("text"))
            raw = candidate.get("finishReason")
            if raw and raw not in ("FINISH_REASON_UNSPECIFIED", 0):
                raws[index] = GEMINI_NUMBERS.get(raw, "OTHER") if isinstance(raw, int) else raw
    result.calls = calls
    for index, raw in raws.items():
        finish = GEMINI_FINISHES.get(raw, "OTHER")
        result.finishes[index] = "TOOL_CALLS" if finish == "STOP" and index in calls else finish
    if blocked and not raws:
        result.finishes[0] = "CONTENT_FILTER"
    elif is_stream(recording) and not raws and result.error is None:
        result.error = "truncated"
    result.usage = _gemini_usage(usage)
    return result


def _place(given: Any, piece: dict[str, Any]) -> None:
    """Puts one value of a call's arguments where its path says; texts at one place are pieces of one text."""
    steps = [name or int(number) for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", piece["jsonPath"])]
    for step, following in pairwise(steps):
        if isinstance(given, list) and step == len(given):
            given.append([] if isinstance(following, int) else {})
        elif isinstance(given, dict):
            given.setdefault(step, [] if isinstance(following, int) else {})
        given = given[step]
    last = steps[-1]
    if isinstance(given, list) and last == len(given):
        given.append("" if "stringValue" in piece else None)
    if "stringValue" in piece:
        before = given.get(last, "") if isinstance(given, dict) else given[last]
        given[last] = before + piece["stringValue"]
    else:
        given[last] = piece.get("numberValue", piece.get("boolValue"))


def _gemini_usage(raw: dict[str, Any]) -> dict[str, int] | None:
    if "promptTokenCount" not in raw and "totalTokenCount" not in raw:
        return None
    prompt: Any = raw.get("promptTokenCount")
    thoughts, candidates = raw.get("thoughtsTokenCount"), raw.get("candidatesTokenCount")
    tools = raw.get("toolUsePromptTokenCount")
    details = raw.get("promptTokensDetails") or []
    said = {detail.get("modality"): detail.get("tokenCount") for detail in details}
    spoken = {
        detail.get("modality"): detail.get("tokenCount")
        for detail in raw.get("candidatesTokensDetails") or []
    }
    total: Any = raw.get("totalTokenCount")
    output = (candidates or 0) + (thoughts or 0) if candidates is not None or thoughts is not None else None
    if output is None and None not in (prompt, total):
        output = total - prompt - (tools or 0)
    return clamped(
        {
            "input": None if prompt is None else prompt + (tools or 0),
            "output": output,
            "cache_read": raw.get("cachedContentTokenCount"),
            "reasoning": thoughts,
            "input_audio": said.get("AUDIO"),
            "output_audio": spoken.get("AUDIO"),
            "input_image": said.get("IMAGE"),
        }
    )


def cohere(recording: dict[str, Any]) -> Expected:
    """Cohere's v2 chat."""
    result = Expected()
    calls: list[list[Any]] = []
    raw = ""
    usage: dict[str, Any] = {}
    for event in documents(recording):
        if "type" not in event:
            for block in event["message"].get("content") or []:
                _cohere_block(result, block)
            for call in event["message"].get("tool_calls") or []:
                calls.append([call["function"]["name"], call["function"]["arguments"]])
            result.texts = (
                {0: event["message"]["tool_plan"]} if event["message"].get("tool_plan") else result.texts
            )
            raw, usage = event.get("finish_reason") or "", event.get("usage") or {}
            continue
        delta = event.get("delta") or {}
        message = delta.get("message") or {}
        match event["type"]:
            case "content-delta" | "content-start":
                _cohere_block(result, message.get("content") or {})
            case "tool-plan-delta":
                result.add(result.texts, 0, message.get("tool_plan"))
            case "tool-call-start":
                function = message["tool_calls"]["function"]
                calls.append([function["name"], function.get("arguments") or ""])
            case "tool-call-delta":
                calls[-1][1] += message["tool_calls"]["function"]["arguments"]
            case "message-end":
                raw, usage = delta.get("finish_reason") or "", delta.get("usage") or {}
    if calls:
        result.calls[0] = [(name, arguments(text)) for name, text in calls]
    if raw:
        result.finishes[0] = with_calls(COHERE_FINISHES.get(raw, "OTHER"), calls)
    tokens = usage.get("tokens") or {}
    if "image_tokens" in tokens and "input_tokens" in tokens:
        tokens["input_tokens"] += tokens["image_tokens"]  # told apart: billed_units has both in one
    billed = usage.get("billed_units") or {}
    unbilled = {
        side: tokens[f"{side}_tokens"] - billed[f"{side}_tokens"]
        for side in ("input", "output")
        if f"{side}_tokens" in tokens and f"{side}_tokens" in billed
    }
    result.usage = clamped(
        {
            "input": tokens.get("input_tokens", billed.get("input_tokens")),
            "output": tokens.get("output_tokens", billed.get("output_tokens")),
            "unbilled_input": unbilled.get("input"),
            "unbilled_output": unbilled.get("output"),
            "cache_read": usage.get("cached_tokens"),
            "reasoning": tokens.get("reasoning_tokens"),
            "input_image": tokens.get("image_tokens"),
        }
    )
    return result


def _cohere_block(result: Expected, block: dict[str, Any]) -> None:
    result.add(result.texts, 0, block.get("text"))
    result.add(result.reasoning, 0, block.get("thinking"))


def ollama(recording: dict[str, Any]) -> Expected:
    """Ollama's own chat, NDJSON or whole."""
    result = Expected()
    calls: list[tuple[str, Any]] = []
    last: dict[str, Any] = {}
    for document in documents(recording):
        if document.get("error"):
            result.error = errors.of_event({"error": {"message": document["error"]}})
            return result
        message = document.get("message") or {}
        result.add(result.texts, 0, message.get("content") or document.get("response"))  # chat, or generate
        result.add(result.reasoning, 0, message.get("thinking"))
        calls += [
            (call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or []
        ]
        result.model = result.model or document.get("model")
        if document.get("done"):
            last = document
    if calls:
        result.calls[0] = calls
    reason = {"stop": "STOP", "length": "LENGTH"}.get(last.get("done_reason", "stop"), "OTHER")
    result.finishes[0] = "TOOL_CALLS" if reason == "STOP" and calls else reason
    result.usage = clamped({"input": last.get("prompt_eval_count"), "output": last.get("eval_count")})
    return result
