"""Runs of the same request, one after the other: each frees its own hold, one by one and in a batch stream."""

from typing import Any

import pytest

from services.chassis.status import RemoteError
from tests.support.budget import Budgets, attempt, commit, hold
from tests.support.budget_admin import Tenant
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1 import budget_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def status(budgets: Budgets, tenant: Tenant) -> Any:
    api = await budgets.operator()
    request = admin_pb.GetBudgetStatusRequest(budget_id=tenant.budgets[0].budget_id)
    answer = await api.GetBudgetStatus(request)
    return answer.status


async def test_a_run_that_was_not_heard_of_frees_no_hold_of_a_later_one(
    budgets: Budgets, tenant: Tenant, router: Any
) -> None:
    """The first run's hold was lost with its owner, and nobody told the run: what it frees is not what is there now."""
    key = attempt(tenant)
    asked = hold(tenant, 400_000_000, key, claim="second run")
    await router.Hold(asked)
    late = pb.ReleaseRequest(key=key, reason="nothing was sent", claim="first run")
    with pytest.raises(RemoteError) as refused:
        await router.Release(late)
    assert refused.value.reason == "HOLD_NOT_FOUND"
    assert (await status(budgets, tenant)).held == 400_000_000
    unconfirmed = (await router.Commit(commit(key, None, usage=None))).receipt
    assert unconfirmed.unconfirmed
    with pytest.raises(RemoteError) as refused:
        await router.Release(late)
    assert refused.value.reason == "HOLD_NOT_FOUND"
    assert (await router.Commit(commit(key, 150_000_000))).receipt.charged.nanos == 150_000_000
    assert (await status(budgets, tenant)).spent == 150_000_000


async def test_a_run_frees_its_own_hold(budgets: Budgets, tenant: Tenant, router: Any) -> None:
    for claim in (
        "dec_1.2:3",
        "a run of ours, called by a name that is much longer than what an entry has room for",
    ):
        key = attempt(tenant)
        await router.Hold(hold(tenant, 400_000_000, key, claim=claim))
        freed = await router.Release(pb.ReleaseRequest(key=key, reason="nothing was sent", claim=claim))
        assert freed.released.nanos == 400_000_000
    assert (await status(budgets, tenant)).held == 0
