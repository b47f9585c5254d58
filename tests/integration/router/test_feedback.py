"""Feedback moves the choice, on every replica, once per id, and only within its organisation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.status import RemoteError
from tests.support.conditions import until
from tests.support.governing import put_policy
from tests.support.raw_vendor import raw_vendor
from tests.support.road import Road, Vendor, replica, request, road
from tests.support.vendors import speak
from turnpike.router.v1 import router_pb2, router_pb2_grpc


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with raw_vendor(speak) as vendor:
        models = {
            "praised": Vendor(vendor.base_url, quality=0.70),
            "fallen": Vendor(vendor.base_url, quality=0.75),
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            await put_policy(running, "strategy: capability")
            yield running


async def rate(on: Road, feedback_id: str, decision_id: str, rating: float) -> None:
    feedback = router_pb2.SubmitFeedbackRequest(
        feedback_id=feedback_id, decision_id=decision_id, rating=rating
    )
    await on.router.unary(on.stub.SubmitFeedback, feedback, timeout_s=5)


async def test_bad_answers_move_the_choice_on_every_replica(on: Road) -> None:
    first = await on.generate()
    assert first.outcome.model == "local/fallen"
    for number in range(20):
        answer = await on.generate(model="local/fallen")
        await rate(on, f"bad-{number}", answer.outcome.decision_id, 0.0)
    after = await on.generate()
    assert after.outcome.model == "local/praised"
    found = await on.router.unary(
        on.stub.GetDecision,
        router_pb2.GetDecisionRequest(decision_id=after.outcome.decision_id, replay=True),
        timeout_s=5,
    )
    assert found.decision.versions.prior.endswith("+20")
    assert found.identical
    async with replica(on) as other:
        stub = router_pb2_grpc.RouterServiceStub(other.channel)

        async def learned() -> bool:
            there = await other.unary(stub.Generate, request(), timeout_s=5)
            return there.outcome.model == "local/praised"

        await until(learned)


async def test_the_same_verdict_counts_once_and_another_under_its_id_is_refused(on: Road) -> None:
    answer = await on.generate()
    for _ in range(2):
        await rate(on, "once", answer.outcome.decision_id, 0.5)
    with pytest.raises(RemoteError) as raised:
        await rate(on, "once", answer.outcome.decision_id, 0.9)
    assert raised.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(RemoteError) as raised:
        await rate(on, "else", answer.outcome.decision_id, float("nan"))
    assert raised.value.reason == "INVALID_REQUEST"
    with pytest.raises(RemoteError) as raised:
        await rate(on, "else", "dec_00000000000000000000000000", 0.5)
    assert raised.value.reason == "NOT_FOUND"
