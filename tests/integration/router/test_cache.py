"""The project's cache: opt-in, exact, free of charge and honest about it; identical requests at once are one call."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.channel import connect
from tests.support.budget_admin import OPERATOR, Api
from tests.support.budget_admin import request_id as new_id
from tests.support.raw_vendor import Connection, RawVendor, Request, raw_vendor
from tests.support.road import Road, road
from tests.support.vendors import failing, speak
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1 import router_admin_pb2_grpc, router_pb2


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    async with road(postgres_dsn, tmp_path, {"one": vendor.base_url}) as running:
        yield running


async def put_policy(on: Road, document: str) -> None:
    async with connect("router", on.address, token=OPERATOR) as remote:
        api = Api(remote, router_admin_pb2_grpc.RouterAdminServiceStub(remote.channel))
        policy = pb.Policy(
            organisation_id=on.tenant.organisation.organisation_id,
            scope=f"project:{on.tenant.project.project_id}",
            document_yaml=document,
            state=pb.POLICY_STATE_ACTIVE,
        )
        await api.PutPolicy(pb.PutPolicyRequest(request_id=new_id(), policy=policy))


async def test_without_a_policy_there_is_no_cache(on: Road, vendor: RawVendor) -> None:
    for _ in range(2):
        await on.generate(routing={"use_cache": True})
    assert len(vendor.requests) == 2


async def test_a_hit_costs_nothing_and_says_so(on: Road, vendor: RawVendor) -> None:
    await put_policy(on, "cache: {ttl_s: 60}")
    first = await on.generate(routing={"use_cache": True})
    again = await on.generate(routing={"use_cache": True}, metadata={"page": "2"})
    assert again.choices == first.choices
    assert again.outcome.from_cache
    assert (again.outcome.cost.nanos, list(again.outcome.attempts)) == (0, [])
    assert again.outcome.request_id != first.outcome.request_id
    assert len(vendor.requests) == 1
    assert await on.kinds() == ["HOLD 1", "COMMIT 1"]
    found = await on.router.unary(
        on.stub.GetDecision,
        router_pb2.GetDecisionRequest(decision_id=again.outcome.decision_id),
        timeout_s=5,
    )
    assert found.decision.metadata["saved_nanos"] == str(first.outcome.cost.nanos)
    await on.generate("something else", routing={"use_cache": True})
    await on.generate()
    assert len(vendor.requests) == 3


async def test_streams_are_replayed_as_streams(on: Road, vendor: RawVendor) -> None:
    await put_policy(on, "cache: {ttl_s: 60, always: true}")
    first, again = [await on.stream() for _ in range(2)]
    assert [event.delta for event in again] == [event.delta for event in first]
    assert again[-1].finished.from_cache
    assert len(vendor.requests) == 1


async def test_identical_requests_at_once_are_one_call(on: Road, vendor: RawVendor) -> None:
    await put_policy(on, "cache: {ttl_s: 60, always: true}")
    answers = await asyncio.gather(*(on.generate() for _ in range(10)))
    assert len(vendor.requests) == 1
    assert sum(answer.outcome.from_cache for answer in answers) == 9


async def test_what_is_not_kept_is_asked_for_by_all_who_waited_at_once(on: Road, vendor: RawVendor) -> None:
    await put_policy(on, "cache: {ttl_s: 60, always: true}")
    at_once, all_here = 0, asyncio.Event()

    async def gathering(request: Request, connection: Connection) -> None:
        """The first one fails; each of the others is answered when all of them are here."""
        nonlocal at_once
        if len(vendor.requests) == 1:
            await failing(400)(request, connection)
            return
        at_once += 1
        if at_once == 4:
            all_here.set()
        await all_here.wait()
        await speak(request, connection)

    vendor.script = gathering
    answers = await asyncio.gather(*(on.generate() for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, BaseException) for answer in answers) == 1


async def test_a_hit_has_the_trace_of_its_own_request(on: Road) -> None:
    await put_policy(on, "cache: {ttl_s: 60, always: true}")
    first, again = [await on.generate() for _ in range(2)]
    assert again.outcome.from_cache
    assert again.outcome.trace_id != first.outcome.trace_id


async def test_a_failure_is_not_kept_and_a_change_of_policy_is_a_miss(on: Road, vendor: RawVendor) -> None:
    await put_policy(on, "cache: {ttl_s: 60, always: true}")
    vendor.script = failing(400)
    with pytest.raises(Exception, match="(?i)reject|invalid|400|no"):
        await on.generate()
    vendor.script = speak
    await on.generate()
    await on.generate()
    assert len(vendor.requests) == 2
    async with connect("router", on.address, token=OPERATOR) as remote:
        api = Api(remote, router_admin_pb2_grpc.RouterAdminServiceStub(remote.channel))
        grant = pb.ModelGrant(
            organisation_id=on.tenant.organisation.organisation_id,
            subject=f"key:{on.tenant.key.key_id}",
            model_pattern="*",
        )
        await api.CreateModelGrant(pb.CreateModelGrantRequest(request_id=new_id(), grant=grant))
    assert not (await on.generate()).outcome.from_cache
