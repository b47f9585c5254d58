"""Errors that vendors are known to send and no recording at hand shows: bodies from their documentation."""

import json
from typing import Any

import pytest

from services.providers.adapters.registry import format_of
from services.providers.domain.failure import AttemptError
from services.providers.ports import Answer
from turnpike.common.v1 import error_pb2

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def read(provider: str, wire_format: str, body: Any) -> Answer:
    speaks = format_of(provider, wire_format)
    assert speaks is not None
    return speaks.parse_response({}, json.dumps(body).encode())


def error(provider: str, wire_format: str, status: int, body: Any) -> tuple[str, str]:
    speaks = format_of(provider, wire_format)
    assert speaks is not None
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = speaks.parse_error(status, {}, raw).failure
    reason = error_pb2.ErrorReason.Name(failure.reason).removeprefix("ERROR_REASON_")
    return reason, error_pb2.RetryClass.Name(failure.retry).removeprefix("RETRY_CLASS_")


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


def message(said: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish, **more}
    return {"id": "c", "choices": [choice], "usage": USAGE}


FAILED_WITHIN_200: dict[str, tuple[str, Any, str]] = {
    "OpenRouter, an error beside nothing": (
        "openrouter",
        {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "slow down"}}},
        "VENDOR_RATE_LIMITED",
    ),
    "OpenRouter, an error in its only choice": (
        "openrouter",
        message({"content": ""}, "error", error={"message": "Upstream error", "code": 502}),
        "VENDOR_ERROR",
    ),
}


@pytest.mark.parametrize("name", FAILED_WITHIN_200)
def test_errors_within_a_200(name: str) -> None:
    provider, body, reason = FAILED_WITHIN_200[name]
    with pytest.raises(AttemptError) as caught:
        read(provider, "openai_chat", body)
    assert error_pb2.ErrorReason.Name(caught.value.failure.reason) == f"ERROR_REASON_{reason}"


