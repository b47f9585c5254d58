"""Holds and settlements mean the same one by one and in a batch stream: one suite for both, over a real Postgres."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from services.chassis.status import RemoteError
from tests.support.budget import OTHER_SERVICE, Budgets, attempt, commit, hold
from tests.support.budget_admin import Tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.entities_pb2 import Budget, BudgetSubject, RequestWindow, Window
from turnpike.budget.v1.ledger_pb2 import LEDGER_ENTRY_KIND_COMMIT, LEDGER_ENTRY_KIND_EXPIRE, LedgerEntry
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_CONCURRENCY, BUDGET_UNIT_TOKENS, BudgetFailure
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.usage_pb2 import USAGE_SOURCE_VENDOR, Usage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def standing(budgets: Budgets, tenant: Tenant, number: int = 0) -> admin_pb.GetBudgetStatusResponse:
    api = await budgets.operator()
    request = admin_pb.GetBudgetStatusRequest(budget_id=tenant.budgets[number].budget_id)
    status: admin_pb.GetBudgetStatusResponse = await api.GetBudgetStatus(request)
    return status


async def test_a_hold_is_in_every_budget_and_its_rest_comes_back(
    budgets: Budgets, tenant: Tenant, router: Any
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


async def test_a_repetition_under_another_policy_is_the_same_request(tenant: Tenant, router: Any) -> None:
    asked = hold(tenant, 100, keep_free_permille={"provider:openai": 100})
    first = (await router.Hold(asked)).grant
    asked.terms.keep_free_permille.clear()
    asked.terms.keep_free_permille["group:fast"] = 300
    assert (await router.Hold(asked)).grant == first
    asked.terms.model = "openai/another"
    with pytest.raises(RemoteError, match="other content"):
        await router.Hold(asked)


async def test_what_does_not_fit_is_refused_with_every_figure(tenant: Tenant, router: Any) -> None:
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


async def test_the_same_again_gets_the_same_answer(tenant: Tenant, router: Any) -> None:
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


async def test_a_refused_id_may_be_tried_again(tenant: Tenant, router: Any) -> None:
    blocking = hold(tenant, 900_000_000)
    await router.Hold(blocking)
    wanted = hold(tenant, 200_000_000)
    with pytest.raises(RemoteError):
        await router.Hold(wanted)
    await router.Release(pb.ReleaseRequest(key=blocking.key, reason="never sent"))
    assert (await router.Hold(wanted)).grant.amount.nanos == 200_000_000


async def test_a_full_budget_does_not_refuse_its_own_fallback(tenant: Tenant, router: Any) -> None:
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


async def test_overage_is_booked_and_stops_the_next(budgets: Budgets, tenant: Tenant, router: Any) -> None:
    asked = hold(tenant, 500_000_000)
    await router.Hold(asked)
    receipt = (await router.Commit(commit(asked.key, 1_200_000_000))).receipt
    assert (receipt.charged.nanos, receipt.overage.nanos) == (1_200_000_000, 700_000_000)
    status = (await standing(budgets, tenant)).status
    assert (status.spent, status.overage, status.left) == (500_000_000, 700_000_000, 0)
    with pytest.raises(RemoteError):
        await router.Hold(hold(tenant, 1))


async def test_only_the_maker_or_a_witness_with_the_lease_settles(
    budgets: Budgets, tenant: Tenant, router: Any
) -> None:
    asked = hold(tenant, 500)
    granted = (await router.Hold(asked)).grant
    providers = await budgets.as_(OTHER_SERVICE)
    with pytest.raises(RemoteError) as stranger:
        await providers.Commit(commit(asked.key, 5))
    assert stranger.value.reason == "HOLD_NOT_YOURS"
    receipt = (await providers.Commit(commit(asked.key, 5, lease=granted.lease, witness=True))).receipt
    assert receipt.charged.nanos == 5


async def test_unknown_outcome_is_charged_in_full_and_corrected_once(
    budgets: Budgets, tenant: Tenant, router: Any
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


async def test_silence_is_charged_and_a_late_commit_corrects_it(tenant: Tenant, router: Any) -> None:
    asked = hold(tenant, 500, lease=Duration(nanos=50_000_000))
    await router.Hold(asked)
    async with router.watch("TailLedger", pb.TailLedgerRequest()) as batches:
        async for batch in batches:
            if any(
                entry.kind == LEDGER_ENTRY_KIND_EXPIRE and entry.key == asked.key for entry in batch.entries
            ):
                break
    state = await router.GetHold(pb.GetHoldRequest(key=asked.key))
    assert state.state == pb.HOLD_STATE_UNCONFIRMED
    receipt = (await router.Commit(commit(asked.key, 20))).receipt
    assert (receipt.charged.nanos, receipt.corrected) == (20, True)


async def test_extending_and_renewing(tenant: Tenant, router: Any) -> None:
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


async def make_budget(budgets: Budgets, tenant: Tenant, **fields: Any) -> str:
    api = await budgets.operator()
    budget = Budget(
        subject=BudgetSubject(organisation_id=tenant.organisation.organisation_id),
        display_name="more",
        **fields,
    )
    answer = await api.CreateBudget(admin_pb.CreateBudgetRequest(request_id=request_id(), budget=budget))
    return str(answer.budget.budget_id)


async def test_a_concurrency_limit_is_a_rate_and_says_when_to_come_again(
    budgets: Budgets, tenant: Tenant, router: Any
) -> None:
    await make_budget(budgets, tenant, unit=BUDGET_UNIT_CONCURRENCY, limit=1)
    first = hold(tenant, 5)
    await router.Hold(first)
    with pytest.raises(RemoteError) as full:
        await router.Hold(hold(tenant, 5))
    assert full.value.reason == "RATE_LIMITED"
    assert full.value.retry_after_s == 1.0
    await router.Commit(commit(first.key, 1))
    await router.Hold(hold(tenant, 5))


async def test_a_ceiling_is_for_each_request(budgets: Budgets, tenant: Tenant, router: Any) -> None:
    window = Window(request=RequestWindow())
    await make_budget(budgets, tenant, unit=BUDGET_UNIT_TOKENS, limit=400, window=window)
    for _ in range(3):
        await router.Hold(hold(tenant, 5))
    with pytest.raises(RemoteError) as above:
        await router.Hold(hold(tenant, 5, output_tokens_bound=301))
    assert above.value.reason == "REQUEST_CEILING"
    assert above.value.retry_after_s is None


async def test_a_lowered_limit_counts_at_once_and_what_is_open_may_end(
    budgets: Budgets, tenant: Tenant, router: Any
) -> None:
    open_hold = hold(tenant, 600_000_000)
    await router.Hold(open_hold)
    api = await budgets.operator()
    lowered = tenant.budgets[0]
    lowered.limit = 500_000_000
    await api.UpdateBudget(
        admin_pb.UpdateBudgetRequest(
            request_id=request_id(), budget=lowered, update_mask=FieldMask(paths=["limit"])
        )
    )
    with pytest.raises(RemoteError) as refused:
        await router.Hold(hold(tenant, 1))
    failure = refused.value.detail(BudgetFailure)
    assert failure is not None
    assert [each.limit for each in failure.shortfalls] == [500_000_000]
    assert (await router.Commit(commit(open_hold.key, 600_000_000))).receipt.overage.nanos == 0
    with pytest.raises(RemoteError):
        await router.Hold(hold(tenant, 1))


async def test_a_revoked_key_holds_nothing_more(budgets: Budgets, tenant: Tenant, router: Any) -> None:
    await router.Hold(hold(tenant, 1))
    api = await budgets.operator()
    await api.RevokeKey(admin_pb.RevokeKeyRequest(request_id=request_id(), key_id=tenant.key.key_id))
    with pytest.raises(RemoteError) as revoked:
        await router.Hold(hold(tenant, 1))
    assert revoked.value.reason == "CREDENTIALS_REVOKED"


async def test_a_model_without_a_price_is_refused(tenant: Tenant, router: Any) -> None:
    with pytest.raises(RemoteError) as unknown:
        await router.Hold(hold(tenant, None))
    assert unknown.value.reason == "PRICE_UNKNOWN"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"nanos": -1}, "terms.amount"),
        ({"nanos": 2**63 - 1}, "terms.amount"),
        ({"nanos": 1, "model": "no-slash"}, "terms.model"),
        ({"nanos": 1, "input_tokens_bound": -1}, "terms"),
        ({"nanos": 1, "lease": Duration(seconds=3601)}, "terms.lease"),
        ({"nanos": 1, "lease": Duration(seconds=-1)}, "terms.lease"),
        ({"nanos": 1, "dimensions": {"": "x"}}, "terms.dimensions"),
        ({"nanos": 1, "dimensions": {"x": "a\0b"}}, "terms.dimensions"),
        ({"nanos": 1, "dimensions": {"a\nb": "x"}}, "terms.dimensions"),
        ({"nanos": 1, "endpoint_id": "a\0b"}, "terms.endpoint_id"),
        ({"nanos": 1, "dimensions": {f"d{n}": "x" for n in range(17)}}, "terms.dimensions"),
    ],
)
async def test_wrong_numbers_are_refused_at_the_edge(
    tenant: Tenant, router: Any, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(RemoteError) as refused:
        await router.Hold(hold(tenant, **wrong))
    assert refused.value.reason == "INVALID_REQUEST"
    assert refused.value.message.startswith(field)


async def test_other_currencies_are_refused(tenant: Tenant, router: Any) -> None:
    asked = hold(tenant, 1)
    asked.terms.amount.currency_code = "EUR"
    with pytest.raises(RemoteError) as refused:
        await router.Hold(asked)
    assert refused.value.reason == "INVALID_REQUEST"


async def test_a_tail_of_usage_says_what_was_charged_and_no_more(tenant: Tenant, router: Any) -> None:
    """The first pair is read from the store, the second handed on from the owner's memory."""
    organisation_id = tenant.organisation.organisation_id
    whole: list[Any] = []
    usage: list[Any] = []

    async def settle_one() -> None:
        asked = hold(tenant, 700, dimensions={"task": "chat"})
        await router.Hold(asked)
        await router.Commit(commit(asked.key, 900, vendor_request_id='req "7"'))

    await settle_one()
    async with router.watch("TailLedger", pb.TailLedgerRequest(usage_only=True)) as batches:
        async for batch in batches:
            usage += [entry for entry in batch.entries if entry.organisation_id == organisation_id]
            if len(usage) == 3:
                await settle_one()
            if len(usage) >= 5:
                break
    async with router.watch("TailLedger", pb.TailLedgerRequest()) as batches:
        async for batch in batches:
            whole += [entry for entry in batch.entries if entry.organisation_id == organisation_id]
            if len(whole) >= 5:
                break
    assert [entry.sequence for entry in usage] == [1, 2, 3, 4, 5]
    for seen, entry in zip(usage, whole, strict=True):
        for field in ("legs", "hash", "previous_hash"):
            entry.ClearField(field)
        if entry.kind != LEDGER_ENTRY_KIND_COMMIT:
            entry = LedgerEntry(
                organisation_id=organisation_id,
                sequence=entry.sequence,
                kind=entry.kind,
                occurred_at=entry.occurred_at,
            )
        assert seen == entry


