"""What leaves for Mistral is what Mistral's own client sends for the same request."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from services.providers.adapters.registry import vendor_named
from services.providers.adapters.wire.body import decode
from services.providers.domain.profile import ModelProfile
from services.providers.domain.tool_ids import NINE
from services.providers.ports import Call
from tests.support.captured_requests import Catcher, catching
from tests.support.feature_requests import FEATURES, OUTPUT_TOKENS_MAX, PNG, WEATHER
from turnpike.common.v1 import content_pb2 as pb

in_one_loop = pytest.mark.asyncio(loop_scope="module")

MODEL = "mistral-medium-latest"
VENDOR = vendor_named("mistral")
CHAT = VENDOR.formats["openai_chat"]
PROFILE = ModelProfile(model=f"mistral/{MODEL}", reasoning=True)
HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
SYSTEM = {"role": "system", "content": "Be brief."}
PNG_URL = f"data:image/png;base64,{b64encode(PNG).decode()}"
TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Tells the weather.", "parameters": WEATHER},
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]


def picture(url: str) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def call(number: int, city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": f'{{"city":"{city}"}}'}
    return {"id": NINE.translate(f"call_{number}"), "type": "function", "function": function}


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
    "image": {"messages": picture(PNG_URL)},
    "image_url": {"messages": picture("https://example.com/a.png")},
    "tools": {"messages": [HELLO], "tools": TOOLS},
    "tool_named": {
        "messages": [HELLO],
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "tool_required": {"messages": [HELLO], "tools": TOOLS, "tool_choice": "any"},
    "tool_none": {"messages": [HELLO], "tools": TOOLS, "tool_choice": "none"},
    "tool_results": {
        "messages": [
            HELLO,
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [call(1, "Paris"), call(2, "Rome")],
            },
            {"role": "tool", "tool_call_id": NINE.translate("call_1"), "content": '{"sky":"blue"}'},
            {"role": "tool", "tool_call_id": NINE.translate("call_2"), "content": "no data"},
        ],
        "tools": TOOLS,
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
# Mistral's client has no part for a document's bytes, only for its address.
UNSAID = {"document"}
# What its client adds by itself, all of it the vendor's default: a stream is said not to be one, a tool not to be
# strict, a turn not to be a prefix.
DEFAULTS = {"stream": False, "strict": False, "prefix": False, "index": 0}

Client = tuple[Mistral, Catcher]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with catching() as catcher, Mistral(api_key="key", server_url=catcher.url) as asked:
        yield asked, catcher


def without_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, item in value.items():
        if (name in DEFAULTS and item == DEFAULTS[name]) or item is None:
            continue
        if name == "description" and item == "":
            continue
        kept["schema" if name == "schema_definition" else name] = without_defaults(item)
    return kept


def test_every_feature_is_compared() -> None:
    assert THEIRS.keys() | UNSAID == FEATURES.keys()


@in_one_loop
@pytest.mark.parametrize("feature", THEIRS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_is_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    ask = asked.chat.stream_async if stream else asked.chat.complete_async
    with pytest.raises(SDKError):
        await ask(model=MODEL, max_tokens=OUTPUT_TOKENS_MAX, **THEIRS[feature])
    theirs = catcher.last
    given = FEATURES[feature]()
    given.unsupported = pb.UNSUPPORTED_POLICY_DROP
    ours = CHAT.build(Call(given, MODEL, OUTPUT_TOKENS_MAX, stream, provider="mistral"), PROFILE)
    VENDOR.access.authorise(ours, "", "key")
    assert without_defaults(decode(ours.body)) == without_defaults(theirs.body)
    assert theirs.path.partition("#")[0] == f"/v1{ours.path}"
    for header in ("authorization", "content-type"):
        assert ours.headers[header] == theirs.headers[header]
    assert ours.dropped == (["top_k"] if feature == "sampling" else [])


def test_seeds_have_their_own_name() -> None:
    given = FEATURES["plain"]()
    given.sampling.seed = 7
    body = decode(CHAT.build(Call(given, MODEL, 100, False), PROFILE).body)
    assert body["random_seed"] == 7
    assert "seed" not in body