BROKEN_STREAMS: dict[str, tuple[str, bytes, str]] = {
    "OpenRouter, with a finish of its own": (
        "openrouter",
        b": OPENROUTER PROCESSING\n\ndata: "
        + json.dumps(
            {**chunk({"content": ""}, "error"), "error": {"code": "server_error", "message": "x"}}
        ).encode()
        + b"\n\n",
        "VENDOR_ERROR",
    ),
    "Groq, a failed tool call": (
        "groq",
        b'event: error\ndata: {"error":{"message":"Failed to call a function","type":"invalid_request_error",'
        b'"code":"tool_use_failed","status_code":400}}\n\n',
        "VENDOR_ERROR",
    ),
    "older llama.cpp, a field of its own": (
        "llamacpp",
        b'error: {"code":500,"message":"boom","type":"server_error"}\n\n',
        "VENDOR_ERROR",
    ),
    "TGI, without a space": (
        "huggingface",
        b'data:{"error":"Request failed during generation","error_type":"generation"}\n\n',
        "VENDOR_ERROR",
    ),
    "nothing more": ("openai", b"", "VENDOR_STREAM_TRUNCATED"),
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_streams_that_break_off(name: str) -> None:
    provider, end, reason = BROKEN_STREAMS[name]
    speaks = format_of(provider, "openai_chat")
    assert speaks is not None
    parser = speaks.stream_parser({})
    [said] = parser.feed(b"data: " + json.dumps(chunk({"content": "Hi"})).encode() + b"\n\n")
    assert said.text == "Hi"
    parser.feed(end)
    with pytest.raises(AttemptError) as caught:
        parser.close()
    assert error_pb2.ErrorReason.Name(caught.value.failure.reason) == f"ERROR_REASON_{reason}"


def _error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def _anthropic(kind: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


CHAT, CLAUDE, GEMINI = "openai_chat", "anthropic_messages", "gemini"
ERRORS: dict[str, tuple[str, str, int, Any, tuple[str, str]]] = {
    "OpenAI, a flagged prompt": (
        "openai",
        "openai_responses",
        400,
        _error(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            code="invalid_prompt",
        ),
        ("CONTENT_FILTERED", "NEVER"),
    ),
    "OpenAI, a country": (
        "openai",
        CHAT,
        403,
        _error("Country, region, or territory not supported", code="unsupported_country_region_territory"),
        ("VENDOR_AUTHENTICATION_FAILED", "OTHER_CREDENTIAL"),
    ),
    "xAI, a new team": (
        "xai",
        CHAT,
        403,
        {
            "code": "The caller does not have permission",
            "error": "Your newly created team doesn't have any credits yet.",
        },
        ("VENDOR_QUOTA_EXHAUSTED", "OTHER_CREDENTIAL"),
    ),
    "Cerebras, flat": (
        "cerebras",
        CHAT,
        429,
        {
            "message": "Requests per minute limit exceeded",
            "type": "too_many_requests_error",
            "code": "request_quota_exceeded",
        },
        ("VENDOR_RATE_LIMITED", "SAME_ENDPOINT"),
    ),
    "Fireworks, too long": (
        "fireworks",
        CHAT,
        400,
        _error(
            "The prompt is too long: 140000, model maximum context length: 131071",
            type="invalid_request_error",
        ),
        ("CONTEXT_LENGTH_EXCEEDED", "LARGER_CONTEXT"),
    ),
    "Together, too long": (
        "together",
        CHAT,
        422,
        _error(
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens"
        ),
        ("CONTEXT_LENGTH_EXCEEDED", "LARGER_CONTEXT"),
    ),
    "vLLM of old": (
        "vllm",
        CHAT,
        400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400},
        ("CONTEXT_LENGTH_EXCEEDED", "LARGER_CONTEXT"),
    ),
    "llama.cpp, loading": (
        "llamacpp",
        CHAT,
        503,
        _error("Loading model", code=503, type="unavailable_error"),
        ("VENDOR_OVERLOADED", "SAME_ENDPOINT"),
    ),
    "NVIDIA, a problem document": (
        "nim",
        CHAT,
        401,
        {"status": 401, "title": "Unauthorized", "detail": "Authentication failed"},
        ("VENDOR_AUTHENTICATION_FAILED", "OTHER_CREDENTIAL"),
    ),
    "Cloudflare, a list": (
        "cloudflare",
        CHAT,
        400,
        {"success": False, "errors": [{"message": "Unknown model @cf/x", "code": 5007}]},
        ("VENDOR_MODEL_NOT_FOUND", "OTHER_MODEL"),
    ),
    "DashScope, a debt": (
        "dashscope",
        CHAT,
        400,
        _error("Access denied, please make sure your account is in good standing.", code="Arrearage"),
        ("VENDOR_QUOTA_EXHAUSTED", "OTHER_CREDENTIAL"),
    ),
    "Mistral, a validation error under message": (
        "mistral",
        CHAT,
        422,
        {"object": "error", "message": {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs"}]}},
        ("VENDOR_REJECTED_REQUEST", "NEVER"),
    ),
    "Groq, larger than its minute": (
        "groq",
        CHAT,
        413,
        _error(
            "Request too large for model `x` on tokens per minute (TPM)",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        ("VENDOR_RATE_LIMITED", "OTHER_MODEL"),
    ),
    "Anthropic, input and cap together": (
        "anthropic",
        CLAUDE,
        400,
        _anthropic(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
        ),
        ("CONTEXT_LENGTH_EXCEEDED", "LARGER_CONTEXT"),
    ),
    "Anthropic, its filter": (
        "anthropic",
        CLAUDE,
        400,
        _anthropic("invalid_request_error", "Output blocked by content filtering policy"),
        ("CONTENT_FILTERED", "NEVER"),
    ),
    "Anthropic, a spend limit": (
        "anthropic",
        CLAUDE,
        429,
        _anthropic("rate_limit_error", "Over your limit", details={"type": "spend_limit_reached"}),
        ("VENDOR_QUOTA_EXHAUSTED", "OTHER_CREDENTIAL"),
    ),
    "Gemini, an array": (
        "gemini",
        GEMINI,
        503,
        [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}],
        ("VENDOR_OVERLOADED", "SAME_ENDPOINT"),
    ),
    "nothing": ("openai", CHAT, 500, b"", ("VENDOR_ERROR", "SAME_ENDPOINT")),
    "a proxy's page": ("openai", CHAT, 524, b"<html>524</html>", ("VENDOR_ERROR", "SAME_ENDPOINT")),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_classified(name: str) -> None:
    provider, wire_format, status, body, expected = ERRORS[name]
    assert error(provider, wire_format, status, body) == expected
