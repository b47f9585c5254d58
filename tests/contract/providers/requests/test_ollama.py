"""What leaves for Ollama is what Ollama's own client sends for the same request."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest
import pytest_asyncio

from services.providers.adapters.wire.body import decode
from services.providers.adapters.wire.ollama import OllamaChat
from services.providers.domain.failure import AttemptError
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.support.captured_requests import Catcher, catching
from tests.support.feature_requests import FEATURES, OUTPUT_TOKENS_MAX, PNG, WEATHER

in_one_loop = pytest.mark.asyncio(loop_scope="module")

MODEL = "qwen3:8b"
PROFILE = ModelProfile(model=f"ollama/{MODEL}", reasoning=True)
FORMAT = OllamaChat()
Client = tuple[Any, Catcher]

HELLO = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER},
    },
    {"type": "function", "function": {"name": "now", "parameters": EMPTY}},
]


def called(city: str) -> dict[str, Any]:
    return {"function": {"name": "weather", "arguments": {"city": city}}}


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
    "image": {"messages": [{**HELLO, "images": [b64encode(PNG).decode()]}]},
    "tools": {"messages": [HELLO], "tools": TOOLS},
    # It has no choice of tools: none is said by offering none.
    "tool_none": {"messages": [HELLO]},
    "tool_results": {
        "messages": [
            HELLO,
            {"role": "assistant", "content": "Let me see.", "tool_calls": [called("Paris"), called("Rome")]},
            {"role": "tool", "tool_name": "weather", "content": '{"sky":"blue"}'},
            {"role": "tool", "tool_name": "weather", "content": "no data"},
        ],
        "tools": TOOLS,
    },
    "schema": {"messages": [HELLO], "format": WEATHER},
    "sampling": {
        "messages": [HELLO],
        "options": {"temperature": 0.5, "top_p": 0.75, "top_k": 20, "stop": ["END", "STOP"]},
    },
    "reasoning": {"messages": [HELLO], "think": True},
    # The server caches by itself: markers have no place, and are no loss.
    "cache": {
        "messages": [SYSTEM, HELLO],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
    },
}
LACKING = {
    "image_url": "image.url",
    "document": "file",
    "tool_named": "tool_choice",
    "tool_required": "tool_choice",
}


def semantically(body: Any) -> Any:
    """A body without the words of JSON schema for which that client's model of a tool has no field."""
    if isinstance(body, dict):
        return {
            name: semantically(value)
            for name, value in body.items()
            if name not in ("minimum", "additionalProperties")
        }
    return [semantically(item) for item in body] if isinstance(body, list) else body


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with catching() as catcher:
        yield ollama.AsyncClient(host=catcher.url), catcher


def test_every_feature_is_compared_but_what_the_vendor_lacks() -> None:
    assert THEIRS.keys() == FEATURES.keys() - LACKING.keys()
    for feature, parameter in LACKING.items():
        with pytest.raises(AttemptError, match=parameter):
            FORMAT.build(Call(FEATURES[feature](), MODEL, 10, False), PROFILE)


@in_one_loop
@pytest.mark.parametrize("feature", THEIRS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_is_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    settings = {"model": MODEL, "stream": stream, **THEIRS[feature]}
    settings["options"] = {"num_predict": OUTPUT_TOKENS_MAX, **settings.get("options", {})}
    with pytest.raises(ollama.ResponseError):
        answer = await asked.chat(**settings)
        async for _ in answer:
            pass
    call = Call(FEATURES[feature](), MODEL, OUTPUT_TOKENS_MAX, stream, provider="ollama")
    ours = FORMAT.build(call, PROFILE)
    theirs = {name: value for name, value in catcher.last.body.items() if (name, value) != ("tools", [])}
    assert semantically(decode(ours.body)) == semantically(theirs)
    assert catcher.last.path == ours.path
    assert not ours.dropped


@in_one_loop
async def test_embeddings_are_the_clients_own(client: Client) -> None:
    asked, catcher = client
    with pytest.raises(ollama.ResponseError):
        await asked.embed(model="nomic-embed-text", input=["one", "two"], dimensions=256)
    ours = FORMAT.build_embed("nomic-embed-text", ["one", "two"], 256)
    assert decode(ours.body) == catcher.last.body
    assert catcher.last.path == ours.path
