"""Mirrored traffic: a shadow model gets a copy after the answer, paid by a key of its own, in nobody's way."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kernel.errors import TurnpikeError
from services.router.domain.breaker import FAILURES_TO_OPEN
from tests.support.budget_admin import request_id as new_id
from tests.support.conditions import until
from tests.support.governing import admin, decision_of, put_grant, put_policy
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import Road, Vendor, make_budget, road
from tests.support.vendors import Waiting, failing, saying
from turnpike.budget.v1 import budget_admin_pb2, entities_pb2
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import decision_pb2
from turnpike.router.v1 import router_admin_pb2 as pb


@pytest.fixture
async def answering() -> AsyncIterator[RawVendor]:
    async with raw_vendor(saying("hello there")) as running:
        yield running


@pytest.fixture
async def shadow() -> AsyncIterator[RawVendor]:
    async with raw_vendor(saying("goodbye")) as running:
        yield running


@pytest.fixture
async def on(
    postgres_dsn: str, tmp_path: Path, answering: RawVendor, shadow: RawVendor
) -> AsyncIterator[Road]:
    models = {
        "answering": Vendor(answering.base_url, quality=0.8),
        "shadow": Vendor(shadow.base_url, quality=0.1, input_rate=3 * 10**9),
    }
    async with road(postgres_dsn, tmp_path, models) as running:
        yield running


async def payer(on: Road) -> str:
    """Another project's key, whose budgets are its own."""
    project = entities_pb2.Project(team_id=on.tenant.team.team_id, display_name="mirrors")
    made = await on.operator.CreateProject(
        budget_admin_pb2.CreateProjectRequest(request_id=new_id(), project=project)
    )
    key = entities_pb2.Key(project_id=made.project.project_id, display_name="mirrors")
    answer = await on.operator.CreateKey(budget_admin_pb2.CreateKeyRequest(request_id=new_id(), key=key))
    return str(answer.key.key_id)


async def mirroring(on: Road, more: str = "") -> str:
    """A policy that mirrors everything; returns the key that pays."""
    key_id = await payer(on)
    await put_policy(on, f"mirror: {{model: local/shadow, share: 1, key: {key_id}}}\n{more}")
    return key_id


async def mirror_of(on: Road, decision_id: str) -> decision_pb2.AttemptRecord:
    """The mirror's attempt, once it is settled."""

    async def settled() -> decision_pb2.AttemptRecord | None:
        attempts = (await decision_of(on, decision_id)).decision.attempts
        found = [attempt for attempt in attempts if attempt.purpose == "mirror"]
        return found[0] if found and found[0].HasField("cost") else None

    return await until(settled)


async def test_a_copy_is_paid_by_another_key_and_stands_beside_the_answer(
    on: Road, answering: RawVendor, shadow: RawVendor
) -> None:
    key_id = await mirroring(on)
    response = await on.generate("hello")
    assert response.choices[0].message.parts[0].text.text == "hello there"
    assert [attempt.purpose for attempt in response.outcome.attempts] == ["first"]
    mirror = await mirror_of(on, response.outcome.decision_id)
    assert (mirror.model, mirror.attempt) == ("local/shadow", 2)
    assert mirror.usage.output_tokens == 2
    assert mirror.duration.ToNanoseconds() > 0
    decision = (await decision_of(on, response.outcome.decision_id, replay=True)).decision
    assert decision.cost.nanos == response.outcome.cost.nanos  # the caller's alone
    assert decision.plan[0] == "local/answering"
    assert (
        json.loads(shadow.requests[0].body)["messages"] == json.loads(answering.requests[0].body)["messages"]
    )
    await on.settled(2)
    assert [entry.dimensions.get("purpose", "") for entry in await on.ledger()][-1] == "mirror"
    keys = {
        entry.key.attempt: entry.principal.key_id for entry in await on.ledger() if entry.principal.key_id
    }
    assert keys == {1: on.tenant.key.key_id, 2: key_id}


