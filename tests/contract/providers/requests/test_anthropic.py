"""What leaves for Anthropic is what Anthropic's own client sends for the same request."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio

from services.providers.adapters.access import KeyHeader
from services.providers.adapters.wire.anthropic import AnthropicMessages, AnthropicOnVertex
from services.providers.adapters.wire.bedrock_anthropic import AnthropicOnBedrock
from services.providers.adapters.wire.body import decode
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.support.captured_requests import Catcher, catching
from tests.support.feature_requests import FEATURES, OUTPUT_TOKENS_MAX, PDF, PNG, WEATHER

# One client for all, for making one takes a second.
pytestmark = pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
in_one_loop = pytest.mark.asyncio(loop_scope="module")

MODEL = "claude-sonnet-4-5"
PROFILE = ModelProfile(model=f"anthropic/{MODEL}", reasoning=True, hints={"thinking": "budget"})
HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
TEXT: dict[str, Any] = {"type": "text", "text": "Hello"}
TOOLS: list[dict[str, Any]] = [
    {"name": "weather", "description": "Tells the weather.", "input_schema": WEATHER},
    {"name": "now", "input_schema": {"type": "object", "properties": {}}},
]
SHORT = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def block(kind: str, source: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [TEXT, {"type": kind, "source": source, **more}]}]


def inline(media_type: str, data: bytes) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": b64encode(data).decode()}


def use(number: int, city: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"call_{number}", "name": "weather", "input": {"city": city}}


def result(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"call_{number}", "content": text, **more}


THEIRS: dict[str, dict[str, Any]] = {
    "plain": {"messages": [HELLO]},
    "system": {"system": "Be brief.", "messages": [HELLO]},
    "turns": {
        "system": "Be brief.",
        "messages": [
            HELLO,
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "And now?"},
        ],
    },
    "image": {"messages": block("image", inline("image/png", PNG))},
    "image_url": {"messages": block("image", {"type": "url", "url": "https://example.com/a.png"})},
    "document": {"messages": block("document", inline("application/pdf", PDF), title="report.pdf")},
    "tools": {"messages": [HELLO], "tools": TOOLS},
    "tool_named": {"messages": [HELLO], "tools": TOOLS, "tool_choice": {"type": "tool", "name": "weather"}},
    "tool_required": {"messages": [HELLO], "tools": TOOLS, "tool_choice": {"type": "any"}},
    "tool_none": {"messages": [HELLO], "tools": TOOLS, "tool_choice": {"type": "none"}},
    "tool_results": {
        "messages": [
            HELLO,
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "Let me see."}, use(1, "Paris"), use(2, "Rome")],
            },
            {"role": "user", "content": [result(1, '{"sky":"blue"}'), result(2, "no data", is_error=True)]},
        ],
        "tools": TOOLS,
    },
    "schema": {
        "messages": [HELLO],
        "output_config": {"format": {"type": "json_schema", "schema": WEATHER}},
    },
    "sampling": {
        "messages": [HELLO],
        "stop_sequences": ["END", "STOP"],
        "extra_body": {"temperature": 0.5, "top_p": 0.75, "top_k": 20},
    },
    "reasoning": {"messages": [HELLO], "thinking": {"type": "enabled", "budget_tokens": 3_000}},
    "cache": {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": LONG}],
        "messages": [{"role": "user", "content": [{**TEXT, "cache_control": SHORT}]}],
        "tools": [{"name": "weather", "input_schema": WEATHER, "cache_control": SHORT}],
    },
}


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """Content that is one text reads the same as a string and as a block."""
    made = dict(body)
    made["messages"] = [{**message, "content": _blocks(message["content"])} for message in body["messages"]]
    if "system" in body:
        made["system"] = _blocks(body["system"])
    return made


def _blocks(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Client = tuple[anthropic.AsyncAnthropic, Catcher]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with (
        catching() as catcher,
        anthropic.AsyncAnthropic(api_key="key", base_url=catcher.url, max_retries=0) as asked,
    ):
        yield asked, catcher


def test_every_feature_is_compared() -> None:
    assert THEIRS.keys() == FEATURES.keys()


@in_one_loop
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_is_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    with pytest.raises(anthropic.BadRequestError):
        streaming: dict[str, Any] = {"stream": True} if stream else {}
        await asked.messages.create(model=MODEL, max_tokens=OUTPUT_TOKENS_MAX, **streaming, **THEIRS[feature])
    theirs = catcher.last
    call = Call(FEATURES[feature](), MODEL, OUTPUT_TOKENS_MAX, stream, provider="anthropic")
    ours = AnthropicMessages().build(call, PROFILE)
    KeyHeader("x-api-key").authorise(ours, "", "key")
    assert normal(decode(ours.body)) == normal(theirs.body)
    assert theirs.path == f"/v1{ours.path}"
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    # The vendor takes a key under either name, and every version it has published; ours is the one all recorded
    # traffic speaks, the client's is the newest (docs/decisions/0027-anthropic-version.md).
    assert ours.headers["x-api-key"] == theirs.headers["authorization"].removeprefix("Bearer ")
    assert ours.headers["anthropic-version"] <= theirs.headers["anthropic-version"]
    assert not ours.dropped


@pytest.mark.parametrize("feature", FEATURES)
def test_bedrock_and_vertex_get_the_same_without_the_model(feature: str) -> None:
    given = FEATURES[feature]()
    plain = decode(AnthropicMessages().build(Call(given, MODEL, 4_000, False), PROFILE).body)
    del plain["model"]
    bedrock = AnthropicOnBedrock().build(Call(given, "anthropic.claude-x-v1:0", 4_000, True), PROFILE)
    assert bedrock.path == "/model/anthropic.claude-x-v1%3A0/invoke-with-response-stream"
    assert decode(bedrock.body) == {"anthropic_version": "bedrock-2023-05-31", **plain}
    vertex = AnthropicOnVertex().build(Call(given, MODEL, 4_000, False), PROFILE)
    assert vertex.path == f"/publishers/anthropic/models/{MODEL}:rawPredict"
    assert decode(vertex.body) == {"anthropic_version": "vertex-2023-10-16", **plain}


@in_one_loop
async def test_counting_sends_what_the_client_sends(client: Client) -> None:
    asked, catcher = client
    with pytest.raises(anthropic.BadRequestError):
        await asked.messages.count_tokens(model=MODEL, **THEIRS["tools"])
    theirs = catcher.last
    ours = AnthropicMessages().build_count(Call(FEATURES["tools"](), MODEL, 4_000, False), PROFILE)
    assert normal(decode(ours.body)) == normal(theirs.body)
    assert theirs.path == f"/v1{ours.path}"
