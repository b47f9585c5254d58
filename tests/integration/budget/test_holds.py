"""Holds and settlements through the whole service, over a real Postgres."""

from collections.abc import AsyncIterator

import pytest

from services.chassis.status import RemoteError
from tests.support.budget import Budgets, attempt, commit, hold, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.common.v1.error_pb2 import BudgetFailure


@pytest.fixture
async def budgets(postgres_dsn: str) -> AsyncIterator[Budgets]:
    async with serving_budget(postgres_dsn) as serving:
        yield serving


@pytest.fixture
async def tenant(budgets: Budgets) -> Tenant:
    return await make_tenant(await budgets.operator(), "acme")


@pytest.fixture
async def router(budgets: Budgets) -> Api:
    return await budgets.router()


async def standing(budgets: Budgets, tenant: Tenant, number: int = 0) -> admin_pb.GetBudgetStatusResponse:
    api = await budgets.operator()
    request = admin_pb.GetBudgetStatusRequest(budget_id=tenant.budgets[number].budget_id)
    status: admin_pb.GetBudgetStatusResponse = await api.GetBudgetStatus(request)
    return status


async def test_a_hold_is_in_every_budget_and_its_rest_comes_back(
    budgets: Budgets, tenant: Tenant, router: Api
) -> None:
    asked = hold(tenant, 400_000_000)
    granted = (await router.Hold(asked)).grant
    assert granted.amount.nanos == 400_000_000
    for number in range(3):
        status = (await standing(budgets, tenant, number)).status
        assert (status.held, status.spent, status.open_holds) == (400_000_000, 0, 1)

    receipt = (await router.Commit(commit(asked.key, 150_000_000))).receipt
    assert (receipt.charged.nanos, receipt.released.nanos, receipt.overage.nanos) == (
        150_000_000,
        250_000_000,
        0,
    )
    assert receipt.ledger_sequence == granted.ledger_sequence + 1
    for number in range(3):
        status = (await standing(budgets, tenant, number)).status
        assert (status.held, status.spent, status.left) == (0, 150_000_000, 850_000_000)


async def test_what_does_not_fit_is_refused_with_every_figure(tenant: Tenant, router: Api) -> None:
    await router.Hold(hold(tenant, 700_000_000))
    with pytest.raises(RemoteError) as refused:
        await router.Hold(hold(tenant, 300_000_001))
    assert refused.value.reason == "BUDGET_EXHAUSTED"
    failure = refused.value.detail(BudgetFailure)
    assert failure is not None
    assert {shortfall.budget_id for shortfall in failure.shortfalls} == {
        budget.budget_id for budget in tenant.budgets
    }
    shortfall = failure.shortfalls[0]
    assert (shortfall.limit, shortfall.held, shortfall.asked) == (1_000_000_000, 700_000_000, 300_000_001)
    assert shortfall.left == 300_000_000
    assert "$0.30 left of $1.00" in refused.value.message
    assert (await router.Hold(hold(tenant, 300_000_000))).grant.amount.nanos == 300_000_000


async def test_the_same_again_gets_the_same_answer(tenant: Tenant, router: Api) -> None:
    asked = hold(tenant, 100)
    first = await router.Hold(asked)
    again = await router.Hold(asked)
    assert again.grant.ledger_sequence == first.grant.ledger_sequence
    assert again.grant.lease == first.grant.lease
    with pytest.raises(RemoteError) as other:
        await router.Hold(hold(tenant, 101, asked.key))
    assert other.value.reason == "REQUEST_ID_REUSED"

    charged = await router.Commit(commit(asked.key, 60))
    assert await router.Commit(commit(asked.key, 60)) == charged
    with pytest.raises(RemoteError) as settled:
        await router.Commit(commit(asked.key, 61))
    assert settled.value.reason == "HOLD_ALREADY_SETTLED"
    with pytest.raises(RemoteError) as late:
        await router.Hold(asked)
    assert late.value.reason == "HOLD_ALREADY_SETTLED"


async def test_a_refused_id_may_be_tried_again(tenant: Tenant, router: Api) -> None:
    blocking = hold(tenant, 900_000_000)
    await router.Hold(blocking)
    wanted = hold(tenant, 200_000_000)
    with pytest.raises(RemoteError):
        await router.Hold(wanted)
    await router.Release(pb.ReleaseRequest(key=blocking.key, reason="never sent"))
    assert (await router.Hold(wanted)).grant.amount.nanos == 200_000_000


