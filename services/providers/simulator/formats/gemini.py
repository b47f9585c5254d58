"""Gemini's generateContent, from the vendor's side."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.providers.simulator.answers import Ask, OfferedTool, Reply
from services.providers.simulator.formats import Left, Malformed, Refusal, Stream, json_bytes
from services.providers.simulator.scenario import Fault

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP", "filter": "SAFETY"}


class GeminiSide:
    """generateContent and streamGenerateContent."""

    vendor = "gemini"
    content_type = "text/event-stream"

    def read(self, body: Mapping[str, Any], path: Mapping[str, str]) -> Ask:
        """The request; the model and the kind of call are in the path."""
        inner = body.get("generateContentRequest")
        body = inner if isinstance(inner, Mapping) else body
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            raise Malformed("* GenerateContentRequest.contents: contents is not specified")
        texts, media = [], 0
        system = body.get("systemInstruction") or body.get("system_instruction") or {}
        for content in (system, *contents):
            if content.get("role") not in (None, "user", "model", "system", "function"):
                raise Malformed("Please use a valid role: user, model.")
            for part in content.get("parts") or ():
                if isinstance(part.get("text"), str):
                    texts.append(part["text"])
                elif "functionCall" in part or "functionResponse" in part:
                    texts.append(json.dumps(part))
                else:
                    media += 1
        declared = [
            function
            for tool in body.get("tools") or ()
            for function in tool.get("functionDeclarations") or tool.get("function_declarations") or ()
        ]
        texts += (json.dumps(function) for function in declared)
        settings = body.get("generationConfig") or body.get("generation_config") or {}
        config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        allowed = config.get("allowedFunctionNames") or ()
        schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
        if schema is None and settings.get("responseMimeType") == "application/json":
            schema = {}
        thinking = settings.get("thinkingConfig") or {}
        return Ask(
            model=path["model"],
            prompt="\n".join(texts),
            stream=path["method"] == "streamGenerateContent",
            output_tokens_max=settings.get("maxOutputTokens"),
            tools=[OfferedTool(function["name"], _schema(function)) for function in declared],
            forced_tool=(allowed[0] if allowed else "*") if config.get("mode") == "ANY" else "",
            tools_forbidden=config.get("mode") == "NONE",
            has_results=any("functionResponse" in part for part in contents[-1].get("parts") or ()),
            schema=schema,
            reasoning=any(
                thinking.get(name)  # the vendor takes both spellings, and its own client mixes them
                for name in ("includeThoughts", "include_thoughts", "thinkingLevel", "thinking_level")
            ),
            choices=min(settings.get("candidateCount") or 1, 8),
            stop=settings.get("stopSequences") or (),
            media=media,
        )

    def _usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        prompt = replies[0].input_tokens
        thoughts = sum(reply.reasoning_tokens for reply in replies)
        candidates = sum(reply.output_tokens for reply in replies) - thoughts
        usage: dict[str, Any] = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": candidates,
            "totalTokenCount": prompt + candidates + thoughts,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
        if replies[0].cached_tokens:
            usage["cachedContentTokenCount"] = replies[0].cached_tokens
        return usage

    def _calls(self, reply: Reply) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for call in reply.calls:
            part: dict[str, Any] = {
                "functionCall": {"name": call.name, "args": json.loads(call.arguments_json)}
            }
            if not parts:
                part["thoughtSignature"] = _signature(reply)
            parts.append(part)
        return parts

    def _answer(self, ask: Ask, replies: Sequence[Reply], candidates: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "candidates": candidates,
            "usageMetadata": self._usage(replies),
            "modelVersion": ask.model,
            "responseId": replies[0].id,
        }

    def whole(self, ask: Ask, replies: Sequence[Reply], created: int) -> Mapping[str, Any]:
        """A whole answer."""
        candidates = []
        for number, reply in enumerate(replies):
            parts: list[dict[str, Any]] = []
            if reply.reasoning:
                parts.append({"text": "".join(reply.reasoning), "thought": True})
            if reply.text:
                parts.append({"text": "".join(reply.text)})
            content = {"parts": parts + self._calls(reply), "role": "model"}
            candidates.append({"content": content, "finishReason": _FINISH[reply.finish], "index": number})
        return self._answer(ask, replies, candidates)

    def stream(self, ask: Ask, replies: Sequence[Reply], created: int) -> Stream:
        """The same as whole answers that each add a little; calls come whole, with the end."""

        def chunk(number: int, parts: list[dict[str, Any]], finish: str = "") -> bytes:
            candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": number}
            if finish:
                candidate["finishReason"] = finish
            return _sse(self._answer(ask, replies, [candidate]))

        tokens: list[bytes] = []
        tail = b""
        for number, reply in enumerate(replies):
            tokens += (chunk(number, [{"text": piece, "thought": True}]) for piece in reply.reasoning)
            tokens += (chunk(number, [{"text": piece}]) for piece in reply.text)
            tail += chunk(number, self._calls(reply) or [{"text": ""}], _FINISH[reply.finish])
        return Stream(b"", tokens, tail)

    def refusal(self, fault: Fault, model: str, retry_after_s: float | None, reply_id: str) -> Refusal:
        """The vendor's errors."""
        status, word, message = _ERRORS.get(fault, _ERRORS[Fault.SERVER_ERROR])
        error: dict[str, Any] = {"code": status, "message": message.format(model=model), "status": word}
        if fault is Fault.AUTHENTICATION:
            error["details"] = [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": {"service": "generativelanguage.googleapis.com"},
                }
            ]
        if fault is Fault.RATE_LIMIT:
            wait_s = retry_after_s if retry_after_s is not None else 1.0
            error["message"] += f"\nPlease retry in {wait_s}s."
            retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait_s:g}s"}
            error["details"] = [retry]
        return Refusal(status, {"error": error})

    def error_event(self) -> bytes:
        """An error in the middle of a stream."""
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        return _sse({"error": error})

    def headers(self, left: Left, reply_id: str) -> dict[str, str]:
        """The vendor tells no limits."""
        return {"x-gemini-service-tier": "standard"}


_ERRORS = {
    Fault.RATE_LIMIT: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    Fault.QUOTA: (
        429,
        "RESOURCE_EXHAUSTED",
        "Your prepayment credits are depleted: spending limit reached. Please go to AI Studio to manage billing.",
    ),
    Fault.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    Fault.SERVER_ERROR: (500, "INTERNAL", "An internal error has occurred. Please retry."),
    Fault.AUTHENTICATION: (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    Fault.MODEL_NOT_FOUND: (404, "NOT_FOUND", "models/{model} is not found for API version v1beta."),
    Fault.CONTEXT_LENGTH: (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    Fault.BAD_REQUEST: (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
}


def _schema(function: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("parametersJsonSchema", "parameters_json_schema", "parameters"):
        if isinstance(function.get(name), Mapping):
            found: Mapping[str, Any] = function[name]
            return found
    return {}


def _sse(data: Mapping[str, Any]) -> bytes:
    """The vendor ends its lines with carriage returns too."""
    return b"data: " + json_bytes(data) + b"\r\n\r\n"


def _signature(reply: Reply) -> str:
    return base64.b64encode(f"simulated:{reply.id}".encode()).decode()
