"""Limits that move while everybody holds: no admission above what is in force, and a ledger that adds up."""

import asyncio
import random
from collections.abc import Sequence

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.budget.adapters.postgres.journal import PostgresJournal
from services.budget.domain.drafts import Draft
from services.budget.domain.operations import AttemptId
from services.budget.ports import Claimed
from services.budget.use_cases.owning import TRIES_MAX
from services.chassis.status import RemoteError
from tests.support.budget import Budgets, attempt, commit, hold, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.entities_pb2 import Budget

CENT = 10_000_000
CALLERS = 16
HOLDS_EACH = 12
CHANGES = 40


async def spend(budgets: Budgets, tenant: Tenant, seed: int) -> None:
    chance, router = random.Random(seed), await budgets.router()
    for _ in range(HOLDS_EACH):
        key, amount = attempt(tenant), chance.randint(1, 5) * CENT
        try:
            await router.Hold(hold(tenant, amount, key))
        except RemoteError as refused:
            assert refused.reason == "BUDGET_EXHAUSTED"
            continue
        await router.Commit(commit(key, chance.randint(0, amount)))


async def move_limits(api: Api, tenant: Tenant, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(CHANGES):
        one, other = chance.sample(tenant.budgets[2:], 2)
        try:
            if chance.random() < 0.5:
                await api.TransferBudget(
                    pb.TransferBudgetRequest(
                        request_id=request_id(),
                        from_budget_id=one.budget_id,
                        to_budget_id=other.budget_id,
                        amount=chance.randint(1, 20) * CENT,
                        reason="test",
                    )
                )
            else:
                update = pb.UpdateBudgetRequest(
                    request_id=request_id(),
                    budget=Budget(budget_id=one.budget_id, limit=chance.randint(50, 150) * CENT),
                )
                update.update_mask.paths.append("limit")
                await api.UpdateBudget(update)
        except RemoteError as refused:
            assert refused.reason == "PRECONDITION_FAILED"  # that much is not left


@pytest.mark.parametrize("seed", [1, 2])
async def test_limits_that_move_while_everybody_holds(postgres_dsn: str, seed: int) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        await asyncio.gather(
            move_limits(api, tenant, seed),
            *(spend(budgets, tenant, seed * 1000 + number) for number in range(CALLERS)),
        )
        organisation_id = tenant.organisation.organisation_id
        statuses = (
            await api.ListBudgetStatuses(pb.ListBudgetStatusesRequest(organisation_id=organisation_id))
        ).statuses
        spent = {status.spent for status in statuses}
        assert len(spent) == 1, "every budget counts the same charges"
        assert all(status.held == 0 for status in statuses)
        assert statuses[0].spent <= statuses[0].limit_in_force
        verified = await api.VerifyLedger(pb.VerifyLedgerRequest(organisation_id=organisation_id))
        assert verified.intact, verified


async def test_a_hold_is_granted_however_often_limits_move_before_it_is_written(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, moved = PostgresJournal.write, 0

    async def after_a_change(self: PostgresJournal, claimed: Claimed, draft: Draft) -> int:
        nonlocal moved
        if moved < 3 * TRIES_MAX:
            moved += 1
            budget = Budget(budget_id=tenant.budgets[0].budget_id, limit=10**12 + moved)
            await api.UpdateBudget(
                pb.UpdateBudgetRequest(
                    request_id=request_id(), budget=budget, update_mask=FieldMask(paths=["limit"])
                )
            )
        return await write(self, claimed, draft)

    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        monkeypatch.setattr(PostgresJournal, "write", after_a_change)
        await router.Hold(hold(tenant, CENT))
    assert moved == 3 * TRIES_MAX


async def test_a_refusal_is_told_however_often_limits_move_meanwhile(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the ledger is asked about a hold without room, a limit changes before the batch is written."""
    look_up, moved = PostgresJournal.look_up, 0

    async def while_limits_move(
        self: PostgresJournal, claimed: Claimed, attempts: Sequence[AttemptId]
    ) -> None:
        nonlocal moved
        await look_up(self, claimed, attempts)
        moved += 1
        budget = Budget(budget_id=tenant.budgets[0].budget_id, limit=10**9 + moved)
        await api.UpdateBudget(
            pb.UpdateBudgetRequest(
                request_id=request_id(), budget=budget, update_mask=FieldMask(paths=["limit"])
            )
        )

    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        monkeypatch.setattr(PostgresJournal, "look_up", while_limits_move)
        with pytest.raises(RemoteError) as refused:
            await router.Hold(hold(tenant, 10**12))
        assert refused.value.reason == "BUDGET_EXHAUSTED"
        assert moved == 1
