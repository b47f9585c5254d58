"""What leaves for Gemini is what Google's own client sends for the same request."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from google import genai
from google.genai import errors, types

from services.providers.adapters.wire.body import decode
from services.providers.adapters.wire.gemini import Gemini
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.support.captured_requests import Catcher, catching
from tests.support.feature_requests import FEATURES, OUTPUT_TOKENS_MAX, PDF, PNG, WEATHER

in_one_loop = pytest.mark.asyncio(loop_scope="module")

MODEL = "gemini-2.5-flash"
PROFILE = ModelProfile(model=f"gemini/{MODEL}", reasoning=True, hints={"thinking": "budget"})
Client = tuple[Any, Catcher]


def said(text: str, role: str = "user") -> types.Content:
    return types.Content(role=role, parts=[types.Part(text=text)])


def with_part(part: types.Part) -> list[types.Content]:
    return [types.Content(role="user", parts=[types.Part(text="Hello"), part])]


TOOLS = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(
                name="weather", description="Tells the weather.", parameters_json_schema=WEATHER
            ),
            types.FunctionDeclaration(name="now"),
        ]
    )
]


def choosing(mode: str, allowed: list[str] | None = None) -> types.ToolConfig:
    config = types.FunctionCallingConfig(
        mode=types.FunctionCallingConfigMode(mode), allowed_function_names=allowed
    )
    return types.ToolConfig(function_calling_config=config)


def result(response: dict[str, Any]) -> types.Part:
    return types.Part(function_response=types.FunctionResponse(name="weather", response=response))


def called(city: str) -> types.Part:
    return types.Part(function_call=types.FunctionCall(name="weather", args={"city": city}))


HELLO = [said("Hello")]
THEIRS: dict[str, tuple[list[types.Content], dict[str, Any]]] = {
    "plain": (HELLO, {}),
    "system": (HELLO, {"system_instruction": "Be brief."}),
    "turns": (
        [said("Hello"), said("Hello!", "model"), said("And now?")],
        {"system_instruction": "Be brief."},
    ),
    "image": (with_part(types.Part(inline_data=types.Blob(mime_type="image/png", data=PNG))), {}),
    "image_url": (
        with_part(
            types.Part(file_data=types.FileData(mime_type="image/png", file_uri="https://example.com/a.png"))
        ),
        {},
    ),
    "document": (with_part(types.Part(inline_data=types.Blob(mime_type="application/pdf", data=PDF))), {}),
    "tools": (HELLO, {"tools": TOOLS}),
    "tool_named": (HELLO, {"tools": TOOLS, "tool_config": choosing("ANY", ["weather"])}),
    "tool_required": (HELLO, {"tools": TOOLS, "tool_config": choosing("ANY")}),
    "tool_none": (HELLO, {"tools": TOOLS, "tool_config": choosing("NONE")}),
    "tool_results": (
        [
            *HELLO,
            types.Content(
                role="model", parts=[types.Part(text="Let me see."), called("Paris"), called("Rome")]
            ),
            types.Content(role="user", parts=[result({"sky": "blue"}), result({"error": "no data"})]),
        ],
        {"tools": TOOLS},
    ),
    "schema": (HELLO, {"response_mime_type": "application/json", "response_json_schema": WEATHER}),
    "sampling": (
        HELLO,
        {"temperature": 0.5, "top_p": 0.75, "top_k": 20, "stop_sequences": ["END", "STOP"]},
    ),
    "reasoning": (
        HELLO,
        {"thinking_config": types.ThinkingConfig(thinking_budget=3_000, include_thoughts=True)},
    ),
    # The vendor caches by itself: markers have no place, and are no loss.
    "cache": (
        HELLO,
        {
            "system_instruction": "Be brief.",
            "tools": [
                types.Tool(
                    function_declarations=[
                        types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)
                    ]
                )
            ],
        },
    ),
}


def normal(value: Any) -> Any:
    """Names in one spelling, for the vendor takes both and its client mixes them; keys of schemas are left alone."""
    if isinstance(value, list):
        return [normal(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, inner in value.items():
        head, *tail = key.split("_")
        name = head + "".join(word.capitalize() for word in tail)
        kept = name in ("parametersJsonSchema", "responseJsonSchema", "args", "response")
        made[name] = inner if kept else normal(inner)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with catching() as catcher:
        options = types.HttpOptions(
            base_url=catcher.url, api_version="v1beta", retry_options=types.HttpRetryOptions(attempts=1)
        )
        asked = genai.Client(api_key="key", http_options=options).aio
        yield asked, catcher
        await asked.aclose()


def test_every_feature_is_compared() -> None:
    assert THEIRS.keys() == FEATURES.keys()


@in_one_loop
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_is_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    contents, settings = THEIRS[feature]
    config = types.GenerateContentConfig(
        max_output_tokens=OUTPUT_TOKENS_MAX,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        **settings,
    )
    with pytest.raises(errors.ClientError):
        if stream:
            async for _ in await asked.models.generate_content_stream(
                model=MODEL, contents=contents, config=config
            ):
                pass
        else:
            await asked.models.generate_content(model=MODEL, contents=contents, config=config)
    theirs = catcher.last
    call = Call(FEATURES[feature](), MODEL, OUTPUT_TOKENS_MAX, stream, provider="gemini")
    ours = Gemini().build(call, PROFILE)
    assert normal(decode(ours.body)) == normal(theirs.body)
    assert theirs.path == f"/v1beta{ours.path}"
    assert not ours.dropped


@in_one_loop
async def test_embeddings_are_the_clients_own(client: Client) -> None:
    asked, catcher = client
    with pytest.raises(errors.ClientError):
        await asked.models.embed_content(
            model="gemini-embedding-001",
            contents=["one", "two"],
            config=types.EmbedContentConfig(output_dimensionality=256),
        )
    ours = Gemini().build_embed("gemini-embedding-001", ["one", "two"], 256)
    theirs = normal(catcher.last.body)
    for request in theirs["requests"]:
        request["content"].pop("role", None)
    assert normal(decode(ours.body)) == theirs
    assert catcher.last.path == f"/v1beta{ours.path}"
