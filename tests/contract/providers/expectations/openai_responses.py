"""OpenAI's Responses, whole or streamed: a stream's last event holds the whole, so both are read alike."""

from typing import Any

from tests.contract.providers.expectations import errors
from tests.contract.providers.expectations.openai_chat import cost_of
from tests.contract.providers.expectations.shape import Expected, arguments, clamped, documents

ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


def expected(recording: dict[str, Any]) -> Expected:
    """What must come out of a response."""
    found = documents(recording)
    if len(found) == 1 and "type" not in found[0]:
        return _whole(found[0], recording["provider"])
    for document in found:
        if document.get("type") == "error":
            inner = document.get("error") or document
            return Expected(error=errors.of_event({"error": inner}))
        if document.get("type") in ENDS:
            result = _whole(document["response"], recording["provider"])
            _from_events(result, found)
            return result
    return Expected(error="truncated")


def _whole(response: dict[str, Any], provider: str) -> Expected:
    result = Expected(model=response.get("model"))
    result.usage, result.cost_nanos = _usage(response.get("usage")), cost_of(response.get("usage"), provider)
    if response.get("error") or response.get("status") == "failed":
        result.error = errors.of_event({"error": response.get("error")})
        return result
    calls = []
    for item in response.get("output") or []:
        kind = item.get("type")
        if kind == "message":
            for content in item.get("content") or []:
                result.add(result.texts, 0, content.get("text"))
                result.add(result.refusals, 0, content.get("refusal"))
        elif kind in ("function_call", "custom_tool_call"):
            calls.append((item["name"], arguments(item.get("arguments", item.get("input")))))
        elif kind == "reasoning":
            paragraphs = [piece["text"] for piece in item.get("summary") or [] if piece.get("text")]
            thought = "\n\n".join(paragraphs) or "".join(p.get("text", "") for p in item.get("content") or [])
            result.add(result.reasoning, 0, thought)
    if calls:
        result.calls[0] = calls
    status = response.get("status")
    if status == "incomplete":
        reason = str((response.get("incomplete_details") or {}).get("reason"))
        result.finishes[0] = {"max_output_tokens": "LENGTH", "content_filter": "CONTENT_FILTER"}.get(
            reason, "OTHER"
        )
    elif status == "completed":
        result.finishes[0] = "REFUSAL" if result.refusals else "TOOL_CALLS" if calls else "STOP"
    else:
        result.finishes[0] = "OTHER"
    return result


def _from_events(result: Expected, found: list[dict[str, Any]]) -> None:
    """Some copies leave the output out of the last event: then the deltas are all there is."""
    texts = "".join(d.get("delta", "") for d in found if d.get("type") == "response.output_text.delta")
    if texts and not result.texts:
        result.texts[0] = texts
    thoughts = "".join(
        d.get("delta", "")
        for d in found
        if d.get("type") in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
    )
    if thoughts and not result.reasoning:
        result.reasoning[0] = thoughts


def _usage(raw: dict[str, Any] | None) -> dict[str, int] | None:
    if not raw:
        return None
    inputs, outputs = raw.get("input_tokens_details") or {}, raw.get("output_tokens_details") or {}
    return clamped(
        {
            "input": raw.get("input_tokens"),
            "output": raw.get("output_tokens"),
            "cache_read": inputs.get("cached_tokens"),
            "cache_write": inputs.get("cache_write_tokens"),
            "reasoning": outputs.get("reasoning_tokens"),
        }
    )
