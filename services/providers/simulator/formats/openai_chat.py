"""OpenAI's chat completions and embeddings, from the vendor's side."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from services.providers.simulator.answers import Ask, MadeCall, OfferedTool, Reply, pieces
from services.providers.simulator.formats import Left, Malformed, Refusal, Stream, required, sse, text_of
from services.providers.simulator.scenario import Fault

CHOICES_MAX = 8


class OpenAIChatSide:
    """Chat completions."""

    vendor = "openai"
    content_type = "text/event-stream; charset=utf-8"
    finish: ClassVar[Mapping[str, str]] = {
        "stop": "stop",
        "length": "length",
        "tool": "tool_calls",
        "filter": "content_filter",
    }

    def read(self, body: Mapping[str, Any], path: Mapping[str, str]) -> Ask:
        """The request."""
        messages = required(body, "messages", list)
        if not messages:
            raise Malformed("Invalid 'messages': empty array. Expected an array with minimum length 1.")
        texts, media = [], 0
        for message in messages:
            said, more = text_of(message.get("content"))
            texts.append(said)
            media += more
            texts += (json.dumps(call.get("function")) for call in message.get("tool_calls") or ())
        tools = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
        texts += (json.dumps(tool) for tool in tools)
        choice = body.get("tool_choice")
        options = body.get("stream_options") or {}
        effort = body.get("reasoning_effort")
        return Ask(
            model=required(body, "model", str),
            prompt="\n".join(texts),
            stream=bool(body.get("stream")),
            output_tokens_max=body.get("max_completion_tokens") or body.get("max_tokens"),
            tools=[OfferedTool(tool["name"], tool.get("parameters") or {}) for tool in tools],
            forced_tool=_forced(choice),
            tools_forbidden=choice == "none",
            has_results=messages[-1].get("role") == "tool",
            schema=_schema(body.get("response_format")),
            reasoning=effort not in (None, "none"),
            choices=min(body.get("n") or 1, CHOICES_MAX),
            stop=_stops(body.get("stop")),
            stream_usage=bool(options.get("include_usage")),
            media=media,
        )

    def call_id(self, call: MadeCall) -> str:
        """The id of a call in the vendor's form."""
        return f"call_{call.id}"

    def usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """What was consumed."""
        prompt, output = replies[0].input_tokens, sum(reply.output_tokens for reply in replies)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": replies[0].cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": sum(reply.reasoning_tokens for reply in replies),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def message(self, reply: Reply) -> dict[str, Any]:
        """The message of a whole answer."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(reply.text) or None,
            "refusal": None,
            "annotations": [],
        }
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": self.call_id(call),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments_json},
                }
                for call in reply.calls
            ]
        return message

    def whole(self, ask: Ask, replies: Sequence[Reply], created: int) -> Mapping[str, Any]:
        """A whole answer."""
        return {
            "id": f"chatcmpl-{replies[0].id}",
            "object": "chat.completion",
            "created": created,
            "model": ask.model,
            "choices": [
                {
                    "index": number,
                    "message": self.message(reply),
                    "logprobs": None,
                    "finish_reason": self.finish[reply.finish],
                }
                for number, reply in enumerate(replies)
            ],
            "usage": self.usage(replies),
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }

    def stream(self, ask: Ask, replies: Sequence[Reply], created: int) -> Stream:
        """The same as chunks."""
        frame = {
            "id": f"chatcmpl-{replies[0].id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }
        extra = {"usage": None} if ask.stream_usage else {}

        def chunk(number: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}
            return sse({**frame, "choices": [choice], **extra})

        first = {"role": "assistant", "content": "", "refusal": None}
        head = b"".join(chunk(number, first) for number in range(len(replies)))
        tokens: list[bytes] = []
        for number, reply in enumerate(replies):
            tokens += (b"" for _ in reply.reasoning)  # thought of, not told
            tokens += (chunk(number, {"content": piece}) for piece in reply.text)
            for index, call in enumerate(reply.calls):
                start = {
                    "index": index,
                    "id": self.call_id(call),
                    "type": "function",
                    "function": {"name": call.name, "arguments": ""},
                }
                tokens.append(chunk(number, {"tool_calls": [start]}))
                for piece in pieces(call.arguments_json):
                    part = {"index": index, "function": {"arguments": piece}}
                    tokens.append(chunk(number, {"tool_calls": [part]}))
        tail = b"".join(chunk(number, {}, self.finish[reply.finish]) for number, reply in enumerate(replies))
        if ask.stream_usage:
            tail += sse({**frame, "choices": [], "usage": self.usage(replies)})
        return Stream(head, tokens, tail + b"data: [DONE]\n\n")

    def refusal(self, fault: Fault, model: str, retry_after_s: float | None, reply_id: str) -> Refusal:
        """The vendor's errors."""
        return openai_refusal(fault, model, retry_after_s)

    def error_event(self) -> bytes:
        """An error in the middle of a stream."""
        return sse(
            {"error": _error("The server had an error while processing your request.", "server_error", None)}
        )

    def headers(self, left: Left, reply_id: str) -> dict[str, str]:
        """Limits and the request's id."""
        return openai_headers(left, reply_id)


