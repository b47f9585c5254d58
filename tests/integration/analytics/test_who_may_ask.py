"""No tenant sees another's usage: every RPC of the service with every role, and with none, in two organisations.

The requests are made from the contract's descriptors, so that an RPC that is added is tried, too.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.budget.domain.entities import Role
from services.chassis.channel import connect
from services.kernel.errors import Category, TurnpikeError
from tests.support.analytics import World, ids_of, two_tenants
from tests.support.budget import OTHER_SERVICE
from tests.support.budget_admin import SERVICE, Api, Tenant, make_token
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub

CONTRACT = pb.DESCRIPTOR.services_by_name["AnalyticsService"]
FOR_ROUTERS = {"RecordDecisions", "GetRecord"}
ASKED_BY_ADMINS = [method for method in CONTRACT.methods if method.name not in FOR_ROUTERS]
READERS = [
    (Role.ORGANISATION_ADMIN, False),
    (Role.TEAM_ADMIN, True),
    (Role.VIEWER, False),
    (Role.VIEWER, True),
]
NOBODY = {
    "nobody": None,
    "a tenant's key": "tpk_" + "0" * 43,
    "a service": SERVICE,
    "a guess": "tpa_" + "0" * 43,
}
NOW = datetime.now(UTC)


@pytest.fixture
async def world(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with two_tenants(postgres_dsn, tmp_path, NOW) as made:
        yield made


def request_for(method: MethodDescriptor, tenant: Tenant) -> Any:
    """A request about a tenant's usage, filled by its descriptor."""
    return _filled(GetMessageClass(method.input_type)(), tenant)


def _filled(message: Message, tenant: Tenant) -> Message:
    ids = ids_of(tenant)
    for field in message.DESCRIPTOR.fields:
        if field.name in ids:
            setattr(message, field.name, ids[field.name])
        elif field.name == "request_id":
            message.request_id = f"request-of-{ids['organisation_id']}"  # type: ignore[attr-defined]
        elif field.name == "until" and message.DESCRIPTOR.name == "ForecastSpendRequest":
            message.until.FromDatetime(NOW + timedelta(days=3))  # type: ignore[attr-defined]
        elif field.name in ("from", "since"):
            getattr(message, field.name).FromDatetime(NOW - timedelta(days=30))
        elif field.message_type is not None and not field.is_repeated and _is_ours(field.message_type):
            _filled(getattr(message, field.name), tenant)
    return message


def _is_ours(kind: Any) -> bool:
    return bool(kind.full_name.startswith("turnpike.analytics"))


async def answer_of(api: Api, method: MethodDescriptor, request: Any) -> Any:
    """The answer, or the first of a stream."""
    if not method.server_streaming:
        return await getattr(api, method.name)(request)
    async with api.watch(method.name, request) as answers:
        return await anext(answers)


@pytest.mark.parametrize(("role", "of_team"), READERS)
async def test_nobody_sees_another_organisation(world: World, role: Role, of_team: bool) -> None:
    api = await world.as_(role, of_team=of_team)
    for method in ASKED_BY_ADMINS:
        with pytest.raises(TurnpikeError) as refused:
            await answer_of(api, method, request_for(method, world.theirs))
        assert refused.value.category is Category.NOT_FOUND, (method.name, refused.value)


@pytest.mark.parametrize(("role", "of_team"), READERS)
async def test_everybody_sees_his_own(world: World, role: Role, of_team: bool) -> None:
    api = await world.as_(role, of_team=of_team)
    hidden = {name for name in ids_of(world.theirs).values() if name}
    for method in ASKED_BY_ADMINS:
        answer = await answer_of(api, method, request_for(method, world.ours))
        assert not [name for name in hidden if name in str(answer)], method.name


async def test_a_team_is_not_told_of_another(world: World) -> None:
    """Neither by its id nor, without one, among all."""
    api = await world.as_(Role.TEAM_ADMIN, of_team=True)
    other = pb.QueryUsageRequest(scope=pb.UsageScope(team_id=world.theirs.team.team_id))
    getattr(other.range, "from").FromDatetime(NOW - timedelta(days=30))
    with pytest.raises(TurnpikeError) as refused:
        await api.QueryUsage(other)
    assert refused.value.category is Category.NOT_FOUND


async def test_an_operator_sees_everybody(world: World) -> None:
    secret = await make_token(world.operator, int(Role.OPERATOR))  # type: ignore[arg-type]
    api = await world.asked_by(secret)
    for method in ASKED_BY_ADMINS:
        await answer_of(api, method, request_for(method, world.theirs))


@pytest.mark.parametrize("who", NOBODY)
async def test_without_an_admin_token_nothing_answers(world: World, who: str) -> None:
    api = await world.asked_by(NOBODY[who])
    for method in ASKED_BY_ADMINS:
        with pytest.raises(TurnpikeError) as refused:
            await answer_of(api, method, request_for(method, world.theirs))
        assert refused.value.category is Category.UNAUTHENTICATED, method.name


async def test_records_are_for_routers_alone(world: World) -> None:
    organisation_id = world.theirs.organisation.organisation_id
    asked = pb.GetRecordRequest(organisation_id=organisation_id, decision_id=f"dec_of_{organisation_id}")
    found = await (await world.asked_by(SERVICE)).GetRecord(asked)
    assert found.decision.decision_id == asked.decision_id
    for secret, category in (
        (OTHER_SERVICE, Category.PERMISSION_DENIED),
        (await make_token(world.operator, int(Role.OPERATOR)), Category.UNAUTHENTICATED),  # type: ignore[arg-type]
        (None, Category.UNAUTHENTICATED),
    ):
        with pytest.raises(TurnpikeError) as refused:
            await (await world.asked_by(secret)).GetRecord(asked)
        assert refused.value.category is category
        async with connect("analytics", world.address, token=secret) as remote:
            sending = AnalyticsServiceStub(remote.channel).RecordDecisions(
                iter([pb.RecordDecisionsRequest(batch_id=1)]), metadata=remote.metadata()
            )
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await sending.read()
        assert ended.value.code().name == category.name
