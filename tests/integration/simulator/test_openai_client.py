"""OpenAI's own client talks to the simulator without noticing."""

from typing import Any

import openai
import pytest

from services.providers.simulator.scenario import Answers, Fault, Limits, Pace, Rule, Scenario
from services.providers.simulator.server import RunningSimulator

FAST = Pace(first_token_ms=0, tokens_per_s=0, jitter=0)
WEATHER: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
}
FORMAT: Any = {"format": {"type": "json_schema", "name": "weather", "schema": WEATHER}}
FLAT_TOOLS: Any = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}]


def client(simulator: RunningSimulator, retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{simulator.url}/openai/v1", api_key="sim", max_retries=retries)


async def test_a_chat_completion(simulator: RunningSimulator) -> None:
    async with client(simulator) as asked:
        answer = await asked.chat.completions.create(
            model="gpt-5.4-mini", messages=[{"role": "user", "content": "Hello"}]
        )
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == "gpt-5.4-mini"


async def test_a_stream_says_the_same_as_the_whole_answer(simulator: RunningSimulator) -> None:
    async with client(simulator) as asked:
        whole = await asked.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hello"}]
        )
        stream = await asked.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        said, usage = "", None
        async for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                said += choice.delta.content or ""
    assert said == whole.choices[0].message.content
    assert usage == whole.usage


async def test_tools_are_called_and_their_results_answered(simulator: RunningSimulator) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    async with client(simulator) as asked:
        async with asked.chat.completions.stream(
            model="m",
            messages=[{"role": "user", "content": "Weather in Paris?"}],
            tools=tools,
        ) as stream:
            final = await stream.get_final_completion()
        message = final.choices[0].message
        assert final.choices[0].finish_reason == "tool_calls"
        assert message.tool_calls
        called = message.tool_calls[0]
        assert called.function.name == "weather"
        answer = await asked.chat.completions.create(
            model="m",
            messages=[
                {"role": "user", "content": "Weather in Paris?"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": called.id,
                            "type": "function",
                            "function": {"name": "weather", "arguments": called.function.arguments},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": called.id, "content": "sunny"},
            ],
            tools=tools,
        )
    assert answer.choices[0].finish_reason == "stop"


async def test_a_schema_is_kept_and_the_cap_ends_an_answer(simulator: RunningSimulator) -> None:
    async with client(simulator) as asked:
        capped = await asked.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Long"}], max_completion_tokens=3, n=2
        )
        made = await asked.responses.create(
            model="m",
            input="Weather?",
            text=FORMAT,
        )
    assert [choice.finish_reason for choice in capped.choices] == ["length", "length"]
    assert capped.usage is not None
    assert capped.usage.completion_tokens == 6
    assert '"city"' in made.output_text


async def test_responses_stream_with_reasoning_and_calls(simulator: RunningSimulator) -> None:
    async with (
        client(simulator) as asked,
        asked.responses.stream(
            model="m",
            input="Weather?",
            reasoning={"effort": "low", "summary": "auto"},
            tools=FLAT_TOOLS,
        ) as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert [item.type for item in final.output] == ["reasoning", "function_call"]
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens > 0


async def test_embeddings_and_models(simulator: RunningSimulator) -> None:
    async with client(simulator) as asked:
        one = await asked.embeddings.create(model="e", input=["a", "b"], dimensions=16)
        two = await asked.embeddings.create(model="e", input=["a"], dimensions=16)
        models = [model.id async for model in asked.models.list()]
    assert len(one.data) == 2
    assert one.data[0].embedding == two.data[0].embedding
    assert len(one.data[0].embedding) == 16
    assert models == ["simulated"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.RATE_LIMIT, openai.RateLimitError),
        (Fault.QUOTA, openai.RateLimitError),
        (Fault.OVERLOADED, openai.InternalServerError),
        (Fault.SERVER_ERROR, openai.InternalServerError),
        (Fault.AUTHENTICATION, openai.AuthenticationError),
        (Fault.MODEL_NOT_FOUND, openai.NotFoundError),
        (Fault.CONTEXT_LENGTH, openai.BadRequestError),
        (Fault.REFUSE, openai.APIConnectionError),
        (Fault.RESET, openai.APIConnectionError),
    ],
)
async def test_faults_are_the_errors_the_client_knows(fault: Fault, error: type[Exception]) -> None:
    scenario = Scenario(pace=FAST, rules=(Rule(fault=fault),))
    async with RunningSimulator(scenario) as running, client(running) as asked:
        with pytest.raises(error):
            await asked.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])


async def test_the_client_retries_what_fails_once() -> None:
    scenario = Scenario(
        pace=FAST, rules=(Rule(fault=Fault.RATE_LIMIT, first_requests=1, retry_after_s=0.01),)
    )
    async with RunningSimulator(scenario) as running, client(running, retries=1) as asked:
        answer = await asked.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        assert answer.choices
        assert [record.outcome for record in running.simulator.records] == ["refused", "done"]


async def test_a_stream_that_breaks_raises_where_it_breaks() -> None:
    scenario = Scenario(
        pace=FAST,
        answers=Answers(output_tokens_min=20, output_tokens_max=20),
        rules=(Rule(fault=Fault.ERROR_EVENT, after_tokens=5),),
    )
    async with RunningSimulator(scenario) as running, client(running) as asked:
        stream = await asked.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        pieces = 0
        with pytest.raises(openai.APIError, match="error"):
            async for chunk in stream:
                pieces += bool(chunk.choices and chunk.choices[0].delta.content)
    assert pieces == 5


async def test_limits_are_told_in_headers_and_kept() -> None:
    scenario = Scenario(pace=FAST, limits=Limits(requests_per_minute=2))
    async with RunningSimulator(scenario) as running, client(running) as asked:
        left = []
        for _ in range(2):
            raw = await asked.chat.completions.with_raw_response.create(
                model="m", messages=[{"role": "user", "content": "Hi"}]
            )
            left.append(raw.headers["x-ratelimit-remaining-requests"])
        with pytest.raises(openai.RateLimitError) as refused:
            await asked.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert left == ["1", "0"]
    assert float(refused.value.response.headers["retry-after-ms"]) > 0
