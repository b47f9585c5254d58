"""What leaves for OpenAI is what OpenAI's own client sends for the same request: chat completions and Responses."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from services.providers.adapters.registry import vendor_named
from services.providers.adapters.wire.body import decode
from services.providers.domain.failure import AttemptError, Reason
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.support.captured_requests import Catcher, catching
from tests.support.feature_requests import FEATURES, OUTPUT_TOKENS_MAX, PDF, PNG, WEATHER
from turnpike.common.v1 import content_pb2 as pb

in_one_loop = pytest.mark.asyncio(loop_scope="module")

MODEL = "gpt-5.4-mini"
VENDOR = vendor_named("openai")
CHAT = VENDOR.formats["openai_chat"]
RESPONSES = VENDOR.formats["openai_responses"]
EFFORTS = ("none", "low", "medium", "high")
CHAT_PROFILE = ModelProfile(model=f"openai/{MODEL}", reasoning=True, reasoning_efforts=EFFORTS)
HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}
PNG_URL = f"data:image/png;base64,{b64encode(PNG).decode()}"
PDF_URL = f"data:application/pdf;base64,{b64encode(PDF).decode()}"
NOTHING = {"type": "object", "properties": {}}


def chat_parts(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "Hello"}, part]}]


def chat_call(number: int, city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": f'{{"city":"{city}"}}'}
    return {"id": f"call_{number}", "type": "function", "function": function}


CHAT_TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER},
    },
    {"type": "function", "function": {"name": "now", "parameters": NOTHING}},
]
CHAT_THEIRS: dict[str, dict[str, Any]] = {
    "plain": {"messages": [HELLO]},
    "system": {"messages": [SYSTEM, HELLO]},
    "turns": {
        "messages": [
            SYSTEM,
            HELLO,
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "And now?"},
        ]
    },
    "image": {"messages": chat_parts({"type": "image_url", "image_url": {"url": PNG_URL}})},
    "image_url": {
        "messages": chat_parts({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})
    },
    "document": {
        "messages": chat_parts({"type": "file", "file": {"filename": "report.pdf", "file_data": PDF_URL}})
    },
    "tools": {"messages": [HELLO], "tools": CHAT_TOOLS},
    "tool_named": {
        "messages": [HELLO],
        "tools": CHAT_TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "tool_required": {"messages": [HELLO], "tools": CHAT_TOOLS, "tool_choice": "required"},
    "tool_none": {"messages": [HELLO], "tools": CHAT_TOOLS, "tool_choice": "none"},
    "tool_results": {
        "messages": [
            HELLO,
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [chat_call(1, "Paris"), chat_call(2, "Rome")],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"blue"}'},
            {"role": "tool", "tool_call_id": "call_2", "content": "no data"},
        ],
        "tools": CHAT_TOOLS,
    },
    "schema": {
        "messages": [HELLO],
        "response_format": {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}},
    },
    "sampling": {"messages": [HELLO], "temperature": 0.5, "top_p": 0.75, "stop": ["END", "STOP"]},
    "reasoning": {"messages": [HELLO], "reasoning_effort": "medium"},
    "cache": {
        "messages": [SYSTEM, HELLO],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
    },
}


def said(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}, part]}]


RESPONSES_TOOLS = [
    {
        "type": "function",
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": WEATHER,
        "strict": False,
    },
    {"type": "function", "name": "now", "parameters": NOTHING, "strict": False},
]
RESPONSES_THEIRS: dict[str, dict[str, Any]] = {
    "plain": {"input": [HELLO]},
    "system": {"input": [SYSTEM, HELLO]},
    "turns": {
        "input": [
            SYSTEM,
            HELLO,
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello!", "annotations": []}],
            },
            {"role": "user", "content": "And now?"},
        ]
    },
    "image": {"input": said({"type": "input_image", "image_url": PNG_URL})},
    "image_url": {"input": said({"type": "input_image", "image_url": "https://example.com/a.png"})},
    "document": {"input": said({"type": "input_file", "filename": "report.pdf", "file_data": PDF_URL})},
    "tools": {"input": [HELLO], "tools": RESPONSES_TOOLS},
    "tool_named": {
        "input": [HELLO],
        "tools": RESPONSES_TOOLS,
        "tool_choice": {"type": "function", "name": "weather"},
    },
    "tool_required": {"input": [HELLO], "tools": RESPONSES_TOOLS, "tool_choice": "required"},
    "tool_none": {"input": [HELLO], "tools": RESPONSES_TOOLS, "tool_choice": "none"},
    "tool_results": {
        "input": [
            HELLO,
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
            },
            {
                "type": "function_call",
                "call_id": "call_1",
                "name": "weather",
                "arguments": '{"city":"Paris"}',
            },
            {"type": "function_call", "call_id": "call_2", "name": "weather", "arguments": '{"city":"Rome"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": '{"sky":"blue"}'},
            {"type": "function_call_output", "call_id": "call_2", "output": "no data"},
        ],
        "tools": RESPONSES_TOOLS,
    },
    "schema": {
        "input": [HELLO],
        "text": {"format": {"type": "json_schema", "name": "weather", "schema": WEATHER, "strict": False}},
    },
    "sampling": {"input": [HELLO], "temperature": 0.5, "top_p": 0.75},
    "reasoning": {"input": [HELLO], "reasoning": {"effort": "medium"}},
    "cache": {
        "input": [SYSTEM, HELLO],
        "tools": [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}],
    },
}
# What the wire format has no place for is left out, and said so.
CHAT_DROPS = {"sampling": ["top_k"]}
RESPONSES_DROPS = {"sampling": ["top_k", "stop"]}

Client = tuple[openai.AsyncOpenAI, Catcher]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with (
        catching() as catcher,
        openai.AsyncOpenAI(api_key="key", base_url=f"{catcher.url}/v1", max_retries=0) as asked,
    ):
        yield asked, catcher


def ours_of(feature: str, *, stream: bool) -> Call:
    given = FEATURES[feature]()
    given.unsupported = pb.UNSUPPORTED_POLICY_DROP
    return Call(given, MODEL, OUTPUT_TOKENS_MAX, stream, provider="openai", vendor_user="user-1")


def test_every_feature_is_compared() -> None:
    assert CHAT_THEIRS.keys() == RESPONSES_THEIRS.keys() == FEATURES.keys()


@in_one_loop
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("stream", [False, True])
async def test_chat_completions_are_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    streaming: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    with pytest.raises(openai.BadRequestError):
        await asked.chat.completions.create(
            model=MODEL,
            max_completion_tokens=OUTPUT_TOKENS_MAX,
            safety_identifier="user-1",
            **streaming,
            **CHAT_THEIRS[feature],
        )
    theirs = catcher.last
    ours = CHAT.build(ours_of(feature, stream=stream), CHAT_PROFILE)
    VENDOR.access.authorise(ours, "", "key")
    assert decode(ours.body) == theirs.body
    assert theirs.path == f"/v1{ours.path}"
    for header in ("authorization", "content-type"):
        assert ours.headers[header] == theirs.headers[header]
    assert ours.dropped == CHAT_DROPS.get(feature, [])


@in_one_loop
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("stream", [False, True])
async def test_responses_are_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    asking: dict[str, Any] = {
        "include": ["reasoning.encrypted_content"],
        **({"stream": True} if stream else {}),
        **RESPONSES_THEIRS[feature],
    }
    with pytest.raises(openai.BadRequestError):
        await asked.responses.create(
            model=MODEL,
            max_output_tokens=OUTPUT_TOKENS_MAX,
            safety_identifier="user-1",
            store=False,
            **asking,
        )
    theirs = catcher.last
    ours = RESPONSES.build(ours_of(feature, stream=stream), CHAT_PROFILE)
    assert decode(ours.body) == theirs.body
    assert theirs.path == f"/v1{ours.path}"
    assert ours.dropped == RESPONSES_DROPS.get(feature, [])


@pytest.mark.parametrize("wire_format", [CHAT, RESPONSES])
def test_what_cannot_be_said_is_refused_unless_it_may_be_dropped(wire_format: Any) -> None:
    given = FEATURES["sampling"]()
    with pytest.raises(AttemptError) as caught:
        wire_format.build(Call(given, MODEL, 100, False), CHAT_PROFILE)
    assert caught.value.failure.reason == Reason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert caught.value.failure.parameter == "top_k"


def test_what_the_model_refuses_is_known_beforehand() -> None:
    strict = ModelProfile(refused_parameters=frozenset({"temperature", "stop"}), reasoning=True)
    call = ours_of("sampling", stream=False)
    ours = CHAT.build(call, strict)
    assert {"temperature", "stop"} & decode(ours.body).keys() == set()
    assert sorted(ours.dropped) == ["stop", "temperature", "top_k"]


def test_reasoning_goes_back_to_whom_it_came_from_and_to_nobody_else() -> None:
    given = FEATURES["tools"]()
    turn = given.messages.add(role=pb.ROLE_ASSISTANT)
    for provider in ("openai", "anthropic"):
        thought = turn.parts.add().reasoning
        thought.text, thought.signature, thought.provider = f"thought of {provider}", b"proof", provider
        thought.id = "rs_1"
    call = pb.ToolCall(id="toolu_" + "x" * 60, name="weather", arguments_json="{}")
    turn.parts.add().tool_call.CopyFrom(call)
    result = given.messages.add(role=pb.ROLE_TOOL).parts.add().tool_result
    result.tool_call_id = call.id
    result.parts.add().text.text = "sunny"
    items = decode(RESPONSES.build(Call(given, MODEL, 100, False, provider="openai"), CHAT_PROFILE).body)[
        "input"
    ]
    assert [item["encrypted_content"] for item in items if item.get("type") == "reasoning"] == ["proof"]
    asked, answered = items[-2], items[-1]
    assert asked["call_id"] == answered["call_id"] != call.id, (
        "a foreign id is translated, the same in both places"
    )
    assert len(asked["call_id"]) <= 40
    chat = decode(CHAT.build(Call(given, MODEL, 100, False, provider="openai"), CHAT_PROFILE).body)
    assert "thought" not in str(chat), "chat completions take no reasoning back"
    assert chat["messages"][-2]["tool_calls"][0]["id"] == chat["messages"][-1]["tool_call_id"]


def test_reasoning_without_the_item_that_follows_it_is_left_out() -> None:
    given = FEATURES["plain"]()
    thought = given.messages.add(role=pb.ROLE_ASSISTANT).parts.add().reasoning
    thought.signature, thought.provider = b"proof", "openai"
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "go on"
    items = decode(RESPONSES.build(Call(given, MODEL, 100, False, provider="openai"), CHAT_PROFILE).body)[
        "input"
    ]
    assert [item.get("type") for item in items] == [None, None]
