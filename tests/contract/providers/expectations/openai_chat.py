"""Chat completions of all who speak them."""

from decimal import Decimal
from typing import Any

from tests.contract.providers.expectations import errors
from tests.contract.providers.expectations.shape import Expected, arguments, clamped, documents, is_stream

FINISHES = {
    "stop": "STOP",
    "eos": "STOP",
    "length": "LENGTH",
    "model_length": "LENGTH",
    "tool_calls": "TOOL_CALLS",
    "function_call": "TOOL_CALLS",
    "content_filter": "CONTENT_FILTER",
    "error": "ERROR",
    "abort": "ERROR",
    "insufficient_system_resource": "ERROR",
    "sensitive": "CONTENT_FILTER",
    "network_error": "ERROR",
}


class _Choice:
    def __init__(self) -> None:
        self.calls: dict[Any, dict[str, str]] = {}
        self.latest: Any = None
        self.raw = ""


def expected(recording: dict[str, Any]) -> Expected:
    """What must come out of a chat completion, whole or streamed."""
    result = Expected()
    usage: dict[str, Any] | None = None
    choices: dict[int, _Choice] = {}
    for document in documents(recording):
        usage = document.get("usage") or (document.get("x_groq") or {}).get("usage") or usage
        groq = (document.get("x_groq") or {}).get("error")
        if groq:
            result.error = errors.of_event({"error": {"message": groq}})
            break
        if document.get("error") and (is_stream(recording) or not document.get("choices")):
            result.error = errors.of_event(document)
            break
        broken = [choice["error"] for choice in document.get("choices") or [] if choice.get("error")]
        if broken and is_stream(recording):
            result.error = errors.of_event({"error": broken[0]})
            break
        only = (document.get("choices") or [{}])[0] if not is_stream(recording) else {}
        if only.get("error") and not (only.get("message") or {}).get("content"):
            result.error = errors.of_event({"error": only["error"]})
            break
        result.model = result.model or document.get("model")
        for position, raw in enumerate(document.get("choices") or []):
            index = raw["index"] if isinstance(raw.get("index"), int) else position
            usage = usage or raw.get("usage")
            _read(result, choices.setdefault(index, _Choice()), index, raw, whole=not is_stream(recording))
    if (
        is_stream(recording)
        and result.error is None
        and "[DONE]" not in (recording["response"]["body"] or "")
    ) and (not choices or not all(choice.raw for choice in choices.values())):
        result.error = "truncated"
    for index, choice in choices.items():
        if choice.calls:
            result.calls[index] = [
                (call["name"], arguments(call["arguments"])) for call in choice.calls.values()
            ]
        if choice.raw:
            finish = FINISHES.get(choice.raw, "OTHER")
            if finish == "STOP" and index in result.refusals:
                finish = "REFUSAL"
            elif finish == "STOP" and choice.calls:
                finish = "TOOL_CALLS"
            result.finishes[index] = finish
    result.usage, result.cost_nanos = (
        _usage(usage, recording["provider"]),
        _cost(usage, recording["provider"]),
    )
    return result


def _read(result: Expected, choice: _Choice, index: int, raw: dict[str, Any], *, whole: bool) -> None:
    said = raw.get("message" if whole else "delta") or {"content": raw.get("text")}  # Perplexity sends both
    reasoning = said.get("reasoning_content") or said.get("reasoning")
    if not reasoning:
        reasoning = "".join(
            detail.get("text") or detail.get("summary") or ""
            for detail in said.get("reasoning_details") or []
        )
    result.add(result.reasoning, index, reasoning)
    content: Any = said.get("content")
    parts: Any = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for part in parts:
        if part.get("type") == "thinking":
            thinking = part["thinking"]
            for inner in [{"text": thinking}] if isinstance(thinking, str) else thinking:
                result.add(result.reasoning, index, inner.get("text"))
        else:
            result.add(result.texts, index, part.get("text"))
    result.add(result.refusals, index, said.get("refusal"))
    if isinstance(said.get("audio"), dict):
        result.add(result.texts, index, said["audio"].get("transcript"))
    calls = list(said.get("tool_calls") or [])
    if said.get("function_call"):
        calls.append({"index": 0, "function": said["function_call"]})
    for position, call in enumerate(calls):
        _call(choice, call, position, whole=whole)
    choice.raw = choice.raw or raw.get("finish_reason") or ""


