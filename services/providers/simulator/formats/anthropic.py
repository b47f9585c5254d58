"""Anthropic's Messages, from the vendor's side."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.providers.simulator.answers import Ask, OfferedTool, Reply, pieces
from services.providers.simulator.formats import Left, Malformed, Refusal, Stream, required, sse, text_of
from services.providers.simulator.scenario import Fault

_FINISH = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "filter": "refusal"}


class AnthropicSide:
    """Messages."""

    vendor = "anthropic"
    content_type = "text/event-stream; charset=utf-8"

    def read(self, body: Mapping[str, Any], path: Mapping[str, str]) -> Ask:
        """The request."""
        messages = required(body, "messages", list)
        if path.get("method") != "count_tokens":
            required(body, "max_tokens", int)
        if not messages or messages[0].get("role") != "user":
            raise Malformed('messages: first message must use the "user" role')
        texts, media = [text_of(body.get("system"))[0]], 0
        for message in messages:
            said, more = text_of(message.get("content"))
            texts.append(said)
            media += more
        tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
        texts += (json.dumps(tool) for tool in tools)
        choice = body.get("tool_choice") or {}
        last = messages[-1].get("content")
        results = isinstance(last, list) and any(block.get("type") == "tool_result" for block in last)
        wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
        return Ask(
            model=required(body, "model", str),
            prompt="\n".join(texts),
            stream=bool(body.get("stream")),
            output_tokens_max=body.get("max_tokens"),
            tools=[OfferedTool(tool["name"], tool["input_schema"]) for tool in tools],
            forced_tool="*" if choice.get("type") == "any" else choice.get("name") or "",
            tools_forbidden=choice.get("type") == "none",
            has_results=results,
            schema=wanted.get("schema") if wanted else None,
            reasoning=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
            stop=body.get("stop_sequences") or (),
            media=media,
        )

    def _usage(self, reply: Reply, output_tokens: int) -> dict[str, Any]:
        return {
            "input_tokens": reply.input_tokens - reply.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": reply.cached_tokens,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }

    def _blocks(self, reply: Reply) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        if reply.reasoning:
            thinking = {"type": "thinking", "thinking": "".join(reply.reasoning)}
            blocks.append({**thinking, "signature": _signature(reply)})
        if reply.text:
            blocks.append({"type": "text", "text": "".join(reply.text)})
        blocks += (
            {
                "type": "tool_use",
                "id": f"toolu_{call.id}",
                "name": call.name,
                "input": json.loads(call.arguments_json),
            }
            for call in reply.calls
        )
        return blocks

    def _message(self, ask: Ask, reply: Reply) -> dict[str, Any]:
        return {
            "id": f"msg_{reply.id}",
            "type": "message",
            "role": "assistant",
            "model": ask.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def whole(self, ask: Ask, replies: Sequence[Reply], created: int) -> Mapping[str, Any]:
        """A whole answer."""
        reply = replies[0]
        return {
            **self._message(ask, reply),
            "content": self._blocks(reply),
            "stop_reason": _FINISH[reply.finish],
            "usage": self._usage(reply, reply.output_tokens),
        }

    def stream(self, ask: Ask, replies: Sequence[Reply], created: int) -> Stream:
        """The same as events; the ping comes third, as it mostly does."""
        reply = replies[0]
        start = {**self._message(ask, reply), "usage": self._usage(reply, 1)}
        head = _event({"type": "message_start", "message": start})
        tokens: list[bytes] = []
        ping = _event({"type": "ping"})
        index = 0

        def block(first: Mapping[str, Any], deltas: Sequence[Mapping[str, Any]]) -> None:
            nonlocal index, ping
            begin = {"type": "content_block_start", "index": index, "content_block": first}
            waiting, ping = _event(begin) + ping, b""
            for delta in deltas:
                event = {"type": "content_block_delta", "index": index, "delta": delta}
                tokens.append(waiting + _event(event))
                waiting = b""
            tokens[-1] += _event({"type": "content_block_stop", "index": index})
            index += 1

        if reply.reasoning:
            deltas: list[Mapping[str, Any]] = [
                {"type": "thinking_delta", "thinking": piece} for piece in reply.reasoning
            ]
            deltas.append({"type": "signature_delta", "signature": _signature(reply)})
            block({"type": "thinking", "thinking": "", "signature": ""}, deltas)
        if reply.text:
            block(
                {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in reply.text]
            )
        for call in reply.calls:
            first = {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": {}}
            parts = ["", *pieces(call.arguments_json)]
            block(first, [{"type": "input_json_delta", "partial_json": part} for part in parts])
        end = {"stop_reason": _FINISH[reply.finish], "stop_sequence": None}
        usage = {"output_tokens": reply.output_tokens}
        tail = _event({"type": "message_delta", "delta": end, "usage": usage})
        return Stream(head, tokens, tail + _event({"type": "message_stop"}))

    def refusal(self, fault: Fault, model: str, retry_after_s: float | None, reply_id: str) -> Refusal:
        """The vendor's errors."""
        status, kind, message = _ERRORS.get(fault, _ERRORS[Fault.SERVER_ERROR])
        headers = {"x-should-retry": "true" if status in (429, 500, 529) else "false"}
        if retry_after_s is not None or fault is Fault.RATE_LIMIT:
            headers["retry-after"] = f"{max(1, round(retry_after_s or 1.0))}"
        error = {"type": kind, "message": message.format(model=model)}
        return Refusal(status, {"type": "error", "error": error, "request_id": f"req_{reply_id}"}, headers)

    def error_event(self) -> bytes:
        """An error in the middle of a stream."""
        error = {"details": None, "type": "overloaded_error", "message": "Overloaded"}
        return sse({"type": "error", "error": error}, "error")

    def headers(self, left: Left, reply_id: str) -> dict[str, str]:
        """Limits and the request's id."""
        headers = {"request-id": f"req_{reply_id}"}
        for name, limit, remaining in (
            ("requests", left.requests_limit, left.requests_left),
            ("tokens", left.tokens_limit, left.tokens_left),
        ):
            if limit is not None:
                headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
                headers[f"anthropic-ratelimit-{name}-remaining"] = str(remaining)
        return headers


_ERRORS = {
    Fault.RATE_LIMIT: (429, "rate_limit_error", "This request would exceed your account's rate limit."),
    Fault.QUOTA: (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
    ),
    Fault.OVERLOADED: (529, "overloaded_error", "Overloaded"),
    Fault.SERVER_ERROR: (500, "api_error", "Internal server error"),
    Fault.AUTHENTICATION: (401, "authentication_error", "invalid x-api-key"),
    Fault.MODEL_NOT_FOUND: (404, "not_found_error", "model: {model}"),
    Fault.CONTEXT_LENGTH: (
        400,
        "invalid_request_error",
        "prompt is too long: 209000 tokens > 200000 maximum",
    ),
    Fault.BAD_REQUEST: (400, "invalid_request_error", "messages: invalid"),
}


def _event(data: Mapping[str, Any]) -> bytes:
    return sse(data, data["type"])


def _signature(reply: Reply) -> str:
    return base64.b64encode(f"simulated:{reply.id}".encode()).decode()
