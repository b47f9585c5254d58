"""The same request again: the kept answer, in progress, or settled; never a second vendor's call."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.channel import connect
from services.chassis.status import RemoteError
from services.kernel.errors import OutcomeUnknown
from services.router.adapters.budget import RemoteHolds
from services.router.ports import AttemptKey, Free, Grant, HoldTerms, Receipt, Settlement
from tests.support.conditions import until
from tests.support.governing import put_policy
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from tests.support.road import Road, Vendor, replica, request, road
from tests.support.vendors import Waiting, failing, speak
from turnpike.router.v1 import router_pb2, router_pb2_grpc

KEY = base64.b64decode("A" * 43 + "=")


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    async with road(postgres_dsn, tmp_path, {"one": vendor.base_url}, answers_key=KEY) as running:
        yield running


async def test_a_repetition_gets_the_answer_of_the_first_time(on: Road, vendor: RawVendor) -> None:
    first, second = [await on.generate(request_id="once") for _ in range(2)]
    assert first == second
    assert len(vendor.requests) == 1
    streams = [await on.stream(request_id="once-more") for _ in range(2)]
    assert streams[0] == streams[1]
    assert len(vendor.requests) == 2
    assert await on.kinds() == ["HOLD 1", "COMMIT 1", "HOLD 1", "COMMIT 1"]


async def test_other_content_under_the_same_id_is_refused(on: Road, vendor: RawVendor) -> None:
    await on.generate("one thing", request_id="mine")
    for attempt in (on.generate("another", request_id="mine"), on.stream("one thing", request_id="mine")):
        with pytest.raises(RemoteError) as raised:
            await attempt
        assert raised.value.reason == "REQUEST_ID_REUSED"
    assert len(vendor.requests) == 1


async def test_a_repetition_meanwhile_is_told_so(on: Road, vendor: RawVendor) -> None:
    waiting = vendor.script = Waiting()
    events = on.streaming(request_id="long")
    await anext(events)
    await waiting.spoken.wait()
    with pytest.raises(RemoteError) as raised:
        await on.stream(request_id="long")
    assert raised.value.reason == "REQUEST_IN_PROGRESS"
    async with replica(on) as other:
        stub = router_pb2_grpc.RouterServiceStub(other.channel)
        with pytest.raises(RemoteError) as raised:
            asked = router_pb2.StreamGenerateRequest(request=request(request_id="long"))
            async with other.stream(stub.StreamGenerate, asked, timeout_s=5) as answers:
                async for _ in answers:
                    pass
        assert raised.value.reason == "REQUEST_IN_PROGRESS"
    assert len(vendor.requests) == 1
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_repetition_elsewhere_hears_of_the_fallback_that_is_under_way(
    postgres_dsn: str, tmp_path: Path
) -> None:
    waiting = Waiting()
    async with raw_vendor(failing(500)) as broken, raw_vendor(waiting) as slow:
        models = {"first": Vendor(broken.base_url, quality=0.9), "second": Vendor(slow.base_url, quality=0.5)}
        async with road(postgres_dsn, tmp_path, models) as on, replica(on) as other:
            await put_policy(on, "strategy: capability")
            events = on.streaming(request_id="falling")
            await anext(events)
            await waiting.spoken.wait()
            assert "HOLD 2" in await on.kinds()
            stub = router_pb2_grpc.RouterServiceStub(other.channel)
            with pytest.raises(RemoteError) as raised:
                await other.unary(stub.Generate, request(request_id="falling"), timeout_s=5)
            assert raised.value.reason == "REQUEST_IN_PROGRESS"
            await events.aclose()  # type: ignore[attr-defined]


async def test_another_replica_knows_what_became_of_it(on: Road, vendor: RawVendor) -> None:
    first = await on.generate(request_id="there")
    async with replica(on) as other:
        stub = router_pb2_grpc.RouterServiceStub(other.channel)

        async def settled() -> RemoteError | None:
            try:
                await other.unary(stub.Generate, request(request_id="there"), timeout_s=5)
            except RemoteError as error:
                return error if error.metadata.get("decision_id") else None
            return None

        error = await until(settled)
        assert error.reason == "REQUEST_ALREADY_SETTLED"
        assert error.metadata["cost_nanos"] == str(first.outcome.cost.nanos)
        with pytest.raises(RemoteError) as raised:
            await other.unary(stub.Generate, request("else", request_id="there"), timeout_s=5)
        assert raised.value.reason == "REQUEST_ID_REUSED"
    assert len(vendor.requests) == 1


async def test_many_at_once_make_one_call(on: Road, vendor: RawVendor) -> None:
    async with connect("router", on.address, token=on.tenant.key_secret) as more:
        stub = router_pb2_grpc.RouterServiceStub(more.channel)
        calls = [more.unary(stub.Generate, request(request_id="burst"), timeout_s=10) for _ in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert len(vendor.requests) == 1
    refused = [answer for answer in answers if isinstance(answer, RemoteError)]
    assert {error.reason for error in refused} <= {"REQUEST_IN_PROGRESS"}
    assert len(refused) < 20


async def test_a_refusal_leaves_the_id_free_and_a_failure_does_not(on: Road, vendor: RawVendor) -> None:
    with pytest.raises(RemoteError):
        await on.generate(request_id="refused", routing={"quality_min": 0.99})
    assert (await on.generate(request_id="refused")).choices
    vendor.script = failing(400)
    with pytest.raises(RemoteError):
        await on.generate(request_id="failed")
    vendor.script = speak
    with pytest.raises(RemoteError) as raised:
        await on.generate(request_id="failed")
    assert raised.value.reason == "REQUEST_ALREADY_SETTLED"


async def test_a_run_whose_hold_was_lost_frees_nothing_of_the_next(
    on: Road, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner died with the first run's hold; what frees it arrives while the second run calls its model."""
    hold, settle = RemoteHolds.hold, RemoteHolds.settle
    called, freed = asyncio.Event(), asyncio.Event()

    async def lost(holds: RemoteHolds, key: AttemptKey, terms: HoldTerms) -> Grant:
        raise OutcomeUnknown("budget")

    async def late(holds: RemoteHolds, key: AttemptKey, settlement: Settlement) -> Receipt:
        if not isinstance(settlement, Free):
            return await settle(holds, key, settlement)
        await called.wait()
        try:
            return await settle(holds, key, settlement)
        finally:
            freed.set()

    async def behind_the_free(request: Request, connection: Connection) -> None:
        called.set()
        async with asyncio.timeout(10):
            await freed.wait()
        await speak(request, connection)

    monkeypatch.setattr(RemoteHolds, "settle", late)
    vendor.script = behind_the_free
    with monkeypatch.context() as dying:
        dying.setattr(RemoteHolds, "hold", lost)
        with pytest.raises(RemoteError):
            await on.generate(request_id="again")
    monkeypatch.setattr(RemoteHolds, "hold", hold)
    answer = await on.generate(request_id="again")
    assert answer.outcome.cost.nanos > 0
    assert await on.settled() == ["HOLD 1", "COMMIT 1"]