def _call(choice: _Choice, call: dict[str, Any], position: int, *, whole: bool) -> None:
    function = call.get("function") or {}
    if "custom" in call:
        function = {"name": call["custom"].get("name"), "arguments": call["custom"].get("input")}
    if whole:
        key: Any = ("whole", position)
    else:
        key = call.get("index")
        if key is None:
            key = call.get("id") or (len(choice.calls) if function.get("name") else choice.latest)
        known = choice.calls.get(key)
        if known and call.get("id") and function.get("name") and known["id"] not in ("", call["id"]):
            key = (key, call["id"])
    entry = choice.calls.setdefault(key, {"name": "", "arguments": "", "id": call.get("id") or ""})
    choice.latest = key
    if not entry["name"]:
        entry["name"] = function.get("name") or ""
    given = function.get("arguments")
    if isinstance(given, dict):
        entry["arguments"] = given  # type: ignore[assignment]
    elif given:
        entry["arguments"] += given


def _usage(raw: dict[str, Any] | None, provider: str) -> dict[str, int] | None:
    if not raw:
        return None
    inputs, outputs = raw.get("prompt_tokens_details") or {}, raw.get("completion_tokens_details") or {}
    prompt: Any = raw.get("prompt_tokens")
    completion: Any = raw.get("completion_tokens")
    total: Any = raw.get("total_tokens")
    reasoning = outputs.get("reasoning_tokens", raw.get("reasoning_tokens"))
    cached = inputs.get("cached_tokens")
    for name in ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"):
        cached = raw.get(name) if cached is None else cached
    written = inputs.get("cache_write_tokens", inputs.get("cache_creation_input_tokens"))
    written = raw.get("cache_creation_input_tokens") if written is None else written
    if provider == "xai" and completion is not None:
        completion += reasoning or 0  # told apart
    elif provider == "mistral" and inputs.get("audio_tokens") and total:
        if prompt + completion + inputs["audio_tokens"] == total:
            prompt += inputs["audio_tokens"]  # told apart
    elif None not in (prompt, completion, total) and total > prompt + completion:
        completion = total - prompt  # reasoning that is billed and not shown
    elif completion is None and None not in (prompt, total):
        completion = total - prompt  # embeddings
    elif prompt is None and None not in (completion, total):
        prompt = total - completion
    return clamped(
        {
            "input": prompt,
            "output": completion,
            "cache_read": cached,
            "cache_write": written,
            "reasoning": reasoning,
            "input_audio": inputs.get("audio_tokens"),
            "output_audio": outputs.get("audio_tokens"),
            "input_image": inputs.get("image_tokens"),
        }
    )


usage_of = _usage


def nanos(dollars: float | str) -> int:
    """Dollars as nano-USD, half-even."""
    return int((Decimal(str(dollars)) * 10**9).to_integral_value())


def _cost(raw: dict[str, Any] | None, provider: str) -> int | None:
    """Nano-USD, where the vendor's word is authoritative."""
    if not raw:
        return None
    if provider == "openrouter" and raw.get("cost") is not None:
        own = raw["cost"]
        if raw.get("is_byok"):
            upstream = (raw.get("cost_details") or {}).get("upstream_inference_cost")
            return None if upstream is None else nanos(own) + nanos(upstream)
        return nanos(own)
    if provider == "perplexity" and raw.get("cost"):
        return nanos(raw["cost"]["total_cost"])
    if provider == "xai" and raw.get("cost_in_usd_ticks") is not None:
        return int((Decimal(raw["cost_in_usd_ticks"]) / 10).to_integral_value())
    return None


cost_of = _cost
