"""Mistral's chat completions, from the vendor's side: OpenAI's shape with its own errors, ids and thinking."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from services.providers.simulator.answers import Ask, MadeCall, Reply
from services.providers.simulator.formats import Left, Refusal, Stream, sse
from services.providers.simulator.formats.openai_chat import OpenAIChatSide
from services.providers.simulator.scenario import Fault


class MistralSide(OpenAIChatSide):
    """Chat completions at Mistral."""

    vendor = "mistral"
    content_type = "text/event-stream; charset=utf-8"
    finish: ClassVar[Mapping[str, str]] = {
        "stop": "stop",
        "length": "length",
        "tool": "tool_calls",
        "filter": "error",
    }

    def call_id(self, call: MadeCall) -> str:
        """Nine letters and digits."""
        return call.id[-9:]

    def usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """What was consumed; thinking is part of the completion and not told apart."""
        prompt, output = replies[0].input_tokens, sum(reply.output_tokens for reply in replies)
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
        }
        if replies[0].cached_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": replies[0].cached_tokens}
        return usage

    def message(self, reply: Reply) -> dict[str, Any]:
        """The message; with thinking its content is an array."""
        text = "".join(reply.text)
        content: Any = text
        if reply.reasoning:
            thought = {"type": "text", "text": "".join(reply.reasoning)}
            content = [{"type": "thinking", "thinking": [thought], "closed": True}]
            if text:
                content.append({"type": "text", "text": text})
        calls = [self._call(call, number) for number, call in enumerate(reply.calls)] or None
        return {"role": "assistant", "content": content, "tool_calls": calls}

    def _call(self, call: MadeCall, number: int) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments_json}
        return {"id": self.call_id(call), "type": "function", "function": function, "index": number}

    def whole(self, ask: Ask, replies: Sequence[Reply], created: int) -> Mapping[str, Any]:
        """A whole answer."""
        choices = [
            {"index": number, "message": self.message(reply), "finish_reason": self.finish[reply.finish]}
            for number, reply in enumerate(replies)
        ]
        return {
            "id": replies[0].id,
            "object": "chat.completion",
            "created": created,
            "model": ask.model,
            "choices": choices,
            "usage": self.usage(replies),
        }

    def stream(self, ask: Ask, replies: Sequence[Reply], created: int) -> Stream:
        """The same as chunks; the last one of a choice has the finish reason, and the usage unasked."""
        frame = {
            "id": replies[0].id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": ask.model,
        }

        def chunk(number: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": number, "delta": delta, "finish_reason": finish}
            usage = {"usage": self.usage(replies)} if finish and number == len(replies) - 1 else {}
            return sse({**frame, "choices": [choice], **usage, "p": "abcdefgh"})

        head = b"".join(chunk(number, {"role": "assistant", "content": ""}) for number in range(len(replies)))
        tokens: list[bytes] = []
        tail = b""
        for number, reply in enumerate(replies):
            for piece in reply.reasoning:
                thinking = {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}
                tokens.append(chunk(number, {"content": [thinking]}))
            tokens += (chunk(number, {"content": piece}) for piece in reply.text)
            last: dict[str, Any] = {"content": ""}
            if reply.calls:
                last["tool_calls"] = [self._call(call, index) for index, call in enumerate(reply.calls)]
            tail += chunk(number, last, self.finish[reply.finish])
        return Stream(head, tokens, tail + b"data: [DONE]\n\n")

    def refusal(self, fault: Fault, model: str, retry_after_s: float | None, reply_id: str) -> Refusal:
        """The vendor's errors, in its several shapes."""
        match fault:
            case Fault.AUTHENTICATION:
                return Refusal(401, {"detail": "Invalid API Key"})
            case Fault.RATE_LIMIT:
                return Refusal(429, _error("Rate limit exceeded", "rate_limited", "1300", 429))
            case Fault.OVERLOADED:
                message = f"Service tier capacity exceeded for this model: {model}."
                return Refusal(429, _error(message, "service_tier_capacity_exceeded", "3505", 429))
            case Fault.QUOTA:
                return Refusal(402, _error("Payment required.", "payment_required", "1400", 402))
            case Fault.MODEL_NOT_FOUND:
                return Refusal(400, _error(f"Invalid model: {model}", "invalid_model", "1500", 400))
            case Fault.CONTEXT_LENGTH:
                message = "Prompt contains 9000 tokens, too large for model with 8192 maximum context length"
                return Refusal(400, _error(message, "invalid_request_prompt", "3051", 400))
            case Fault.BAD_REQUEST:
                place = ["body", "messages"]
                problem = {"type": "missing", "loc": place, "msg": "Field required", "input": {}}
                return Refusal(422, {"detail": [problem]})
            case _:
                return Refusal(500, _error("Internal server error", "internal_server_error", "1000", 500))

    def error_event(self) -> bytes:
        """An error in the middle of a stream."""
        return sse(_error("Internal server error", "internal_server_error", "1000", 500))

    def headers(self, left: Left, reply_id: str) -> dict[str, str]:
        """Limits by the minute, and the request's id."""
        headers = {"mistral-correlation-id": reply_id}
        if left.requests_limit is not None:
            headers["x-ratelimit-limit-req-minute"] = str(left.requests_limit)
            headers["x-ratelimit-remaining-req-minute"] = str(left.requests_left)
        if left.tokens_limit is not None:
            headers["x-ratelimit-limit-tokens-minute"] = str(left.tokens_limit)
            headers["x-ratelimit-remaining-tokens-minute"] = str(left.tokens_left)
        return headers


def _error(message: str, kind: str, code: str, status: int) -> dict[str, Any]:
    return {
        "object": "error",
        "message": message,
        "type": kind,
        "param": None,
        "code": code,
        "raw_status_code": status,
    }
