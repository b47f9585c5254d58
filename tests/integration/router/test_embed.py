"""Embed on the whole road: vectors, holds, fallback within one vector space, and what is refused before any call."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis.status import RemoteError
from tests.support.governing import decision_of, put_alias, put_grant, put_policy
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import Road, Vendor, make_budget, road
from tests.support.vendors import Waiting, embed, failing, speak, stall
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import error_pb2

VECTORS = 'kind = "embedding"'
RATE = 100_000_000


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(embed) as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[RawVendor]:
    async with raw_vendor(embed) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor, other: RawVendor) -> AsyncIterator[Road]:
    """`local/one` at two places, `local/twin` and `local/alien` elsewhere, and a model that chats."""
    async with raw_vendor(embed) as third, raw_vendor(speak) as chatting:
        models: dict[str, Vendor | str] = {
            "one": Vendor(vendor.base_url, input_rate=RATE, more=VECTORS, elsewhere=(other.base_url,)),
            "twin": Vendor(third.base_url, input_rate=9 * RATE, more=VECTORS),
            "alien": Vendor(third.base_url, more=f'{VECTORS}\nrefused_parameters = ["dimensions"]'),
            "chat": chatting.base_url,
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


def asked_of(*vendors: RawVendor) -> list[dict[str, Any]]:
    return [json.loads(request.body) for vendor in vendors for request in vendor.requests]


async def test_texts_become_vectors_that_are_held_charged_and_explained(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    response = await on.embed("a", "bcd", model="local/one", dimensions=2, request_id="v1")
    assert [(item.index, list(item.values)) for item in response.embeddings] == [(0, [1, 0]), (1, [3, 1])]
    (sent,) = asked_of(vendor, other)
    assert (sent["input"], sent["model"], sent["dimensions"]) == (["a", "bcd"], "one", 2)
    outcome = response.outcome
    assert (outcome.request_id, outcome.model, outcome.usage.input_tokens) == ("v1", "local/one", 4)
    assert outcome.cost.nanos == 4 * RATE // 1_000_000
    hold, commit = await on.ledger()
    assert hold.amount.nanos == outcome.attempts[0].held.nanos >= commit.amount.nanos == outcome.cost.nanos
    assert commit.dimensions["task"] == "embed"
    found = await decision_of(on, outcome.decision_id, replay=True)
    assert found.identical
    assert list(found.decision.plan) == ["local/one", "local/one"]
    assert found.decision.attempts[0].purpose == "first"
    assert {item.model for item in found.decision.candidates} == {"local/one"}


async def test_the_same_request_again_is_not_paid_for_twice(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    first = await on.embed("a", model="local/one", request_id="same")
    assert await on.embed("a", model="local/one", request_id="same") == first
    assert len(asked_of(vendor, other)) == 1
    with pytest.raises(RemoteError) as raised:
        await on.embed("b", model="local/one", request_id="same")
    assert raised.value.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("script", [failing(500), failing(429), stall])
async def test_a_failure_moves_to_another_endpoint_of_the_same_model(
    on: Road, vendor: RawVendor, script: Any
) -> None:
    vendor.script = script
    failed = 0
    for number in range(6):  # which of the two places is asked first is drawn
        response = await on.embed("a", model="local/one", request_id=f"r{number}", timeout_s=8.0)
        assert response.outcome.model == "local/one"
        attempts = response.outcome.attempts
        failed += len(attempts) - 1
        assert [attempt.purpose for attempt in attempts] == ["first", "fallback"][: len(attempts)]
        if failed:
            break
    assert failed
    kinds = await on.settled(2)
    assert kinds[-4:] == ["HOLD 1", "COMMIT 1" if script is stall else "RELEASE 1", "HOLD 2", "COMMIT 2"]


async def test_another_vector_space_is_never_entered(on: Road, vendor: RawVendor, other: RawVendor) -> None:
    vendor.script = other.script = failing(500)
    await put_alias(on, "vectors", "local/one", "local/alien")
    for model in ("local/one", "vectors"):
        with pytest.raises(RemoteError) as raised:
            await on.embed("a", model=model)
        assert raised.value.reason == "ALL_ATTEMPTS_FAILED"
        failures = raised.value.detail(error_pb2.AttemptFailures)
        assert failures is not None
        assert {failure.model for failure in failures.attempts} == {"local/one"}


async def test_a_model_whose_vectors_the_policy_calls_equal_may_stand_in(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    await put_policy(on, "embeddings: {equal: [[local/one, local/twin]]}\nstrategy: cost")
    assert (await on.embed("a", model="local/twin")).outcome.model == "local/twin"  # dearer, and named
    vendor.script = other.script = failing(500)
    response = await on.embed("a", model="local/one")
    assert response.outcome.model == "local/twin"
    assert [attempt.model for attempt in response.outcome.attempts] == ["local/one"] * 2 + ["local/twin"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"model": ""}, "INVALID_REQUEST"),
        ({"model": "auto"}, "INVALID_REQUEST"),
        ({"model": "local/one", "texts": ()}, "INVALID_REQUEST"),
        ({"model": "local/one", "texts": ("a", "")}, "INVALID_REQUEST"),
        ({"model": "local/one", "texts": ("a",) * 2049}, "INVALID_REQUEST"),
        ({"model": "local/one", "dimensions": 0}, "INVALID_REQUEST"),
        ({"model": "local/nobody"}, "MODEL_NOT_FOUND"),
        ({"model": "local/chat"}, "NO_CANDIDATE"),
        ({"model": "local/alien", "dimensions": 2}, "NO_CANDIDATE"),
        ({"model": "local/one", "texts": ("x" * 9000,)}, "NO_CANDIDATE"),
    ],
)
async def test_refusals_are_typed_and_call_nobody(
    on: Road, vendor: RawVendor, other: RawVendor, asked: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RemoteError) as raised:
        await on.embed(*asked.pop("texts", ("a",)), **asked)
    assert raised.value.reason == reason
    assert asked_of(vendor, other) == []
    assert await on.kinds() == []


async def test_many_texts_are_bounded_one_by_one(on: Road) -> None:
    """Together they are longer than the model's context, which applies to each."""
    response = await on.embed(*["x" * 5000] * 4, model="local/one")
    assert len(response.embeddings) == 4