async def test_tokens_that_the_vendor_does_not_bill_are_told_and_cost_nothing(
    tenant: Tenant, router: Any
) -> None:
    asked, like = hold(tenant, 100_000_000), hold(tenant, 100_000_000)
    await router.Hold(asked)
    await router.Hold(like)
    usage = Usage(input_tokens=1_500, output_tokens=50, source=USAGE_SOURCE_VENDOR)
    usage.unbilled_input_tokens, usage.unbilled_output_tokens = 1_420, 20
    charged = (await router.Commit(commit(asked.key, None, usage=usage))).receipt.charged
    billed = Usage(input_tokens=80, output_tokens=30, source=USAGE_SOURCE_VENDOR)
    assert charged == (await router.Commit(commit(like.key, None, usage=billed))).receipt.charged
    async with router.watch("TailLedger", pb.TailLedgerRequest()) as batches:
        async for batch in batches:
            told = [entry.usage for entry in batch.entries if entry.usage.HasField("unbilled_input_tokens")]
            if told:
                break
    assert told == [usage]


async def test_the_ledger_tells_it_all(tenant: Tenant, router: Any) -> None:
    asked = hold(tenant, 700, dimensions={"task": "chat"})
    await router.Hold(asked)
    await router.Commit(
        commit(
            asked.key, 900, vendor_request_id='req "7"', dimensions={"cache": "miss"}, cost_from_vendor=True
        )
    )
    entries: list[Any] = []
    async with router.watch("TailLedger", pb.TailLedgerRequest()) as batches:
        async for batch in batches:
            entries += [
                entry for entry in batch.entries if entry.organisation_id == asked.key.organisation_id
            ]
            if len(entries) >= 3:
                break
    opened, held, committed = entries
    assert {leg.budget_id for leg in opened.legs} == {budget.budget_id for budget in tenant.budgets}
    assert {leg.limit for leg in opened.legs} == {1_000_000_000}
    assert [leg.held_delta for leg in held.legs] == [700] * len(tenant.budgets)
    moved = {(leg.held_delta, leg.spent_delta, leg.overage_delta) for leg in committed.legs}
    assert moved == {(-700, 700, 200)}
    assert (committed.amount.nanos, committed.overage.nanos) == (900, 200)
    assert committed.usage == commit(asked.key, 1).settlement.usage
    assert committed.vendor_request_id == 'req "7"'
    assert dict(committed.dimensions) == {"task": "chat", "cache": "miss"}
    assert committed.principal.key_id == tenant.key.key_id
    assert committed.previous_hash == held.hash
    assert committed.outcome == "SUCCEEDED"
