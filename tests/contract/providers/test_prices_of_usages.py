"""What a vendor's usage costs: from its body, through the adapter, by the shipped prices, against sums done by hand."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.kernel.model_ref import ModelRef
from services.kernel.pricing import Usage, charge_nanos
from services.providers.adapters.catalogue.toml_files import shipped
from services.providers.adapters.registry import vendors
from turnpike.common.v1 import usage_pb2

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def chat(**usage: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hi"}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def anthropic(**usage: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": usage,
    }


def gemini(**usage: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": usage}


def bedrock(**usage: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": [{"text": "Hi"}]}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}


CASES: dict[str, tuple[str, str, dict[str, Any], str, int]] = {
    # 12 x 3.00 + 4167 x 0.30 + 348 x 15.00 dollars a million = 36.0 + 1250.1 + 5220.0 millionths of a dollar
    "anthropic reads its cache, which its input leaves out": (
        "anthropic",
        "anthropic_messages",
        anthropic(
            input_tokens=12, cache_read_input_tokens=4_167, cache_creation_input_tokens=0, output_tokens=348
        ),
        "anthropic/claude-sonnet-4-5",
        6_506_100,
    ),
    # 8 x 3.00 + 4167 x 3.75 + 204 x 15.00 = 24.0 + 15626.25 + 3060.0
    "anthropic writes its cache at a surcharge": (
        "anthropic",
        "anthropic_messages",
        anthropic(
            input_tokens=8, cache_read_input_tokens=0, cache_creation_input_tokens=4_167, output_tokens=204
        ),
        "anthropic/claude-sonnet-4-5",
        18_710_250,
    ),
    # 10 x 1.00 + 1000 x 1.25 + 2000 x 2.00 + 500 x 0.10 + 100 x 5.00 = 10 + 1250 + 4000 + 50 + 500
    "anthropic writes for five minutes and for an hour, and reads": (
        "anthropic",
        "anthropic_messages",
        anthropic(
            input_tokens=10,
            cache_read_input_tokens=500,
            cache_creation_input_tokens=3_000,
            cache_creation={"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
            output_tokens=100,
        ),
        "anthropic/claude-haiku-4-5",
        5_810_000,
    ),
    # Above 100,000 input tokens all of it is dearer: 60000 x 0.50 + 60000 x 0.05 + 10 x 2.50 = 30000 + 3000 + 25
    "anthropic prices a long prompt anew, cached tokens counting towards its length": (
        "anthropic",
        "anthropic_messages",
        anthropic(input_tokens=60_000, cache_read_input_tokens=60_000, output_tokens=10),
        "anthropic/claude-haiku-5-5",
        33_025_000,
    ),
    # 9 x 0.30 + (10 + 38) x 2.50 = 2.7 + 120
    "gemini keeps thoughts apart from its output": (
        "gemini",
        "gemini",
        gemini(promptTokenCount=9, candidatesTokenCount=10, thoughtsTokenCount=38, totalTokenCount=57),
        "gemini/gemini-2.5-flash",
        122_700,
    ),
    # 200000 x 2.50 + 50000 x 0.25 + 1500 x 15.00 = 500000 + 12500 + 22500
    "gemini above 200,000 tokens": (
        "gemini",
        "gemini",
        gemini(
            promptTokenCount=250_000,
            cachedContentTokenCount=50_000,
            candidatesTokenCount=1_000,
            thoughtsTokenCount=500,
            totalTokenCount=251_500,
        ),
        "gemini/gemini-2.5-pro",
        535_000_000,
    ),
    # 200000 x 1.25 + 1000 x 10.00 = 250000 + 10000
    "gemini at exactly 200,000 tokens is still in the lower tier": (
        "gemini",
        "gemini",
        gemini(promptTokenCount=200_000, candidatesTokenCount=1_000, totalTokenCount=201_000),
        "gemini/gemini-2.5-pro",
        260_000_000,
    ),
    # 800 x 0.30 + 200 x 1.00 + 50 x 2.50 = 240 + 200 + 125
    "gemini's audio is dearer than its text": (
        "gemini",
        "gemini",
        gemini(
            promptTokenCount=1_000,
            promptTokensDetails=[
                {"modality": "TEXT", "tokenCount": 800},
                {"modality": "AUDIO", "tokenCount": 200},
            ],
            candidatesTokenCount=50,
            totalTokenCount=1_050,
        ),
        "gemini/gemini-2.5-flash",
        565_000,
    ),
    # 32 x 1.25 + (9 + 100) x 2.50 = 40 + 272.5
    "xai leaves reasoning out of completion tokens": (
        "xai",
        "openai_chat",
        chat(
            prompt_tokens=32,
            completion_tokens=9,
            total_tokens=141,
            completion_tokens_details={"reasoning_tokens": 100},
        ),
        "xai/grok-4.3",
        312_500,
    ),
    # Never more cached than read: 10 x 0.20 + 20 x 2.50 = 2 + 50
    "azure's grok reports more cached than prompt tokens": (
        "azure",
        "openai_chat",
        chat(
            prompt_tokens=10,
            completion_tokens=20,
            total_tokens=30,
            prompt_tokens_details={"cached_tokens": 161},
        ),
        "xai/grok-4.3",
        52_000,
    ),
    # 80 x 2.50 + 1920 x 1.25 + 100 x 10.00 = 200 + 2400 + 1000
    "openai's cached tokens are part of its prompt": (
        "openai",
        "openai_chat",
        chat(
            prompt_tokens=2_000,
            completion_tokens=100,
            total_tokens=2_100,
            prompt_tokens_details={"cached_tokens": 1_920},
        ),
        "openai/gpt-4o",
        3_600_000,
    ),
    # 300000 x 5.00 + 1000 x 22.50 = 1500000 + 22500; reasoning is part of the thousand
    "openai above 272,000 tokens, reasoning within the output": (
        "openai",
        "openai_chat",
        chat(
            prompt_tokens=300_000,
            completion_tokens=1_000,
            total_tokens=301_000,
            completion_tokens_details={"reasoning_tokens": 900},
        ),
        "openai/gpt-5.4",
        1_522_500_000,
    ),
    # 22 x 0.06 + 2492 x 0.015 + 13 x 0.24 = 1.32 + 37.38 + 3.12
    "bedrock leaves cached tokens out of its input": (
        "bedrock",
        "bedrock_converse",
        bedrock(inputTokens=22, outputTokens=13, totalTokens=2_527, cacheReadInputTokens=2_492),
        "bedrock/amazon.nova-lite-v1:0",
        41_820,
    ),
    # 1 x 0.0375 + 1 x 0.15 millionths = 37.5 + 150 nanos: half to even
    "the smallest sum is rounded to the even nano": (
        "cohere",
        "cohere_chat",
        {
            "message": {"content": [{"type": "text", "text": "Hi"}]},
            "finish_reason": "COMPLETE",
            "usage": {"tokens": {"input_tokens": 1, "output_tokens": 1}},
        },
        "cohere/command-r7b-12-2024",
        188,
    ),
    # 80 x 2.50 + 36 x 10.00 = 200 + 360: neither its own prompt around the caller's, cached or not, nor its own marks
    "cohere bills fewer tokens than its model reads": (
        "cohere",
        "cohere_chat",
        {
            "message": {"content": [{"type": "text", "text": "Hi"}]},
            "finish_reason": "COMPLETE",
            "usage": {
                "billed_units": {"input_tokens": 80, "output_tokens": 36},
                "tokens": {"input_tokens": 1_508, "output_tokens": 50},
                "cached_tokens": 992,
            },
        },
        "cohere/command-r-plus-08-2024",
        560_000,
    ),
}


def counted(usage: usage_pb2.Usage) -> Usage:
    return Usage(
        **{name: getattr(usage, name) for name in Usage.__slots__ if usage.HasField(name)}  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("case", CASES)
def test_the_charge_is_the_sum_done_by_hand(case: str) -> None:
    provider, wire_format, body, model, nanos = CASES[case]
    answer = vendors()[provider].formats[wire_format].parse_response({}, json.dumps(body).encode())
    known = shipped().get(ModelRef.parse(model))
    assert known is not None
    price = known.price_at(NOW)
    assert price is not None
    assert answer.usage is not None
    assert charge_nanos(price, counted(answer.usage)) == nanos


def test_unknown_usage_has_no_price() -> None:
    body = json.dumps({"type": "message", "content": [], "stop_reason": "end_turn"}).encode()
    assert vendors()["anthropic"].formats["anthropic_messages"].parse_response({}, body).usage is None
