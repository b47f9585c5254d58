"""A recorded decision is made again after the router that made it is gone, by another one, to the last bit."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.analytics.bootstrap import app as analytics_app
from services.analytics.settings import AnalyticsSettings
from services.chassis.app import serving
from services.chassis.channel import Remote
from services.chassis.settings import Address, Secret
from services.chassis.status import RemoteError
from services.kernel.ids import RequestId
from services.router.domain.plan import Decision, Question, decide
from tests.support.budget import OTHER_SERVICE
from tests.support.budget_admin import SERVICE
from tests.support.raw_vendor import raw_vendor
from tests.support.road import CALL_S, Road, Vendor, replica, request, road
from tests.support.vendors import failing, speak
from turnpike.router.v1 import router_pb2, router_pb2_grpc


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with raw_vendor(failing(503)) as broken, raw_vendor(speak) as sound:
        models = {
            "broken": Vendor(broken.base_url, quality=0.8, input_rate=10**8, output_rate=10**8),
            "sound": Vendor(sound.base_url),
            "tiny": Vendor(sound.base_url, context=64),
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


@pytest.fixture
async def analytics(on: Road, tmp_path: Path) -> AsyncIterator[str]:
    """The service that keeps records, for routers to be told of."""
    made = AnalyticsSettings(
        listen=Address("127.0.0.1", 0),
        postgres_dsn=Secret(on.dsn),
        budget_address=on.budgets.address,
        service_token=Secret(OTHER_SERVICE),
        service_tokens={"router": Secret(SERVICE)},
        state_dir=tmp_path,
        drain_s=0.2,
        access_log="off",
    )
    async with serving(analytics_app, made) as running:
        yield str(running.address)


async def decision(router: Remote, decision_id: str, *, replay: bool) -> router_pb2.GetDecisionResponse:
    stub = router_pb2_grpc.RouterServiceStub(router.channel)
    asked = router_pb2.GetDecisionRequest(decision_id=decision_id, replay=replay)
    return await router.unary(stub.GetDecision, asked, timeout_s=CALL_S)


async def answered(router: Remote, text: str) -> str:
    """The decision by which a router answered."""
    stub = router_pb2_grpc.RouterServiceStub(router.channel)
    answer = await router.unary(stub.Generate, request(text), timeout_s=CALL_S)
    return answer.outcome.decision_id


async def test_another_router_makes_the_same_decision_after_a_restart(on: Road, analytics: str) -> None:
    async with replica(on, analytics_address=analytics) as first:
        made = [await answered(first, text) for text in ("Write a haiku.", "What is 12 * 12?", "hello")]
        feedback = router_pb2.SubmitFeedbackRequest(
            feedback_id=str(RequestId.new()), decision_id=made[0], rating=0.1
        )
        stub = router_pb2_grpc.RouterServiceStub(first.channel)
        await first.unary(stub.SubmitFeedback, feedback, timeout_s=CALL_S)
        made.append(await answered(first, "Write another."))  # decided by what that taught
    async with replica(on, analytics_address=analytics) as second:
        for name in made:
            found = await decision(second, name, replay=True)
            assert list(found.differences) == []
            assert found.identical
            assert found.replayed.plan == found.decision.plan
            assert {row.excluded_by for row in found.replayed.candidates} >= {"", "context.input"}
            assert [attempt.purpose for attempt in found.decision.attempts][-1] in ("first", "fallback")
        assert "+1" in found.decision.versions.prior


async def test_what_is_kept_no_longer_is_said(on: Road, analytics: str) -> None:
    async with replica(on, analytics_address=analytics) as first:
        name = await answered(first, "hello")
    connection = await asyncpg.connect(on.dsn)
    await connection.execute("DELETE FROM analytics.decision_snapshot")
    await connection.close()
    async with replica(on, analytics_address=analytics) as second:
        assert (await decision(second, name, replay=False)).decision.decision_id == name
        with pytest.raises(RemoteError) as raised:
            await decision(second, name, replay=True)
        assert raised.value.reason == "PRECONDITION_FAILED"
        assert "kept no longer" in raised.value.message


async def test_requests_are_answered_while_a_decision_is_made_again(
    on: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered_meanwhile = threading.Event(), threading.Event()

    def decide_slowly(question: Question) -> Decision:
        begun.set()
        assert answered_meanwhile.wait(CALL_S)
        return decide(question)

    async with replica(on) as router:
        name = await answered(router, "hello")
        monkeypatch.setattr("services.router.use_cases.replays.decide", decide_slowly)
        replaying = asyncio.create_task(decision(router, name, replay=True))
        assert await asyncio.to_thread(begun.wait, CALL_S)
        await answered(router, "hello again")
        answered_meanwhile.set()
        assert (await replaying).identical
