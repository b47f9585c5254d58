"""What goes wrong goes wrong on the wire as the scenario says."""

import asyncio

import aiohttp
import pytest

from services.providers.simulator.scenario import Answers, Fault, Pace, Rule, Scenario
from services.providers.simulator.server import RunningSimulator, Simulator

FAST = Pace(first_token_ms=0, tokens_per_s=0, jitter=0)
TWENTY = Answers(output_tokens_min=20, output_tokens_max=20)
BODY = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
KEY = {"authorization": "Bearer sim"}


async def until(simulator: Simulator, outcome: str) -> None:
    async with asyncio.timeout(5):
        while not simulator.records or simulator.records[-1].outcome != outcome:
            await asyncio.sleep(0.005)


async def test_a_truncated_stream_ends_in_good_order_without_its_end() -> None:
    scenario = Scenario(pace=FAST, answers=TWENTY, rules=(Rule(fault=Fault.TRUNCATE, after_tokens=5),))
    async with RunningSimulator(scenario) as running, aiohttp.ClientSession() as session:
        url = f"{running.url}/openai/v1/chat/completions"
        async with session.post(url, json=BODY, headers=KEY) as answer:
            text = await answer.text()
    assert text.count('"content"') == 6
    assert "[DONE]" not in text
    assert running.simulator.records[-1].outcome == "broken"


async def test_a_reset_breaks_the_connection() -> None:
    scenario = Scenario(pace=FAST, answers=TWENTY, rules=(Rule(fault=Fault.RESET, after_tokens=3),))
    async with RunningSimulator(scenario) as running, aiohttp.ClientSession() as session:
        url = f"{running.url}/openai/v1/chat/completions"
        with pytest.raises(aiohttp.ClientError):
            async with session.post(url, json=BODY, headers=KEY) as answer:
                await answer.read()


async def test_a_client_that_leaves_is_noticed_while_the_stream_stalls() -> None:
    scenario = Scenario(pace=FAST, answers=TWENTY, rules=(Rule(fault=Fault.STALL, after_tokens=3),))
    async with RunningSimulator(scenario) as running, aiohttp.ClientSession() as session:
        url = f"{running.url}/openai/v1/chat/completions"
        async with session.post(url, json=BODY, headers=KEY) as answer:
            await answer.content.readany()
            assert running.simulator.in_flight == 1
        await until(running.simulator, "cancelled")
        assert running.simulator.in_flight == 0
        assert running.simulator.records[-1].output_tokens_sent == 3


async def test_a_stall_before_the_first_token_sends_nothing() -> None:
    scenario = Scenario(pace=FAST, rules=(Rule(fault=Fault.STALL),))
    async with RunningSimulator(scenario) as running, aiohttp.ClientSession() as session:
        url = f"{running.url}/anthropic/v1/messages"
        body = {**BODY, "max_tokens": 10}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), session.post(url, json=body, headers={"x-api-key": "sim"}):
                pass
        await until(running.simulator, "cancelled")


async def test_the_scenario_is_replaced_while_it_runs() -> None:
    async with RunningSimulator(Scenario(pace=FAST)) as running, aiohttp.ClientSession() as session:
        url = f"{running.url}/west/openai/v1/chat/completions"
        scenario = 'require_key = false\n[[rules]]\nfault = "overloaded"\ninstances = ["west"]\n'
        async with session.put(f"{running.url}/control/scenario", data=scenario) as answer:
            assert answer.status == 200
        async with session.post(url, json=BODY) as answer:
            assert answer.status == 503
        async with session.put(f"{running.url}/control/scenario", data="fault = 1") as answer:
            assert answer.status == 400
        async with session.get(f"{running.url}/control/requests") as answer:
            told = await answer.json()
        assert told["totals"]["refused"] == 1
        assert told["requests"][0]["instance"] == "west"


async def test_tokens_come_at_the_pace() -> None:
    pace = Pace(first_token_ms=50, tokens_per_s=100, jitter=0)
    async with (
        RunningSimulator(Scenario(pace=pace, answers=TWENTY)) as running,
        aiohttp.ClientSession() as session,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with session.post(
            f"{running.url}/openai/v1/chat/completions", json=BODY, headers=KEY
        ) as answer:
            await answer.read()
        took = loop.time() - began
    # 50 ms to the first, then 19 of 10 ms; later is the machine's fault, earlier would be ours.
    assert took >= 0.24


async def test_requests_no_vendor_takes_are_bad_requests() -> None:
    async with RunningSimulator(Scenario(pace=FAST)) as running, aiohttp.ClientSession() as session:
        for path, body, status in (
            ("openai/v1/chat/completions", b"{", 400),
            ("openai/v1/chat/completions", b"[]", 400),
            ("openai/v1/chat/completions", b'{"model": "m", "messages": []}', 400),
            ("anthropic/v1/messages", b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}', 400),
            ("gemini/v1beta/models/m:generateContent", b'{"contents": []}', 400),
            ("mistral/v1/chat/completions", b'{"model": "m"}', 422),
            ("openai/v1/embeddings", b'{"input": []}', 400),
        ):
            async with session.post(f"{running.url}/{path}", data=body, headers=KEY) as answer:
                assert answer.status == status, path
                await answer.json()


async def test_without_a_key_nobody_answers() -> None:
    async with RunningSimulator(Scenario(pace=FAST)) as running, aiohttp.ClientSession() as session:
        async with session.post(f"{running.url}/openai/v1/chat/completions", json=BODY) as answer:
            assert answer.status == 401
        gemini = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
        async with session.post(
            f"{running.url}/gemini/v1beta/models/m:generateContent", json=gemini
        ) as answer:
            assert answer.status == 400
            assert "API_KEY_INVALID" in await answer.text()