async def test_grants_bind(on: Road, vendor: RawVendor, other: RawVendor) -> None:
    await put_grant(on, "local/one", deny=True)
    with pytest.raises(RemoteError) as raised:
        await on.embed("a", model="local/one")
    assert raised.value.reason == "MODEL_NOT_ALLOWED"
    assert asked_of(vendor, other) == []


async def test_an_exhausted_budget_refuses_and_names_itself(on: Road, vendor: RawVendor) -> None:
    tight = entities_pb2.Budget(
        subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
        unit=error_pb2.BUDGET_UNIT_MONEY,
        limit=10_000,
        display_name="tight",
    )
    await make_budget(on, tight)
    with pytest.raises(RemoteError) as raised:
        await on.embed("x" * 1000, model="local/one")
    assert raised.value.reason == "BUDGET_EXHAUSTED"
    assert vendor.requests == []


async def test_cancelling_gives_the_vendor_up_and_charges_what_nobody_knows_in_full(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    await put_policy(on, "attempts: {max: 1}")
    waiting = vendor.script = other.script = Waiting()
    with pytest.raises(Exception, match=r"(?i)deadline"):
        await on.embed("a", model="local/one", timeout_s=0.7)
    async with asyncio.timeout(5):
        await waiting.gone.wait()
    await on.settled()
    hold, commit = await on.ledger()
    assert commit.amount.nanos == hold.amount.nanos
    assert commit.unconfirmed


async def test_a_policy_may_deny_embeddings(on: Road) -> None:
    await put_policy(on, "tasks: {denied: [embed]}")
    with pytest.raises(RemoteError) as raised:
        await on.embed("a", model="local/one")
    assert raised.value.reason == "POLICY_DENIED"
