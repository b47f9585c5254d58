"""Every simulated vendor through the real service: over gRPC in, over HTTP out, in the vendor's own format."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.chassis.status import RemoteError
from services.providers.simulator.scenario import Answers, Fault, Pace, Rule, Scenario
from services.providers.simulator.server import RunningSimulator
from tests.support.providers import Providers, attempt, providers
from turnpike.common.v1 import content_pb2, error_pb2
from turnpike.providers.v1 import providers_pb2 as pb

FAST = Pace(first_token_ms=0, tokens_per_s=0, jitter=0)
VENDORS = {
    "openai_chat": ("openai", "gpt-4o", "/openai/v1"),
    "openai_responses": ("openai", "gpt-5.4", "/openai/v1"),
    "anthropic_messages": ("anthropic", "claude-sonnet-4-5", "/anthropic/v1"),
    "gemini": ("gemini", "gemini-2.5-flash", "/gemini/v1beta"),
    "mistral": ("mistral", "mistral-small-latest", "/mistral/v1"),
}
WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATED_KEY", "sim")


@asynccontextmanager
async def simulated(
    folder: Path, vendor: str, scenario: Scenario
) -> AsyncIterator[tuple[Providers, str, RunningSimulator]]:
    provider, model, path = VENDORS[vendor]
    async with RunningSimulator(scenario) as simulator:
        endpoint = {
            "model": f"{provider}/{model}",
            "base_url": simulator.url + path,
            "wire_format": "openai_chat" if vendor == "mistral" else vendor,
            "api_key_env": "SIMULATED_KEY",
        }
        async with providers(folder, [endpoint]) as running:
            yield running, endpoint["model"], simulator


def asking(model: str, **more: Any) -> pb.Attempt:
    return attempt("What is the weather in Paris?", model=model, **more)


async def generated(running: Providers, asked: pb.Attempt) -> pb.AttemptFinished:
    request = pb.GenerateRequest(attempt=asked)
    response: pb.GenerateResponse = await running.remote.unary(running.stub.Generate, request, timeout_s=10)
    return response.finished


async def streamed(running: Providers, asked: pb.Attempt) -> list[pb.StreamGenerateResponse]:
    request = pb.StreamGenerateRequest(attempt=asked)
    async with running.remote.stream(running.stub.StreamGenerate, request, timeout_s=10) as events:
        return [event async for event in events]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_whole_and_streamed_say_and_cost_the_same(tmp_path: Path, vendor: str) -> None:
    async with simulated(tmp_path, vendor, Scenario(seed=3, pace=FAST)) as (running, model, _):
        whole = await generated(running, asking(model))
        events = await streamed(running, asking(model))
    [choice] = whole.choices
    assert choice.finish_reason == content_pb2.FINISH_REASON_STOP
    said = "".join(event.delta.text for event in events)
    assert said == "".join(part.text.text for part in choice.message.parts)
    assert said
    finished = events[-1].finished
    assert finished.usage == whole.usage
    assert finished.usage.input_tokens > 0
    assert finished.usage.output_tokens > 0
    assert finished.vendor_model == model.partition("/")[2]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_tools_are_called_and_answered(tmp_path: Path, vendor: str) -> None:
    async with simulated(tmp_path, vendor, Scenario(pace=FAST)) as (running, model, _):
        asked = asking(model)
        asked.input.tools.add(name="weather", description="Tells it.").parameters_schema.update(WEATHER)
        called = await generated(running, asked)
        [choice] = called.choices
        assert choice.finish_reason == content_pb2.FINISH_REASON_TOOL_CALLS
        [call] = [part.tool_call for part in choice.message.parts if part.WhichOneof("kind") == "tool_call"]
        assert call.name == "weather"
        assert json.loads(call.arguments_json).keys() == {"city"}
        asked.input.messages.add().CopyFrom(choice.message)
        result = asked.input.messages.add(role=content_pb2.ROLE_TOOL).parts.add().tool_result
        result.tool_call_id = call.id
        result.parts.add().text.text = "sunny"
        answered = await generated(running, asked)
        streaming = asking(model)
        streaming.input.tools.add(name="weather").parameters_schema.update(WEATHER)
        events = await streamed(running, streaming)
    assert answered.choices[0].finish_reason == content_pb2.FINISH_REASON_STOP
    pieces = [event.delta.tool_call for event in events if event.delta.WhichOneof("delta") == "tool_call"]
    assert pieces[0].name == "weather"
    assert json.loads("".join(piece.arguments_json for piece in pieces)).keys() == {"city"}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.RATE_LIMIT, error_pb2.ERROR_REASON_VENDOR_RATE_LIMITED),
        (Fault.QUOTA, error_pb2.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED),
        (Fault.OVERLOADED, error_pb2.ERROR_REASON_VENDOR_OVERLOADED),
        (Fault.SERVER_ERROR, error_pb2.ERROR_REASON_VENDOR_ERROR),
        (Fault.AUTHENTICATION, error_pb2.ERROR_REASON_VENDOR_AUTHENTICATION_FAILED),
        (Fault.MODEL_NOT_FOUND, error_pb2.ERROR_REASON_VENDOR_MODEL_NOT_FOUND),
        (Fault.CONTEXT_LENGTH, error_pb2.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED),
        (Fault.BAD_REQUEST, error_pb2.ERROR_REASON_VENDOR_REJECTED_REQUEST),
        (Fault.GARBAGE, error_pb2.ERROR_REASON_VENDOR_PROTOCOL_ERROR),
    ],
)
async def test_each_fault_is_its_reason(
    tmp_path: Path, vendor: str, fault: Fault, reason: error_pb2.ErrorReason.ValueType
) -> None:
    scenario = Scenario(pace=FAST, rules=(Rule(fault=fault),))
    async with simulated(tmp_path, vendor, scenario) as (running, model, _):
        with pytest.raises(RemoteError) as failed:
            await generated(running, asking(model))
    assert failed.value.reason == error_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.TRUNCATE, "VENDOR_STREAM_TRUNCATED"),
        (Fault.ERROR_EVENT, ""),
        (Fault.GARBAGE, "VENDOR_PROTOCOL_ERROR"),
    ],
)
async def test_streams_that_break_are_failures(
    tmp_path: Path, vendor: str, fault: Fault, reason: str
) -> None:
    answers = Answers(output_tokens_min=20, output_tokens_max=20)
    scenario = Scenario(pace=FAST, answers=answers, rules=(Rule(fault=fault, after_tokens=5),))
    async with simulated(tmp_path, vendor, scenario) as (running, model, _):
        with pytest.raises(RemoteError) as failed:
            await streamed(running, asking(model))
    assert failed.value.reason.startswith("VENDOR_")
    assert reason in ("", failed.value.reason)


async def test_prompts_are_counted_here_or_by_the_vendor(tmp_path: Path) -> None:
    for vendor in ("anthropic_messages", "gemini"):
        async with simulated(tmp_path, vendor, Scenario(pace=FAST)) as (running, model, _):
            asked = asking(model)
            told = await generated(running, asked)
            request = pb.CountTokensRequest(model=model, input=asked.input)
            ours = await running.remote.unary(running.stub.CountTokens, request, timeout_s=10)
            request.ask_vendor = True
            theirs = await running.remote.unary(running.stub.CountTokens, request, timeout_s=10)
        assert theirs.from_vendor
        assert theirs.estimate == told.usage.input_tokens
        assert not ours.from_vendor
        assert 0 < ours.estimate <= ours.upper_bound


@pytest.mark.parametrize(
    ("provider", "model", "path", "wire_format"),
    [
        ("openai", "text-embedding-3-small", "/openai/v1", "openai_chat"),
        ("mistral", "mistral-embed", "/mistral/v1", "openai_chat"),
        ("gemini", "gemini-embedding-001", "/gemini/v1beta", "gemini"),
    ],
)
async def test_texts_become_vectors(
    tmp_path: Path, provider: str, model: str, path: str, wire_format: str
) -> None:
    async with RunningSimulator(Scenario(pace=FAST)) as simulator:
        endpoint = {
            "model": f"{provider}/{model}",
            "base_url": simulator.url + path,
            "wire_format": wire_format,
            "api_key_env": "SIMULATED_KEY",
        }
        async with providers(tmp_path, [endpoint]) as running:
            request = pb.EmbedRequest(model=endpoint["model"], texts=["one", "two", "one"])
            request.key.CopyFrom(attempt().key)
            made = await running.remote.unary(running.stub.Embed, request, timeout_s=10)
    one, two, again = (list(embedding.values) for embedding in made.embeddings)
    assert one == again != two
    assert made.usage.input_tokens > 0
