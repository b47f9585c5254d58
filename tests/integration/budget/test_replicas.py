"""Several replicas, keys that meter, and a store that goes away."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.budget.adapters.postgres import journal as journals
from services.chassis.status import RemoteError
from services.kernel.errors import TurnpikeError
from tests.chaos.budget.arena import PostgresServer
from tests.support.budget import Budgets, attempt, commit, hold, serving_budget, terms
from tests.support.budget_admin import make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.entities_pb2 import KEY_PERMISSION_GENERATE, KEY_PERMISSION_METER, Key
from turnpike.common.v1.error_pb2 import ERROR_REASON_HOLD_ALREADY_SETTLED


@pytest.fixture
async def pair(postgres_dsn: str) -> AsyncIterator[tuple[Budgets, Budgets]]:
    async with serving_budget(postgres_dsn) as first, serving_budget(postgres_dsn) as second:
        yield first, second


async def test_any_replica_answers_unary_calls_and_streams_learn_the_owner(
    pair: tuple[Budgets, Budgets],
) -> None:
    first, second = pair
    tenant = await make_tenant(await first.operator(), "acme")
    owner, other = await first.router(), await second.router()
    asked = hold(tenant, 500)
    granted = await owner.Hold(asked)
    assert (await other.Hold(asked)).grant.ledger_sequence == granted.grant.ledger_sequence
    with pytest.raises(RemoteError) as refused:
        await other.Hold(hold(tenant, 2_000_000_000))
    assert refused.value.reason == "BUDGET_EXHAUSTED"
    assert refused.value.any_details

    stream = await second.stream()
    with pytest.raises(RemoteError) as elsewhere:
        await stream.Commit(commit(asked.key, 100))
    assert elsewhere.value.reason == "NOT_OWNER"
    assert elsewhere.value.metadata["owner_address"] == first.address
    receipt = (await other.Commit(commit(asked.key, 100))).receipt
    assert receipt.charged.nanos == 100


async def test_a_replica_that_leaves_hands_its_trees_over(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as second:
        async with serving_budget(postgres_dsn) as first:
            tenant = await make_tenant(await first.operator(), "acme")
            asked = hold(tenant, 500)
            granted = (await (await first.router()).Hold(asked)).grant
        router = await second.router()
        again = (await router.Hold(asked)).grant
        assert (again.ledger_sequence, again.lease) == (granted.ledger_sequence, granted.lease)
        assert (await router.Commit(commit(asked.key, 20))).receipt.charged.nanos == 20


async def test_a_repeated_hold_is_not_refused_when_it_was_granted_and_settled_long_ago(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner has left, its entries are too old to be read at a claim, and there is no room for it any more."""
    monkeypatch.setattr(journals, "RECENT_ENTRIES", 0)
    async with serving_budget(postgres_dsn) as first:
        tenant = await make_tenant(await first.operator(), "acme")
        router = await first.router()
        asked, key = hold(tenant, 400_000_000), attempt(tenant)
        for each in (asked, hold(tenant, 400_000_000, attempt(tenant, key.request_id, 2))):
            await router.Hold(each)
            await router.Commit(commit(each.key, 400_000_000))
    async with serving_budget(postgres_dsn) as second:
        router = await second.router()
        await router.Hold(hold(tenant, 150_000_000, key))
        with pytest.raises(RemoteError) as again:
            await router.Hold(asked)
        assert again.value.reason == "HOLD_ALREADY_SETTLED"
        next_too = pb.CommitAndHoldRequest(
            key=key,
            commit=commit(key, 150_000_000).settlement,
            next_attempt=2,
            next_terms=terms(tenant, 400_000_000),
        )
        done = await router.CommitAndHold(next_too)
        assert done.receipt.charged.nanos == 150_000_000
        assert done.refusal.reason == ERROR_REASON_HOLD_ALREADY_SETTLED
        with pytest.raises(RemoteError) as new:
            await router.Hold(hold(tenant, 400_000_000))
        assert new.value.reason == "BUDGET_EXHAUSTED"


async def test_an_application_meters_calls_of_its_own(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        operator = await budgets.operator()
        tenant = await make_tenant(operator, "acme")
        other = await make_tenant(operator, "other")
        made = await operator.CreateKey(
            admin_pb.CreateKeyRequest(
                request_id=request_id(),
                key=Key(
                    project_id=tenant.project.project_id,
                    display_name="meter",
                    permissions=[KEY_PERMISSION_METER, KEY_PERMISSION_GENERATE],
                ),
            )
        )
        application = await budgets.as_(made.secret)
        asked = hold(tenant, 500)
        asked.key.organisation_id = ""
        asked.terms.ClearField("principal")
        await application.Hold(asked)
        with pytest.raises(RemoteError) as stranger:
            await (await budgets.router()).Commit(commit(hold(tenant, 1, asked.key).key, 5))
        assert stranger.value.reason in ("HOLD_NOT_YOURS", "INVALID_REQUEST")
        assert (await application.Commit(commit(asked.key, 100))).receipt.charged.nanos == 100

        foreign = hold(other, 5)
        with pytest.raises(RemoteError) as forbidden:
            await application.Hold(foreign)
        assert forbidden.value.reason == "PERMISSION_DENIED"
        with pytest.raises(RemoteError) as no_directory:
            async with application.watch("WatchDirectory", pb.WatchDirectoryRequest()) as messages:
                await anext(messages)
        assert no_directory.value.reason == "PERMISSION_DENIED"
        generating = await budgets.as_(tenant.key_secret)
        with pytest.raises(RemoteError) as may_not_meter:
            await generating.Hold(asked)
        assert may_not_meter.value.reason == "PERMISSION_DENIED"


@pytest.mark.timeout(180)
async def test_without_its_store_it_refuses_promptly_and_heals_by_itself(tmp_path: Path) -> None:
    postgres = PostgresServer(tmp_path, durable=False)
    postgres.start()
    try:
        async with serving_budget(postgres.dsn) as budgets:
            tenant = await make_tenant(await budgets.operator(), "acme")
            router = await budgets.router()
            asked = hold(tenant, 500)
            granted = (await router.Hold(asked)).grant
            postgres.kill()
            begun = time.monotonic()
            for _ in range(2):
                with pytest.raises(TurnpikeError) as away:
                    await router.Hold(hold(tenant, 500))
                assert away.value.reason in ("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN")
            assert time.monotonic() - begun < 10
            postgres.start()
            deadline = time.monotonic() + 60
            while True:
                try:
                    again = (await router.Hold(asked)).grant
                    break
                except TurnpikeError as still_away:
                    assert still_away.reason in ("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN")
                    assert time.monotonic() < deadline
            assert (again.ledger_sequence, again.lease) == (granted.ledger_sequence, granted.lease)
    finally:
        postgres.close()
