"""OpenAI's Responses, from the vendor's side."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.providers.simulator.answers import Ask, OfferedTool, Reply, pieces
from services.providers.simulator.formats import Left, Malformed, Refusal, Stream, required, sse, text_of
from services.providers.simulator.formats.openai_chat import (
    forced_tool,
    openai_headers,
    openai_refusal,
    wanted_schema,
)
from services.providers.simulator.scenario import Fault


class OpenAIResponsesSide:
    """Responses."""

    vendor = "openai"
    content_type = "text/event-stream; charset=utf-8"

    def read(self, body: Mapping[str, Any], path: Mapping[str, str]) -> Ask:
        """The request."""
        given = body.get("input")
        if not given:
            raise Malformed("Missing required parameter: 'input'.")
        texts, media = [str(body.get("instructions") or "")], 0
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        for item in items:
            said, more = text_of(item.get("content") or item.get("output"))
            texts += (said, str(item.get("arguments") or ""))
            media += more
        tools = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
        texts += (json.dumps(tool) for tool in tools)
        choice = body.get("tool_choice")
        reasoning = body.get("reasoning") or {}
        return Ask(
            model=required(body, "model", str),
            prompt="\n".join(texts),
            stream=bool(body.get("stream")),
            output_tokens_max=body.get("max_output_tokens"),
            tools=[OfferedTool(tool["name"], tool.get("parameters") or {}) for tool in tools],
            forced_tool=forced_tool(choice),
            tools_forbidden=choice == "none",
            has_results=items[-1].get("type") == "function_call_output",
            schema=wanted_schema((body.get("text") or {}).get("format")),
            reasoning=reasoning.get("effort") not in (None, "none"),
            media=media,
        )

    def _items(self, reply: Reply) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        if reply.reasoning:
            summary = [{"type": "summary_text", "text": "".join(reply.reasoning)}]
            items.append({"id": f"rs_{reply.id}", "type": "reasoning", "summary": summary})
        if reply.text:
            content = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(reply.text)}
            items.append(
                {
                    "id": f"msg_{reply.id}",
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [content],
                }
            )
        items += (
            {
                "id": f"fc_{call.id}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_{call.id}",
                "name": call.name,
                "arguments": call.arguments_json,
            }
            for call in reply.calls
        )
        return items

    def _response(self, ask: Ask, reply: Reply, created: int, *, done: bool) -> dict[str, Any]:
        status, details = "in_progress", None
        if done:
            status = "completed"
            if reply.finish in ("length", "filter"):
                reason = "max_output_tokens" if reply.finish == "length" else "content_filter"
                status, details = "incomplete", {"reason": reason}
        usage = {
            "input_tokens": reply.input_tokens,
            "input_tokens_details": {"cached_tokens": reply.cached_tokens},
            "output_tokens": reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
            "total_tokens": reply.input_tokens + reply.output_tokens,
        }
        return {
            "id": f"resp_{reply.id}",
            "object": "response",
            "created_at": created,
            "status": status,
            "error": None,
            "incomplete_details": details,
            "instructions": None,
            "max_output_tokens": ask.output_tokens_max,
            "model": ask.model,
            "output": self._items(reply) if done else [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage if done else None,
            "user": None,
            "metadata": {},
        }

    def whole(self, ask: Ask, replies: Sequence[Reply], created: int) -> Mapping[str, Any]:
        """A whole answer."""
        return self._response(ask, replies[0], created, done=True)

    def stream(self, ask: Ask, replies: Sequence[Reply], created: int) -> Stream:
        """The same as numbered events."""
        reply = replies[0]
        events = _Events()
        began = self._response(ask, reply, created, done=False)
        events.add("response.created", response=began)
        events.add("response.in_progress", response=began)
        head = events.taken()
        tokens: list[bytes] = []
        for index, item in enumerate(self._items(reply)):
            place = {"item_id": item["id"], "output_index": index}
            match item["type"]:
                case "message":
                    self._message(events, tokens, place, item, reply.text)
                case "reasoning":
                    self._reasoning(events, tokens, place, item, reply.reasoning)
                case _:
                    self._call(events, tokens, place, item)
        done = self._response(ask, reply, created, done=True)
        events.add(f"response.{done['status']}", response=done)
        return Stream(head, tokens, events.taken())

    def _message(
        self,
        events: "_Events",
        tokens: list[bytes],
        place: Mapping[str, Any],
        item: Mapping[str, Any],
        text: Sequence[str],
    ) -> None:
        index, part = place["output_index"], item["content"][0]
        at = {**place, "content_index": 0}
        events.add(
            "response.output_item.added",
            output_index=index,
            item={**item, "status": "in_progress", "content": []},
        )
        events.add("response.content_part.added", **at, part={**part, "text": ""})
        for piece in text:
            events.add("response.output_text.delta", **at, delta=piece, logprobs=[])
            tokens.append(events.taken())
        events.add("response.output_text.done", **at, text=part["text"], logprobs=[])
        events.add("response.content_part.done", **at, part=part)
        events.add("response.output_item.done", output_index=index, item=item)

    def _reasoning(
        self,
        events: "_Events",
        tokens: list[bytes],
        place: Mapping[str, Any],
        item: Mapping[str, Any],
        thoughts: Sequence[str],
    ) -> None:
        index, part = place["output_index"], item["summary"][0]
        at = {**place, "summary_index": 0}
        events.add("response.output_item.added", output_index=index, item={**item, "summary": []})
        events.add("response.reasoning_summary_part.added", **at, part={**part, "text": ""})
        for piece in thoughts:
            events.add("response.reasoning_summary_text.delta", **at, delta=piece)
            tokens.append(events.taken())
        events.add("response.reasoning_summary_text.done", **at, text=part["text"])
        events.add("response.reasoning_summary_part.done", **at, part=part)
        events.add("response.output_item.done", output_index=index, item=item)

    def _call(
        self, events: "_Events", tokens: list[bytes], place: Mapping[str, Any], item: Mapping[str, Any]
    ) -> None:
        index = place["output_index"]
        begun = {**item, "status": "in_progress", "arguments": ""}
        events.add("response.output_item.added", output_index=index, item=begun)
        for piece in pieces(item["arguments"]):
            events.add("response.function_call_arguments.delta", **place, delta=piece)
            tokens.append(events.taken())
        events.add(
            "response.function_call_arguments.done", **place, arguments=item["arguments"], name=item["name"]
        )
        events.add("response.output_item.done", output_index=index, item=item)

    def refusal(self, fault: Fault, model: str, retry_after_s: float | None, reply_id: str) -> Refusal:
        """The vendor's errors; an unknown model is a bad request here."""
        refusal = openai_refusal(fault, model, retry_after_s)
        if fault is Fault.MODEL_NOT_FOUND:
            refusal.status = 400
        return refusal

    def error_event(self) -> bytes:
        """An error in the middle of a stream: two events."""
        error = {
            "type": "server_error",
            "code": "server_error",
            "message": "The server had an error.",
            "param": None,
        }
        failed = {"id": "resp_failed", "object": "response", "status": "failed", "error": error, "output": []}
        return sse({"type": "error", "sequence_number": 0, "error": error}, "error") + sse(
            {"type": "response.failed", "sequence_number": 1, "response": failed}, "response.failed"
        )

    def headers(self, left: Left, reply_id: str) -> dict[str, str]:
        """Limits and the request's id."""
        return openai_headers(left, reply_id)


class _Events:
    """Numbers events and collects their bytes."""

    def __init__(self) -> None:
        self._number = 0
        self._bytes = b""

    def add(self, kind: str, **data: Any) -> None:
        self._bytes += sse({"type": kind, "sequence_number": self._number, **data}, kind)
        self._number += 1

    def taken(self) -> bytes:
        taken, self._bytes = self._bytes, b""
        return taken