def openai_headers(left: Left, reply_id: str) -> dict[str, str]:
    """Limits, where there are any, with durations as the vendor writes them."""
    headers = {
        "x-request-id": f"req_{reply_id}",
        "openai-version": "2020-10-01",
        "openai-processing-ms": "1",
    }
    for name, limit, remaining in (
        ("requests", left.requests_limit, left.requests_left),
        ("tokens", left.tokens_limit, left.tokens_left),
    ):
        if limit is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(remaining)
            headers[f"x-ratelimit-reset-{name}"] = f"{left.reset_s:.3f}s"
    return headers


def openai_refusal(fault: Fault, model: str, retry_after_s: float | None) -> Refusal:
    """Errors in OpenAI's shape."""
    wait_s = retry_after_s if retry_after_s is not None else 1.0
    match fault:
        case Fault.RATE_LIMIT:
            message = (
                f"Rate limit reached for {model} in organization org-simulated on requests per min (RPM). "
                f"Please try again in {wait_s:g}s. Visit https://platform.openai.com/account/rate-limits to learn more."
            )
            headers = {"retry-after": f"{max(1, round(wait_s))}", "retry-after-ms": f"{round(wait_s * 1e3)}"}
            return Refusal(429, {"error": _error(message, "requests", "rate_limit_exceeded")}, headers)
        case Fault.QUOTA:
            message = "You exceeded your current quota, please check your script and billing details."
            return Refusal(429, {"error": _error(message, "insufficient_quota", "insufficient_quota")})
        case Fault.OVERLOADED:
            message = "The server is currently overloaded with other requests. Sorry about that!"
            error = _error(message, "service_unavailable_error", "server_is_overloaded")
            headers = {} if retry_after_s is None else {"retry-after": f"{max(1, round(retry_after_s))}"}
            return Refusal(503, {"error": error}, headers)
        case Fault.AUTHENTICATION:
            message = (
                "Incorrect API key provided: sim. You can find your API key at https://platform.openai.com."
            )
            return Refusal(401, {"error": _error(message, "invalid_request_error", "invalid_api_key")})
        case Fault.MODEL_NOT_FOUND:
            message = f"The model `{model}` does not exist or you do not have access to it."
            return Refusal(404, {"error": _error(message, "invalid_request_error", "model_not_found")})
        case Fault.CONTEXT_LENGTH:
            message = (
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
                "Please reduce the length of the messages."
            )
            error = _error(message, "invalid_request_error", "context_length_exceeded", "messages")
            return Refusal(400, {"error": error})
        case Fault.BAD_REQUEST:
            return Refusal(400, {"error": _error("Invalid request.", "invalid_request_error", None)})
        case _:
            message = "The server had an error while processing your request. Sorry about that!"
            return Refusal(500, {"error": _error(message, "server_error", None)})


def _error(message: str, kind: str, code: str | None, parameter: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": parameter, "code": code}


def _forced(choice: Any) -> str:
    if choice in ("required", "any"):
        return "*"
    if isinstance(choice, Mapping):
        function = choice.get("function")
        return str(function.get("name", "")) if isinstance(function, Mapping) else str(choice.get("name", ""))
    return ""


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    if not isinstance(wanted, Mapping):
        return None
    if wanted.get("type") == "json_object":
        return {}
    if wanted.get("type") == "json_schema":
        inner = wanted.get("json_schema")
        schema: Mapping[str, Any] = (inner if isinstance(inner, Mapping) else wanted).get("schema") or {}
        return schema
    return None


def _stops(stop: Any) -> Sequence[str]:
    return [stop] if isinstance(stop, str) else stop or ()


forced_tool = _forced
wanted_schema = _schema
