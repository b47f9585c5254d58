"""No tenant can see or touch another's entities: every RPC with every role and a tenant's key, in two organisations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from services.budget.domain.entities import Role
from services.budget.domain.roles import RULES, Reach
from services.kernel.errors import Category, TurnpikeError
from tests.support.admin_requests import methods, more_of, request_for
from tests.support.budget_admin import SERVICE, Admin, Api, Tenant, make_tenant, make_token
from turnpike.budget.v1 import budget_admin_pb2 as pb

ROLES = [role for role in Role if role is not Role.OPERATOR]
NOBODY = {"nobody": None, "a tenant's key": "", "a service": SERVICE, "a guess": "tpa_" + "0" * 43}


@dataclass
class World:
    admin: Admin
    operator: Api
    ours: Tenant
    theirs: Tenant
    more_of_ours: Mapping[str, str]
    more_of_theirs: Mapping[str, str]

    async def as_(self, role: Role, tenant: Tenant, *, of_team: bool) -> Api:
        team_id = tenant.team.team_id if of_team else ""
        secret = await make_token(
            self.operator,
            int(role),  # type: ignore[arg-type]
            organisation_id=tenant.organisation.organisation_id,
            team_id=team_id,
        )
        return await self.admin.as_(secret)


@pytest.fixture
async def world(admin: Admin) -> World:
    operator = await admin.operator()
    ours, theirs = await make_tenant(operator, "Ours"), await make_tenant(operator, "Theirs")
    return World(
        admin, operator, ours, theirs, await more_of(operator, ours), await more_of(operator, theirs)
    )


async def answer_of(api: Api, method: MethodDescriptor, request: Any) -> Any:
    """The answer, or the first of a stream."""
    if not method.server_streaming:
        return await getattr(api, method.name)(request)
    async with api.watch(method.name, request) as answers:
        return await anext(answers)


def tokens() -> list[tuple[Role, bool]]:
    return [
        (Role.ORGANISATION_ADMIN, False),
        (Role.TEAM_ADMIN, True),
        (Role.VIEWER, False),
        (Role.VIEWER, True),
    ]


def test_the_table_has_every_rpc() -> None:
    assert set(RULES) == {method.name for method in methods()}


@pytest.mark.parametrize(("role", "of_team"), tokens())
async def test_nobody_reaches_into_another_organisation(world: World, role: Role, of_team: bool) -> None:
    api = await world.as_(role, world.ours, of_team=of_team)
    hidden = world.theirs.ids | set(world.more_of_theirs.values())
    before = await world.operator.ListAuditRecords(pb.ListAuditRecordsRequest(page_size=1000))
    for method in methods():
        request = request_for(method, world.theirs, world.more_of_theirs)
        try:
            answer = await answer_of(api, method, request)
        except TurnpikeError as refused:
            assert refused.category in (Category.NOT_FOUND, Category.PERMISSION_DENIED), (
                method.name,
                refused,
            )
            names_theirs = any(name in str(request) for name in hidden)
            if names_theirs and RULES[method.name].reads:
                assert refused.category is Category.NOT_FOUND, method.name
        else:
            shown = [name for name in hidden if name in str(answer)]
            assert not shown, f"{method.name} shows {shown} to a {role.name}"
            assert RULES[method.name].reads, f"{method.name} let a {role.name} change another's"
    after = await world.operator.ListAuditRecords(pb.ListAuditRecordsRequest(page_size=1000))
    assert before.audit_records == after.audit_records


@pytest.mark.parametrize("who", NOBODY)
async def test_without_an_admin_token_nothing_answers(world: World, who: str) -> None:
    secret = world.theirs.key_secret if who == "a tenant's key" else NOBODY[who]
    api = await world.admin.as_(secret)
    for method in methods():
        with pytest.raises(TurnpikeError) as refused:
            await answer_of(api, method, request_for(method, world.theirs, world.more_of_theirs))
        assert refused.value.category is Category.UNAUTHENTICATED, method.name


@pytest.mark.parametrize(("role", "of_team"), tokens())
async def test_a_role_does_at_home_what_the_table_says(world: World, role: Role, of_team: bool) -> None:
    api = await world.as_(role, world.ours, of_team=of_team)
    for method in methods():
        rule = RULES[method.name]
        request = request_for(method, world.ours, world.more_of_ours)
        try:
            await answer_of(api, method, request)
        except TurnpikeError as refused:
            assert refused.category in (Category.PERMISSION_DENIED, Category.NOT_FOUND), (
                method.name,
                refused,
            )
            allowed = role in rule.roles and (not of_team or rule.reach is not Reach.NOTHING)
            assert not allowed, (method.name, refused.message)
        else:
            assert role in rule.roles, f"{method.name} let a {role.name} in"


async def test_an_operator_may_do_everything(world: World) -> None:
    """And so every request that was refused above was refused for who asked, not for what it said."""
    for method in methods():
        try:
            await answer_of(world.operator, method, request_for(method, world.theirs, world.more_of_theirs))
        except TurnpikeError as refused:
            pytest.fail(f"{method.name}: {refused.message}")
