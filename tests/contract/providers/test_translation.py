"""A conversation begun on one vendor goes on at every other: no history is sent that the second would refuse."""

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from services.providers.adapters.registry import vendors
from services.providers.adapters.wire.body import decode
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.support import recordings
from turnpike.common.v1 import content_pb2 as pb

TARGETS = {
    "openai": ("openai", "openai_chat", "gpt-5.4-mini"),
    "responses": ("openai", "openai_responses", "gpt-5.4-mini"),
    "mistral": ("mistral", "openai_chat", "mistral-large-latest"),
    "anthropic": ("anthropic", "anthropic_messages", "claude-sonnet-4-5"),
    "bedrock": ("bedrock", "bedrock_converse", "us.amazon.nova-lite-v1:0"),
    "claude_on_bedrock": ("bedrock", "bedrock_anthropic", "anthropic.claude-sonnet-4-5-v1:0"),
    "claude_on_vertex": ("vertex", "vertex_anthropic", "claude-sonnet-4-5"),
    "gemini_2": ("gemini", "gemini", "gemini-2.5-flash"),
    "gemini_3": ("vertex", "gemini", "gemini-3-flash-preview"),
    "cohere": ("cohere", "cohere_chat", "command-a-03-2025"),
    "ollama": ("ollama", "ollama_chat", "qwen3"),
}

# How a turn with reasoning and two calls looks when each vendor made it.
MADE_BY: dict[str, tuple[str, bytes, tuple[str, str]]] = {
    "openai": ("openai", b"gAAAA-encrypted", ("call_AbCdEfGhIjKlMnOpQrStUvWx", "call_2")),
    "anthropic": ("anthropic", b"ErUB-signature", ("toolu_01A09q90qw90lq917835lq9", "toolu_02")),
    "bedrock": ("bedrock", b"signature", ("tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "tooluse_2")),
    "google": ("google", b"CsQBAcu9", ("gemini_r1_0", "gemini_r1_1")),
    "mistral": ("", b"", ("g6fVbXS8K", "a1b2c3d4e")),
    "ollama": ("ollama", b"", ("call_0", "call_1")),
    "unknown": (
        "martian",
        b"\x00\xff",
        ("an id/with: every sort of sign, and far too long for most " * 2, "2"),
    ),
}


def history(provider: str, signature: bytes, ids: tuple[str, str]) -> pb.GenerationInput:
    given = pb.GenerationInput(unsupported=pb.UNSUPPORTED_POLICY_DROP)
    given.messages.add(role=pb.ROLE_SYSTEM).parts.add().text.text = "Be brief."
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "Weather in Paris and Rome?"
    turn = given.messages.add(role=pb.ROLE_ASSISTANT)
    if provider:
        thought = turn.parts.add().reasoning
        thought.text, thought.provider, thought.signature = "Two calls.", provider, signature
        hidden = turn.parts.add().reasoning
        hidden.provider, hidden.signature, hidden.redacted = provider, signature, True
    turn.parts.add().text.text = "Let me see."
    for call_id, city in zip(ids, ("Paris", "Rome"), strict=True):
        call = pb.ToolCall(id=call_id, name="weather", arguments_json=json.dumps({"city": city}))
        turn.parts.add().tool_call.CopyFrom(call)
    answered = given.messages.add(role=pb.ROLE_TOOL)
    for call_id in reversed(ids):
        result = answered.parts.add().tool_result
        result.tool_call_id = call_id
        result.parts.add().text.text = "sunny"
    refused = given.messages.add(role=pb.ROLE_ASSISTANT)
    refused.parts.add().refusal.text = "I would rather not say more."
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "Why?"
    given.messages.add(role=pb.ROLE_SYSTEM).parts.add().text.text = "Be kind."
    given.tools.add(name="weather").parameters_schema.update({"type": "object", "properties": {}})
    return given


def built(target: str, given: pb.GenerationInput) -> dict[str, Any]:
    provider, wire_format, model = TARGETS[target]
    speaks = vendors()[provider].formats[wire_format]
    call = Call(given, model, 1_000, False, provider=provider)
    body: dict[str, Any] = decode(speaks.build(call, ModelProfile(f"{provider}/{model}")).body)
    return body


# ---- what each vendor refuses ---------------------------------------------------------------------------------------
def check_chat(body: dict[str, Any], ids: str) -> None:
    open_calls: list[str] = []
    for message in body["messages"]:
        assert message["role"] in ("system", "developer", "user", "assistant", "tool")
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls
            open_calls.remove(message["tool_call_id"])
            assert isinstance(message["content"], str | list)
            continue
        assert not open_calls, "every call is answered before anything else is said"
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
        assert all(re.fullmatch(ids, call_id) for call_id in open_calls)
        for call in message.get("tool_calls") or ():
            json.loads(call["function"]["arguments"])
        assert message.get("content") or message.get("tool_calls") or message.get("refusal")
    assert not open_calls


def check_responses(body: dict[str, Any]) -> None:
    calls = [item["call_id"] for item in body["input"] if item.get("type") == "function_call"]
    answers = [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]
    assert sorted(calls) == sorted(answers)
    assert all(len(call_id) <= 64 for call_id in calls)


def check_anthropic(body: dict[str, Any]) -> None:
    assert body["max_tokens"] > 0
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "user"
    assert all(one != two for one, two in itertools.pairwise(roles))
    open_calls: list[str] = []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert sorted(results) == sorted(open_calls)
        assert all(block["type"] == "tool_result" for block in blocks[: len(results)]), "results come first"
        open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for block in blocks:
            assert block["type"] != "text" or block["text"].strip()
            assert block["type"] != "tool_use" or isinstance(block["input"], dict)
            assert block["type"] != "tool_use" or re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", block["id"])
    assert not open_calls


def check_bedrock(body: dict[str, Any]) -> None:
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "user"
    assert all(one != two for one, two in itertools.pairwise(roles))
    open_calls: list[str] = []
    for message in body["messages"]:
        results = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        assert sorted(results) == sorted(open_calls)
        open_calls = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call_id) for call_id in open_calls)
    assert body["toolConfig"]["tools"]


