"""The Python client over a real connection: what goes out, what comes back, what a refusal becomes."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import grpc
import pytest

from tests.support.scripted_router import KEY, ScriptedRouter, scripted_router
from turnpike.router.v1 import decision_pb2, router_pb2
from turnpike_client import (
    AsyncTurnpike,
    BudgetExhausted,
    InvalidRequest,
    NotAuthenticated,
    NotPermitted,
    Turnpike,
    Unavailable,
)
from turnpike_client.request import assistant, user


@pytest.fixture
async def router() -> AsyncIterator[tuple[str, ScriptedRouter]]:
    async with scripted_router() as served:
        yield served


async def test_an_answer_has_text_cost_and_model(router: tuple[str, ScriptedRouter]) -> None:
    address, servicer = router
    async with AsyncTurnpike(address, key=KEY) as turnpike:
        answer = await turnpike.generate("hello there", system="Be brief.", strategy="cost", temperature=0.5)
    assert answer.text == "hello there"
    assert answer.cost_usd == Decimal("0.000012345")
    assert answer.model == "local/b"
    (request,) = servicer.requests
    assert request.input.messages[0].parts[0].text.text == "Be brief."
    assert request.routing.strategy == decision_pb2.STRATEGY_COST
    assert request.input.sampling.temperature == 0.5
    assert not request.input.HasField("max_output_tokens")
    assert len(request.request_id) == 32


async def test_a_conversation_and_the_contracts_own_request(router: tuple[str, ScriptedRouter]) -> None:
    address, servicer = router
    own = router_pb2.GenerateRequest(model="local/a")
    own.input.messages.append(user("mine"))
    async with AsyncTurnpike(address, key=KEY) as turnpike:
        conversation = [user("hi"), assistant("hello"), user("and now?")]
        assert (await turnpike.generate(conversation, request_id="r-1")).text == "and now?"
        assert (await turnpike.generate(own)).text == "mine"
    assert servicer.requests[0].request_id == "r-1"
    assert not servicer.requests[0].HasField("routing")
    assert servicer.requests[1].request_id
    assert not own.request_id  # what the caller passes stays his


async def test_a_stream_yields_text_and_then_has_its_outcome(router: tuple[str, ScriptedRouter]) -> None:
    async with AsyncTurnpike(router[0], key=KEY) as turnpike, turnpike.stream("one two three") as answer:
        with pytest.raises(RuntimeError, match="not ended"):
            _ = answer.outcome
        assert [text async for text in answer] == ["one ", "two ", "three "]
        assert answer.started is not None
        assert answer.started.model == "local/b"
        assert answer.cost_usd == Decimal("0.000012345")


async def test_leaving_a_stream_early_cancels_the_call(router: tuple[str, ScriptedRouter]) -> None:
    address, servicer = router
    async with AsyncTurnpike(address, key=KEY) as turnpike:
        async with turnpike.stream("wait") as answer:
            async for text in answer:
                assert text == "wait "
                break
        await asyncio.wait_for(servicer.cancelled.wait(), 10)


async def test_refusals_are_exceptions_with_their_facts(router: tuple[str, ScriptedRouter]) -> None:
    async with AsyncTurnpike(router[0], key=KEY) as turnpike:
        with pytest.raises(BudgetExhausted, match=r"\$0.01 left") as refused:
            await turnpike.generate("!budget")
        assert refused.value.reason == "BUDGET_EXHAUSTED"
        assert refused.value.facts == {"budget_id": "bud_1"}
        assert refused.value.retry_after_s == 90
        assert refused.value.shortfalls[0].left == 10_000_000
        with pytest.raises(InvalidRequest) as wrong:
            await turnpike.generate("!fields")
        assert wrong.value.violations == {"input.stop": "at most 4"}
        with pytest.raises(NotPermitted):
            await turnpike.generate("!forbidden")
        async with turnpike.stream("break") as answer:
            with pytest.raises(Unavailable) as broken:
                _ = [text async for text in answer]
        assert broken.value.attempts[0].model == "local/a"
    async with AsyncTurnpike(router[0], key="tpk_wrong") as stranger:
        with pytest.raises(NotAuthenticated):
            await stranger.generate("hello")


async def test_a_router_that_is_not_there_is_unavailable_without_a_reason() -> None:
    async with AsyncTurnpike("127.0.0.1:1", key=KEY) as turnpike:
        with pytest.raises(Unavailable) as down:
            await turnpike.generate("hello")
    assert down.value.reason == ""
    assert down.value.status == grpc.StatusCode.UNAVAILABLE


async def test_the_synchronous_client_does_the_same(router: tuple[str, ScriptedRouter]) -> None:
    address, servicer = router

    def use() -> None:
        with Turnpike(address, key=KEY) as turnpike:
            assert turnpike.generate("hello").text == "hello"
            with turnpike.stream("one two") as answer:
                assert list(answer) == ["one ", "two "]
                assert answer.cost_usd == Decimal("0.000012345")
            with turnpike.stream("wait") as early:
                assert next(iter(early)) == "wait "
            with pytest.raises(BudgetExhausted):
                turnpike.generate("!budget")
            with turnpike.stream("break") as broken, pytest.raises(Unavailable):
                list(broken)
            assert [model.model for model in turnpike.models()] == ["local/a", "local/b"]
            assert turnpike.decision("dec_1").decision_id == "dec_1"

    await asyncio.to_thread(use)
    await asyncio.wait_for(servicer.cancelled.wait(), 10)
