"""What an admin changed holds for the very next hold: keys, users, teams, budgets."""

import pytest

from services.chassis.status import RemoteError
from tests.support.budget import attempt, hold, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_pb2
from turnpike.budget.v1.entities_pb2 import (
    ENTITY_STATE_ACTIVE,
    ENTITY_STATE_SUSPENDED,
    KEY_PERMISSION_ACT_FOR_USERS,
    KEY_PERMISSION_GENERATE,
    Budget,
    BudgetSubject,
    Key,
    Organisation,
    Team,
    User,
)
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_REQUESTS

CENT = 10_000_000


async def reason_of_hold(router: Api, tenant: Tenant, user: str = "") -> str:
    """Why a hold is refused; empty if it is granted."""
    request: budget_pb2.HoldRequest = hold(tenant, CENT, attempt(tenant))
    request.terms.principal.user_id = user
    try:
        await router.Hold(request)
    except RemoteError as refused:
        return refused.reason
    return ""


async def test_a_revoked_key_holds_nothing_more(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        assert await reason_of_hold(router, tenant) == ""
        await api.RevokeKey(pb.RevokeKeyRequest(request_id=request_id(), key_id=tenant.key.key_id))
        assert await reason_of_hold(router, tenant) == "CREDENTIALS_REVOKED"


@pytest.mark.parametrize("what", ["organisation", "team", "key"])
async def test_what_is_suspended_holds_nothing_until_it_is_active_again(postgres_dsn: str, what: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        for state, expected in ((ENTITY_STATE_SUSPENDED, "PRINCIPAL_DISABLED"), (ENTITY_STATE_ACTIVE, "")):
            match what:
                case "organisation":
                    name = tenant.organisation.organisation_id
                    organisation = pb.UpdateOrganisationRequest(
                        request_id=request_id(), organisation=Organisation(organisation_id=name, state=state)
                    )
                    organisation.update_mask.paths.append("state")
                    await api.UpdateOrganisation(organisation)
                case "team":
                    team = pb.UpdateTeamRequest(
                        request_id=request_id(), team=Team(team_id=tenant.team.team_id, state=state)
                    )
                    team.update_mask.paths.append("state")
                    await api.UpdateTeam(team)
                case "key":
                    key = pb.UpdateKeyRequest(
                        request_id=request_id(), key=Key(key_id=tenant.key.key_id, state=state)
                    )
                    key.update_mask.paths.append("state")
                    await api.UpdateKey(key)
            assert await reason_of_hold(router, tenant) == expected


async def test_a_users_budget_counts_him_by_id_and_by_pseudonym(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        assert await reason_of_hold(router, tenant, "user-1") == "PERMISSION_DENIED"
        key = pb.UpdateKeyRequest(
            request_id=request_id(),
            key=Key(
                key_id=tenant.key.key_id,
                permissions=[KEY_PERMISSION_GENERATE, KEY_PERMISSION_ACT_FOR_USERS],
            ),
        )
        key.update_mask.paths.append("permissions")
        await api.UpdateKey(key)
        budget = Budget(
            subject=BudgetSubject(user_id=tenant.user.user_id),
            unit=BUDGET_UNIT_REQUESTS,
            limit=2,
            display_name="two requests",
        )
        await api.CreateBudget(pb.CreateBudgetRequest(request_id=request_id(), budget=budget))
        assert await reason_of_hold(router, tenant, tenant.user.user_id) == ""
        assert await reason_of_hold(router, tenant, "user-1") == ""
        assert await reason_of_hold(router, tenant, "user-1") == "BUDGET_EXHAUSTED"
        assert await reason_of_hold(router, tenant, "user-2") == ""
        user = pb.UpdateUserRequest(
            request_id=request_id(),
            user=User(user_id=tenant.user.user_id, state=ENTITY_STATE_SUSPENDED),
        )
        user.update_mask.paths.append("state")
        await api.UpdateUser(user)
        assert await reason_of_hold(router, tenant, "user-1") == "PRINCIPAL_DISABLED"


async def test_a_lowered_limit_holds_at_once_and_an_archived_budget_no_more(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        assert await reason_of_hold(router, tenant) == ""
        lowered = pb.UpdateBudgetRequest(
            request_id=request_id(), budget=Budget(budget_id=tenant.budgets[0].budget_id, limit=CENT)
        )
        lowered.update_mask.paths.append("limit")
        await api.UpdateBudget(lowered)
        assert await reason_of_hold(router, tenant) == "BUDGET_EXHAUSTED"
        await api.ArchiveBudget(
            pb.ArchiveBudgetRequest(request_id=request_id(), budget_id=tenant.budgets[0].budget_id)
        )
        assert await reason_of_hold(router, tenant) == ""