async def test_a_full_budget_does_not_refuse_its_own_fallback(tenant: Tenant, router: Api) -> None:
    first = hold(tenant, 1_000_000_000)
    await router.Hold(first)
    answer = await router.CommitAndHold(
        pb.CommitAndHoldRequest(
            key=first.key,
            commit=commit(first.key, 100_000_000).settlement,
            next_attempt=2,
            next_terms=hold(tenant, 900_000_000).terms,
        )
    )
    assert answer.WhichOneof("next") == "grant"
    assert answer.receipt.charged.nanos == 100_000_000


async def test_overage_is_booked_and_stops_the_next(budgets: Budgets, tenant: Tenant, router: Api) -> None:
    asked = hold(tenant, 500_000_000)
    await router.Hold(asked)
    receipt = (await router.Commit(commit(asked.key, 1_200_000_000))).receipt
    assert (receipt.charged.nanos, receipt.overage.nanos) == (1_200_000_000, 700_000_000)
    status = (await standing(budgets, tenant)).status
    assert (status.spent, status.overage, status.left) == (500_000_000, 700_000_000, 0)
    with pytest.raises(RemoteError):
        await router.Hold(hold(tenant, 1))


async def test_only_the_maker_or_a_witness_with_the_lease_settles(
    budgets: Budgets, tenant: Tenant, router: Api
) -> None:
    from tests.support.budget import OTHER_SERVICE

    asked = hold(tenant, 500)
    granted = (await router.Hold(asked)).grant
    providers = await budgets.as_(OTHER_SERVICE)
    with pytest.raises(RemoteError) as stranger:
        await providers.Commit(commit(asked.key, 5))
    assert stranger.value.reason == "HOLD_NOT_YOURS"
    receipt = (await providers.Commit(commit(asked.key, 5, lease=granted.lease, witness=True))).receipt
    assert receipt.charged.nanos == 5


async def test_unknown_outcome_is_charged_in_full_and_corrected_once(
    budgets: Budgets, tenant: Tenant, router: Api
) -> None:
    asked = hold(tenant, 500)
    await router.Hold(asked)
    receipt = (
        await router.Commit(commit(asked.key, None, usage=None, outcome=pb.SETTLEMENT_OUTCOME_UNKNOWN))
    ).receipt
    assert (receipt.charged.nanos, receipt.unconfirmed) == (500, True)
    assert (await standing(budgets, tenant)).status.unconfirmed == 500
    corrected = (await router.Commit(commit(asked.key, 120))).receipt
    assert (corrected.charged.nanos, corrected.corrected, corrected.released.nanos) == (120, True, 380)
    status = (await standing(budgets, tenant)).status
    assert (status.spent, status.unconfirmed) == (120, 0)
    with pytest.raises(RemoteError) as twice:
        await router.Commit(commit(asked.key, 119))
    assert twice.value.reason == "HOLD_ALREADY_SETTLED"


async def test_silence_is_charged_and_a_late_commit_corrects_it(tenant: Tenant, router: Api) -> None:
    from google.protobuf.duration_pb2 import Duration

    asked = hold(tenant, 500, lease=Duration(nanos=50_000_000))
    await router.Hold(asked)
    async with router.watch("TailLedger", pb.TailLedgerRequest()) as batches:
        kinds: list[int] = []
        async for batch in batches:
            kinds += [entry.kind for entry in batch.entries]
            if 5 in kinds:
                break
    state = await router.GetHold(pb.GetHoldRequest(key=asked.key))
    assert state.state == pb.HOLD_STATE_UNCONFIRMED
    receipt = (await router.Commit(commit(asked.key, 20))).receipt
    assert (receipt.charged.nanos, receipt.corrected) == (20, True)


async def test_extending_and_renewing(tenant: Tenant, router: Api) -> None:
    from google.protobuf.duration_pb2 import Duration

    from turnpike.common.v1.money_pb2 import Money

    asked = hold(tenant, 500_000_000)
    await router.Hold(asked)
    more = pb.ExtendAmountRequest(key=asked.key, extension=1, amount=Money(nanos=300_000_000))
    assert (await router.ExtendAmount(more)).grant.amount.nanos == 800_000_000
    assert (await router.ExtendAmount(more)).grant.amount.nanos == 800_000_000
    with pytest.raises(RemoteError) as full:
        await router.ExtendAmount(
            pb.ExtendAmountRequest(key=asked.key, extension=2, amount=Money(nanos=200_000_001))
        )
    assert full.value.reason == "BUDGET_EXHAUSTED"
    unknown = attempt(tenant)
    renewed = await router.RenewLease(
        pb.RenewLeaseRequest(keys=[asked.key, unknown], lease=Duration(seconds=600))
    )
    assert [key.request_id for key in renewed.not_open] == [unknown.request_id]