async def test_a_slow_shadow_delays_nobody_and_a_stream_is_mirrored_too(on: Road, shadow: RawVendor) -> None:
    waiting = shadow.script = Waiting()
    await mirroring(on)
    events = await on.stream("hello", timeout_s=5.0)
    assert events[-1].WhichOneof("event") == "finished"
    async with asyncio.timeout(5):
        await waiting.spoken.wait()
    assert (await on.kinds())[:2] == ["HOLD 1", "COMMIT 1"]


async def test_a_shadow_that_fails_is_nobodys_failure(on: Road, shadow: RawVendor) -> None:
    shadow.script = failing(500)
    await mirroring(on)
    response = await on.generate("hello")
    mirror = await mirror_of(on, response.outcome.decision_id)
    assert mirror.failure == error_pb2.ERROR_REASON_VENDOR_ERROR
    decision = (await decision_of(on, response.outcome.decision_id)).decision
    assert decision.failure == error_pb2.ERROR_REASON_UNSPECIFIED
    assert len(shadow.requests) == 1  # never again


async def test_a_shadow_that_rests_is_left_alone(on: Road, shadow: RawVendor) -> None:
    shadow.script = failing(500)
    while len(shadow.requests) < FAILURES_TO_OPEN:
        with pytest.raises(TurnpikeError):
            await on.generate(model="local/shadow", timeout_s=1.0)
    made = len(shadow.requests)
    await mirroring(on)
    response = await on.generate()
    assert await on.settled(made + 1)
    decision = (await decision_of(on, response.outcome.decision_id)).decision
    assert [attempt.purpose for attempt in decision.attempts] == ["first"]
    assert len(shadow.requests) == made


async def test_without_room_in_its_own_budget_nothing_is_mirrored(on: Road, shadow: RawVendor) -> None:
    key_id = await mirroring(on)
    await make_budget(
        on,
        entities_pb2.Budget(
            subject=entities_pb2.BudgetSubject(key_id=key_id),
            unit=error_pb2.BUDGET_UNIT_MONEY,
            limit=1_000,
            display_name="mirrors",
        ),
    )
    for _ in range(3):
        await on.generate("hello")
    assert await on.settled(3) == ["HOLD 1", "COMMIT 1"] * 3
    assert shadow.requests == []


@pytest.mark.parametrize("rule", ["grant", "policy", "wish"])
async def test_a_shadow_that_is_forbidden_gets_nothing(on: Road, shadow: RawVendor, rule: str) -> None:
    if rule == "grant":
        await put_grant(on, "local/shadow", deny=True)
    await mirroring(on, "models: {deny: [local/shadow]}" if rule == "policy" else "")
    routing = {"allow_models": ["local/answering"]} if rule == "wish" else None
    await on.generate("hello", routing=routing)
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]
    assert shadow.requests == []


async def test_a_list_of_models_that_may_answer_does_not_bind_the_shadow(on: Road, shadow: RawVendor) -> None:
    await mirroring(on, "models: {allow: [local/answering]}")
    response = await on.generate("hello")
    assert (await mirror_of(on, response.outcome.decision_id)).model == "local/shadow"


async def test_an_alias_mirrors_its_share(on: Road, shadow: RawVendor) -> None:
    key_id = await payer(on)
    await put_policy(on, f"mirror: {{key: {key_id}}}")
    alias = pb.ModelAlias(
        organisation_id=on.tenant.organisation.organisation_id,
        alias="chat",
        targets=[pb.AliasTarget(model="local/answering")],
        mirror_model="local/shadow",
        mirror_permille=1000,
    )
    async with admin(on) as api:
        await api.PutAlias(pb.PutAliasRequest(request_id=new_id(), alias=alias))
    await on.generate("hello", model="local/answering")
    response = await on.generate("hello", model="chat")
    assert (await mirror_of(on, response.outcome.decision_id)).model == "local/shadow"
    assert len(shadow.requests) == 1
