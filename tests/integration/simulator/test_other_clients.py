"""Anthropic's, Google's and Mistral's own clients talk to the simulator without noticing."""

from typing import Any

import anthropic
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from services.providers.simulator.scenario import Fault, Pace, Rule, Scenario
from services.providers.simulator.server import RunningSimulator

FAST = Pace(first_token_ms=0, tokens_per_s=0, jitter=0)
WEATHER: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def anthropic_client(simulator: RunningSimulator) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=f"{simulator.url}/anthropic", api_key="sim", max_retries=0)


def gemini_client(simulator: RunningSimulator) -> genai.Client:
    return genai.Client(api_key="sim", http_options=types.HttpOptions(base_url=f"{simulator.url}/gemini"))


def mistral_client(simulator: RunningSimulator) -> Mistral:
    return Mistral(api_key="sim", server_url=f"{simulator.url}/mistral")


# ---- Anthropic -------------------------------------------------------------------------------------------------------
async def test_anthropic_message_and_stream_say_the_same(simulator: RunningSimulator) -> None:
    async with anthropic_client(simulator) as asked:
        whole = await asked.messages.create(model="claude-haiku-4-5", max_tokens=200, messages=said("Hello"))
        async with asked.messages.stream(
            model="claude-haiku-4-5", max_tokens=200, messages=said("Hello")
        ) as stream:
            streamed = "".join([text async for text in stream.text_stream])
            final = await stream.get_final_message()
    assert whole.stop_reason == "end_turn"
    assert whole.content[0].type == "text"
    assert whole.content[0].text == streamed
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens


async def test_anthropic_thinks_and_calls_tools(simulator: RunningSimulator) -> None:
    async with (
        anthropic_client(simulator) as asked,
        asked.messages.stream(
            model="claude-sonnet-5",
            max_tokens=4_000,
            thinking={"type": "enabled", "budget_tokens": 1_024},
            tools=[{"name": "weather", "input_schema": WEATHER}],
            messages=said("Weather in Paris?"),
        ) as stream,
    ):
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "tool_use"]
    assert final.stop_reason == "tool_use"


async def test_anthropic_counts_tokens(simulator: RunningSimulator) -> None:
    async with anthropic_client(simulator) as asked:
        counted = await asked.messages.count_tokens(model="m", messages=said("Hello there"))
        answer = await asked.messages.create(model="m", max_tokens=5, messages=said("Hello there"))
    assert counted.input_tokens == answer.usage.input_tokens


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault.OVERLOADED, 529), (Fault.RATE_LIMIT, 429), (Fault.QUOTA, 400), (Fault.AUTHENTICATION, 401)],
)
async def test_anthropic_faults(fault: Fault, status: int) -> None:
    async with (
        RunningSimulator(Scenario(pace=FAST, rules=(Rule(fault=fault),))) as running,
        anthropic_client(running) as asked,
    ):
        with pytest.raises(anthropic.APIStatusError) as refused:
            await asked.messages.create(model="m", max_tokens=5, messages=said("Hi"))
    assert refused.value.status_code == status


# ---- Gemini ----------------------------------------------------------------------------------------------------------
async def test_gemini_content_and_stream_say_the_same(simulator: RunningSimulator) -> None:
    asked = gemini_client(simulator).aio
    whole = await asked.models.generate_content(model="gemini-2.5-flash", contents="Hello")
    streamed = ""
    async for chunk in await asked.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello"):
        streamed += chunk.text or ""
    assert whole.text == streamed
    assert whole.usage_metadata is not None
    assert whole.usage_metadata.total_token_count
    assert whole.candidates is not None
    assert whole.candidates[0].finish_reason == types.FinishReason.STOP


async def test_gemini_calls_tools_with_signatures_and_counts(simulator: RunningSimulator) -> None:
    asked = gemini_client(simulator).aio
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)
    answer = await asked.models.generate_content(
        model="gemini-3-flash-preview",
        contents="Weather?",
        config=types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            thinking_config=types.ThinkingConfig(include_thoughts=True),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        ),
    )
    assert answer.function_calls
    assert answer.function_calls[0].name == "weather"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.thoughts_token_count
    counted = await asked.models.count_tokens(model="gemini-2.5-flash", contents="Hello")
    assert counted.total_tokens
    vectors = await asked.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert vectors.embeddings is not None
    assert len(vectors.embeddings) == 2


@pytest.mark.parametrize(("fault", "status"), [(Fault.OVERLOADED, 503), (Fault.RATE_LIMIT, 429)])
async def test_gemini_faults(fault: Fault, status: int) -> None:
    async with RunningSimulator(Scenario(pace=FAST, rules=(Rule(fault=fault),))) as running:
        with pytest.raises(genai_errors.APIError) as refused:
            await gemini_client(running).aio.models.generate_content(model="m", contents="Hi")
    assert refused.value.code == status


# ---- Mistral ---------------------------------------------------------------------------------------------------------
async def test_mistral_completion_and_stream_say_the_same(simulator: RunningSimulator) -> None:
    asked = mistral_client(simulator)
    whole = await asked.chat.complete_async(model="mistral-small-latest", messages=said("Hello"))
    text, usage = "", None
    stream = await asked.chat.stream_async(model="mistral-small-latest", messages=said("Hello"))
    async for event in stream:
        usage = event.data.usage or usage
        content = event.data.choices[0].delta.content
        text += content if isinstance(content, str) else ""
    assert whole.choices[0].message is not None
    assert whole.choices[0].message.content == text
    assert usage is not None
    assert usage.total_tokens == whole.usage.total_tokens


async def test_mistral_thinks_and_calls_tools(simulator: RunningSimulator) -> None:
    asked = mistral_client(simulator)
    answer = await asked.chat.complete_async(
        model="magistral-medium-latest",
        messages=said("Weather?"),
        reasoning_effort="high",
    )
    assert answer.choices[0].message is not None
    assert isinstance(answer.choices[0].message.content, list)
    called = await asked.chat.complete_async(
        model="mistral-small-latest",
        messages=said("Weather?"),
        tools=TOOLS,
    )
    assert called.choices[0].finish_reason == "tool_calls"
    assert called.choices[0].message is not None
    assert called.choices[0].message.tool_calls
    assert len(called.choices[0].message.tool_calls[0].id or "") == 9


async def test_mistral_faults() -> None:
    async with RunningSimulator(Scenario(pace=FAST, rules=(Rule(fault=Fault.OVERLOADED),))) as running:
        with pytest.raises(SDKError) as refused:
            await mistral_client(running).chat.complete_async(model="m", messages=said("Hi"))
    assert refused.value.status_code == 429
