"""What leaves for Cohere is what Cohere's own client sends for the same request."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import cohere
import pytest
import pytest_asyncio
from cohere.core.api_error import ApiError

from services.providers.adapters.wire.body import decode
from services.providers.adapters.wire.cohere import CohereChat
from services.providers.domain.failure import AttemptError
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.support.captured_requests import Catcher, catching
from tests.support.feature_requests import FEATURES, OUTPUT_TOKENS_MAX, PNG, WEATHER

in_one_loop = pytest.mark.asyncio(loop_scope="module")

MODEL = "command-a-reasoning-08-2025"
PROFILE = ModelProfile(model=f"cohere/{MODEL}", reasoning=True)
Client = tuple[Any, Catcher]

HELLO = {"role": "user", "content": "Hello"}
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER},
    },
    {"type": "function", "function": {"name": "now", "parameters": EMPTY}},
]


def picture(url: str) -> dict[str, Any]:
    content = [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"role": "user", "content": content}


def called(number: int, city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": f'{{"city":"{city}"}}'}
    return {"id": f"call_{number}", "type": "function", "function": function}


SYSTEM = {"role": "system", "content": "Be brief."}
THEIRS: dict[str, dict[str, Any]] = {
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
    "image": {"messages": [picture("data:image/png;base64," + b64encode(PNG).decode())]},
    "image_url": {"messages": [picture("https://example.com/a.png")]},
    "tools": {"messages": [HELLO], "tools": TOOLS},
    "tool_required": {"messages": [HELLO], "tools": TOOLS, "tool_choice": "REQUIRED"},
    "tool_none": {"messages": [HELLO], "tools": TOOLS, "tool_choice": "NONE"},
    "tool_results": {
        "messages": [
            HELLO,
            {
                "role": "assistant",
                "tool_plan": "Let me see.",
                "tool_calls": [called(1, "Paris"), called(2, "Rome")],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"blue"}'},
            {"role": "tool", "tool_call_id": "call_2", "content": "no data"},
        ],
        "tools": TOOLS,
    },
    "schema": {"messages": [HELLO], "response_format": {"type": "json_object", "json_schema": WEATHER}},
    "sampling": {
        "messages": [HELLO],
        "temperature": 0.5,
        "p": 0.75,
        "k": 20,
        "stop_sequences": ["END", "STOP"],
    },
    "reasoning": {"messages": [HELLO], "thinking": {"type": "enabled", "token_budget": 3_000}},
    # The vendor caches by itself: markers have no place, and are no loss.
    "cache": {
        "messages": [SYSTEM, HELLO],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with catching() as catcher:
        yield cohere.AsyncClientV2(api_key="key", base_url=catcher.url), catcher


def test_every_feature_is_compared_but_what_the_vendor_lacks() -> None:
    assert THEIRS.keys() == FEATURES.keys() - {"document", "tool_named"}
    for feature, parameter in (("document", "file"), ("tool_named", "tool_choice")):
        with pytest.raises(AttemptError, match=parameter):
            CohereChat().build(Call(FEATURES[feature](), MODEL, 10, False), PROFILE)


@in_one_loop
@pytest.mark.parametrize("feature", THEIRS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_is_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    settings = {"model": MODEL, "max_tokens": OUTPUT_TOKENS_MAX, **THEIRS[feature]}
    with pytest.raises(ApiError):
        if stream:
            async for _ in asked.chat_stream(**settings):
                pass
        else:
            await asked.chat(**settings)
    theirs = catcher.last
    call = Call(FEATURES[feature](), MODEL, OUTPUT_TOKENS_MAX, stream, provider="cohere")
    ours = CohereChat().build(call, PROFILE)
    assert decode(ours.body) == theirs.body
    assert theirs.path == ours.path
    assert not ours.dropped


@in_one_loop
async def test_embeddings_are_the_clients_own(client: Client) -> None:
    asked, catcher = client
    with pytest.raises(ApiError):
        await asked.embed(
            model="embed-v4.0",
            texts=["one"],
            input_type="search_document",
            embedding_types=["float"],
            output_dimension=256,
        )
    ours = CohereChat().build_embed("embed-v4.0", ["one"], 256)
    assert decode(ours.body) == catcher.last.body
    assert catcher.last.path == ours.path
