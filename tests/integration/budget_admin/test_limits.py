"""What changes a limit changes the next hold: overrides, transfers, wishes that were granted."""

from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.status import RemoteError
from tests.support.budget import hold, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant, make_token, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.entities_pb2 import ROLE_TEAM_ADMIN, Budget

DOLLAR = 1_000_000_000


async def limit_of(api: Api, budget: Budget) -> int:
    answer = await api.GetBudgetStatus(pb.GetBudgetStatusRequest(budget_id=budget.budget_id))
    limit: int = answer.status.limit_in_force
    return limit


async def fits(router: Api, tenant: Tenant, nanos: int) -> bool:
    try:
        await router.Hold(hold(tenant, nanos))
    except RemoteError as refused:
        assert refused.reason == "BUDGET_EXHAUSTED"
        return False
    return True


async def test_an_override_is_in_force_while_it_lasts_and_not_after_it_was_revoked(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        assert not await fits(router, tenant, 2 * DOLLAR)
        overrides = []
        for budget in tenant.budgets:
            override = pb.BudgetOverride(budget_id=budget.budget_id, limit=5 * DOLLAR, reason="launch day")
            override.ends_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
            made = await api.CreateBudgetOverride(
                pb.CreateBudgetOverrideRequest(request_id=request_id(), override=override)
            )
            overrides.append(made.override)
        assert await limit_of(api, tenant.budgets[0]) == 5 * DOLLAR
        assert await fits(router, tenant, 2 * DOLLAR)
        for made_override in overrides:
            await api.RevokeBudgetOverride(
                pb.RevokeBudgetOverrideRequest(request_id=request_id(), override_id=made_override.override_id)
            )
        assert await limit_of(api, tenant.budgets[0]) == DOLLAR
        assert not await fits(router, tenant, 1)  # two dollars are held, one is the limit
        listed = await api.ListBudgetOverrides(
            pb.ListBudgetOverridesRequest(budget_id=tenant.budgets[0].budget_id)
        )
        assert [override.HasField("revoked_at") for override in listed.overrides] == [True]


async def test_a_transfer_moves_what_is_left_and_no_more(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        source, target = tenant.budgets[2:]
        assert await fits(router, tenant, DOLLAR // 4)
        request = pb.TransferBudgetRequest(
            request_id=request_id(),
            from_budget_id=source.budget_id,
            to_budget_id=target.budget_id,
            amount=DOLLAR,
            reason="end of quarter",
        )
        with pytest.raises(RemoteError) as refused:
            await api.TransferBudget(request)
        assert refused.value.reason == "PRECONDITION_FAILED"
        request.amount = DOLLAR // 2
        request.request_id = request_id()
        done = await api.TransferBudget(request)
        assert getattr(done, "from").limit_in_force == DOLLAR // 2
        assert done.to.limit_in_force == 3 * DOLLAR // 2
        assert await api.TransferBudget(request) == done
        assert await limit_of(api, source) == DOLLAR // 2
        assert not await fits(router, tenant, DOLLAR // 4 + 1)
        assert await fits(router, tenant, DOLLAR // 4)


async def test_a_team_admin_asks_and_an_organisation_admin_grants(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        secret = await make_token(
            api,
            ROLE_TEAM_ADMIN,
            organisation_id=tenant.organisation.organisation_id,
            team_id=tenant.team.team_id,
        )
        asker = await budgets.admin_as(secret)
        teams = tenant.budgets[1]
        wish = pb.LimitRaise(budget_id=teams.budget_id, limit=9 * DOLLAR, reason="more traffic")
        asked = await asker.RequestLimitRaise(
            pb.RequestLimitRaiseRequest(request_id=request_id(), limit_raise=wish)
        )
        approve = pb.ApproveLimitRaiseRequest(
            request_id=request_id(), limit_raise_id=asked.limit_raise.limit_raise_id, answer="fine"
        )
        with pytest.raises(RemoteError) as refused:
            await asker.ApproveLimitRaise(approve)
        assert refused.value.reason == "PERMISSION_DENIED"
        answered = await api.ApproveLimitRaise(approve)
        assert answered.limit_raise.state == pb.LIMIT_RAISE_STATE_APPROVED
        assert await limit_of(api, teams) == 9 * DOLLAR
        waiting = await asker.ListLimitRaises(pb.ListLimitRaisesRequest(state=pb.LIMIT_RAISE_STATE_PENDING))
        assert not waiting.limit_raises


async def test_watching_shows_all_and_then_what_changes(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        request = pb.WatchBudgetsRequest(organisation_id=tenant.organisation.organisation_id)
        async with api.watch("WatchBudgets", request) as batches:
            first = await anext(batches)
            assert {status.budget.budget_id for status in first.statuses} == {
                budget.budget_id for budget in tenant.budgets
            }
            assert await fits(router, tenant, DOLLAR // 2)
            changed = await anext(batch async for batch in batches if batch.statuses)
            assert {status.held for status in changed.statuses} == {DOLLAR // 2}
            heartbeat = await anext(batch async for batch in batches if not batch.statuses)
            assert heartbeat == pb.WatchBudgetsResponse()
