"""What leaves for Bedrock is what Amazon's own client sends for the same request, signature included."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

from services.providers.adapters.aws import AwsSigned
from services.providers.adapters.wire.bedrock_converse import BedrockConverse
from services.providers.adapters.wire.body import decode, encode_text
from services.providers.domain.failure import AttemptError
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from tests.support.captured_requests import Catcher, catching
from tests.support.feature_requests import FEATURES, OUTPUT_TOKENS_MAX, PDF, PNG, WEATHER

in_one_loop = pytest.mark.asyncio(loop_scope="module")

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = ModelProfile(model=f"bedrock/{MODEL}", reasoning=True, hints={"thinking": "budget"})
SECRET = '{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret", "session_token": "token"}'
Client = tuple[Any, Catcher]

TEXT = {"text": "Hello"}
HELLO: list[dict[str, Any]] = [{"role": "user", "content": [TEXT]}]
TOOLS: list[dict[str, Any]] = [
    {"toolSpec": {"name": "weather", "description": "Tells the weather.", "inputSchema": {"json": WEATHER}}},
    {"toolSpec": {"name": "now", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
]
WEATHER_TOOL = {"toolSpec": {"name": "weather", "inputSchema": {"json": WEATHER}}}


def use(number: int, city: str) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": f"call_{number}", "name": "weather", "input": {"city": city}}}


def result(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": f"call_{number}", "content": [{"text": text}], **more}}


def beside(block: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [TEXT, block]}]


THEIRS: dict[str, dict[str, Any]] = {
    "plain": {"messages": HELLO},
    "system": {"system": [{"text": "Be brief."}], "messages": HELLO},
    "turns": {
        "system": [{"text": "Be brief."}],
        "messages": [
            *HELLO,
            {"role": "assistant", "content": [{"text": "Hello!"}]},
            {"role": "user", "content": [{"text": "And now?"}]},
        ],
    },
    "image": {"messages": beside({"image": {"format": "png", "source": {"bytes": PNG}}})},
    "document": {
        "messages": beside({"document": {"format": "pdf", "name": "report", "source": {"bytes": PDF}}})
    },
    "tools": {"messages": HELLO, "toolConfig": {"tools": TOOLS}},
    "tool_named": {
        "messages": HELLO,
        "toolConfig": {"tools": TOOLS, "toolChoice": {"tool": {"name": "weather"}}},
    },
    "tool_required": {"messages": HELLO, "toolConfig": {"tools": TOOLS, "toolChoice": {"any": {}}}},
    "tool_none": {"messages": HELLO},
    "tool_results": {
        "messages": [
            *HELLO,
            {"role": "assistant", "content": [{"text": "Let me see."}, use(1, "Paris"), use(2, "Rome")]},
            {"role": "user", "content": [result(1, '{"sky":"blue"}'), result(2, "no data", status="error")]},
        ],
        "toolConfig": {"tools": TOOLS},
    },
    "schema": {
        "messages": HELLO,
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"name": "weather", "schema": encode_text(WEATHER)}},
            }
        },
    },
    "sampling": {
        "messages": HELLO,
        "inferenceConfig": {"temperature": 0.5, "topP": 0.75, "stopSequences": ["END", "STOP"]},
        "additionalModelRequestFields": {"top_k": 20},
    },
    "reasoning": {
        "messages": HELLO,
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 3_000}},
    },
    "cache": {
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "messages": beside({"cachePoint": {"type": "default"}}),
        "toolConfig": {"tools": [WEATHER_TOOL, {"cachePoint": {"type": "default"}}]},
    },
}


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """The output's schema is a text; as JSON it does not matter in which order its keys stand."""
    if "outputConfig" in body:
        wanted = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        wanted["schema"] = decode(wanted["schema"])
    return body


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with catching() as catcher:
        asked = get_session().create_client(
            "bedrock-runtime",
            region_name="eu-west-1",
            endpoint_url=catcher.url,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="secret",
            aws_session_token="token",
            config=Config(retries={"max_attempts": 0}),
        )
        yield asked, catcher


def test_every_feature_is_compared_but_pictures_by_address() -> None:
    assert THEIRS.keys() == FEATURES.keys() - {"image_url"}  # the vendor fetches none
    with pytest.raises(AttemptError, match=r"image\.url"):
        BedrockConverse().build(Call(FEATURES["image_url"](), MODEL, 10, False), PROFILE)


@in_one_loop
@pytest.mark.parametrize("feature", THEIRS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_request_is_the_clients_own(client: Client, feature: str, stream: bool) -> None:
    asked, catcher = client
    settings = {"maxTokens": OUTPUT_TOKENS_MAX, **THEIRS[feature].get("inferenceConfig", {})}
    method = asked.converse_stream if stream else asked.converse

    def ask() -> None:
        method(modelId=MODEL, **{**THEIRS[feature], "inferenceConfig": settings})

    with pytest.raises(ClientError):
        await asyncio.to_thread(ask)
    theirs = catcher.last
    call = Call(FEATURES[feature](), MODEL, OUTPUT_TOKENS_MAX, stream, provider="bedrock")
    ours = BedrockConverse().build(call, PROFILE)
    assert normal(decode(ours.body)) == normal(theirs.body)
    assert theirs.path == ours.path
    assert not ours.dropped


@in_one_loop
async def test_the_signature_is_the_clients_own(client: Client) -> None:
    """Signed at the moment the client named, with the headers it signed, ours comes out the same."""
    asked, catcher = client

    def ask() -> None:
        asked.converse(modelId=MODEL, messages=HELLO)

    with pytest.raises(ClientError):
        await asyncio.to_thread(ask)
    theirs = catcher.last
    ours = BedrockConverse().build(Call(FEATURES["plain"](), MODEL, None, False), PROFILE)
    url = catcher.url + ours.path
    AwsSigned().authorise(ours, url, SECRET.replace("{", '{"region": "eu-west-1", ', 1))
    scope = "AKIDEXAMPLE/" + theirs.headers["x-amz-date"][:8] + "/eu-west-1/bedrock/aws4_request"
    assert scope in theirs.headers["authorization"]
    assert scope in ours.headers["authorization"]
    assert ours.headers["x-amz-security-token"] == theirs.headers["x-amz-security-token"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in ours.headers["authorization"]


def test_an_api_key_is_a_bearer_token_and_a_broken_secret_an_error() -> None:
    request = BedrockConverse().build(Call(FEATURES["plain"](), MODEL, 10, False), PROFILE)
    AwsSigned().authorise(request, "https://bedrock-runtime.us-east-1.amazonaws.com/x", "ABSK-key")
    assert request.headers["authorization"] == "Bearer ABSK-key"
    with pytest.raises(AttemptError, match="access_key_id"):
        AwsSigned().authorise(request, "https://x", '{"access_key_id": "a"}')


def test_pictures_travel_as_base64() -> None:
    body = decode(BedrockConverse().build(Call(FEATURES["image"](), MODEL, 10, False), PROFILE).body)
    assert body["messages"][0]["content"][1]["image"]["source"]["bytes"] == b64encode(PNG).decode()