def check_gemini(body: dict[str, Any], signed: bool) -> None:
    roles = [content["role"] for content in body["contents"]]
    assert set(roles) <= {"user", "model"}
    assert roles[0] == "user"
    assert all(one != two for one, two in itertools.pairwise(roles))
    calls: list[str] = []
    for content in body["contents"]:
        answers = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        assert [answer["name"] for answer in answers] == calls
        assert all(isinstance(answer["response"], dict) for answer in answers)
        made = [part for part in content["parts"] if "functionCall" in part]
        calls = [part["functionCall"]["name"] for part in made]
        if made and signed:
            assert "thoughtSignature" in made[0]
        assert all(part != {"text": ""} for part in content["parts"])
    assert not calls


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "openai": lambda body: check_chat(body, r"[A-Za-z0-9_-]{1,40}"),
    "responses": check_responses,
    "mistral": lambda body: check_chat(body, r"[A-Za-z0-9]{9}"),
    "anthropic": check_anthropic,
    "bedrock": check_bedrock,
    "claude_on_bedrock": check_anthropic,
    "claude_on_vertex": check_anthropic,
    "gemini_2": lambda body: check_gemini(body, signed=False),
    "gemini_3": lambda body: check_gemini(body, signed=True),
    "cohere": lambda body: check_chat(
        {
            "messages": [
                {**message, "content": message.get("content") or message.get("tool_plan") or ""}
                for message in body["messages"]
            ]
        },
        r"[A-Za-z0-9_-]{1,40}",
    ),
    "ollama": lambda body: None,
}


@pytest.mark.parametrize("origin", MADE_BY)
@pytest.mark.parametrize("target", TARGETS)
def test_every_history_is_one_the_target_takes(origin: str, target: str) -> None:
    body = built(target, history(*MADE_BY[origin]))
    CHECKS[target](body)
    said = json.dumps(body, ensure_ascii=False)
    for words in ("Be brief.", "Be kind.", "Paris", "sunny", "I would rather not say more.", "Why?"):
        assert words in said, words


@pytest.mark.parametrize("target", TARGETS)
def test_no_vendor_sees_anothers_proofs(target: str) -> None:
    said = json.dumps(built(target, history(*MADE_BY["unknown"])), ensure_ascii=False)
    assert "Two calls." not in said
    assert "martian" not in said


SIGNED_BY = {
    "anthropic": "anthropic",
    "claude_on_bedrock": "anthropic",
    "claude_on_vertex": "anthropic",
    "bedrock": "bedrock",
}


@pytest.mark.parametrize("target", SIGNED_BY)
def test_a_vendors_own_reasoning_goes_back_with_its_proof(target: str) -> None:
    provider, signature, ids = MADE_BY[SIGNED_BY[target]]
    said = json.dumps(built(target, history(provider, signature, ids)))
    assert signature.decode() in said
    assert "Two calls." in said


@pytest.mark.skipif(not recordings.available(), reason=recordings.WHY_MISSING)
@pytest.mark.parametrize("target", TARGETS)
def test_recorded_answers_go_on_at_every_vendor(target: str) -> None:
    """Every recorded answer, whoever gave it, answered tool by tool, is a history the target takes."""
    told = 0
    for choice in _recorded_answers():
        given = pb.GenerationInput(unsupported=pb.UNSUPPORTED_POLICY_DROP)
        given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "Go on."
        given.messages.add().CopyFrom(choice.message)
        results = given.messages.add(role=pb.ROLE_TOOL)
        for part in choice.message.parts:
            if part.WhichOneof("kind") == "tool_call":
                result = results.parts.add().tool_result
                result.tool_call_id = part.tool_call.id
                result.parts.add().text.text = "done"
                given.tools.add(name=part.tool_call.name)
        given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "And then?"
        if target == "bedrock" and not given.tools:
            given.tools.add(name="unused")
        CHECKS[target](built(target, given))
        told += 1
    assert told > 100


def _recorded_answers() -> list[pb.Choice]:
    spoken = {
        "openai-chat": ("openai", "openai_chat"),
        "anthropic-messages": ("anthropic", "anthropic_messages"),
        "gemini": ("gemini", "gemini"),
        "bedrock-converse": ("bedrock", "bedrock_converse"),
        "cohere-v2-chat": ("cohere", "cohere_chat"),
    }
    choices: list[pb.Choice] = []
    for recording in recordings.recordings(*spoken):
        response = recording.interaction["response"]
        if recording.status != 200 or "stream" in recording.interaction["tags"] or not response["body"]:
            continue
        provider, wire_format = spoken[recording.family]
        answer = vendors()[provider].formats[wire_format].parse_response({}, response["body"].encode())
        choices += (choice for choice in answer.choices if choice.message.parts)
    return choices
