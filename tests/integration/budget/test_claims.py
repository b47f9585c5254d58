"""What a new owner takes for open: exactly the holds that nobody has settled, wherever the checkpoint lies."""

import itertools

import asyncpg
import pytest

from services.budget.adapters.postgres import journal as journals
from services.budget.adapters.postgres.config_store import PostgresConfigStore
from services.budget.adapters.postgres.connections import Connections
from services.budget.ports import Claimed
from tests.support.budget import attempt, commit, hold, serving_budget
from tests.support.budget_admin import make_tenant
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.common.v1.money_pb2 import Money


async def test_a_claim_finds_what_is_open_and_nothing_else(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every place of the checkpoint, and every count of entries that are read whole, in one history."""
    async with serving_budget(postgres_dsn) as budgets:
        tenant = await make_tenant(await budgets.operator(), "Acme")
        router = await budgets.router()
        first, second, third, last = (attempt(tenant) for _ in range(4))
        opened: dict[int, set[int]] = {}
        still: set[int] = set()

        async def held(key: object) -> int:
            grant = (await router.Hold(hold(tenant, 100, key))).grant  # type: ignore[arg-type]
            still.add(grant.ledger_sequence)
            opened[grant.ledger_sequence] = set(still)
            return int(grant.ledger_sequence)

        async def settled(key: object, sequence: int) -> None:
            receipt = (await router.Commit(commit(key, 50))).receipt  # type: ignore[arg-type]
            still.remove(sequence)
            opened[receipt.ledger_sequence] = set(still)

        one, two, three = [await held(key) for key in (first, second, third)]
        grown = pb.ExtendAmountRequest(key=second, extension=1, amount=Money(nanos=10))
        extension = (await router.ExtendAmount(grown)).grant.ledger_sequence
        still.add(extension)
        opened[extension] = set(still)
        await settled(first, one)
        await settled(third, three)
        four = await held(last)
    expected = {two: 110, four: 100}
    connections = Connections(postgres_dsn, "budget")
    journal = journals.PostgresJournal(connections, PostgresConfigStore())
    connection = await asyncpg.connect(postgres_dsn)
    try:
        for checkpoint, recent in itertools.product(opened, range(len(opened) + 1)):
            monkeypatch.setattr(journals, "RECENT_ENTRIES", recent)
            await connection.execute(
                "INSERT INTO budget.checkpoints SELECT tree_no, $1, $2 FROM budget.trees"
                " ON CONFLICT (tree_no) DO UPDATE SET sequence = $1, open_sequences = $2",
                checkpoint,
                sorted(opened[checkpoint]),
            )
            claimed = await journal.claim(tenant.organisation.organisation_id, "replica", "127.0.0.1:1")
            assert isinstance(claimed, Claimed)
            found = {each.sequence: each.amount for each in claimed.tree.holds.values()}
            assert found == expected, f"checkpoint at {checkpoint}, {recent} entries read whole"
    finally:
        await connection.close()
        connections.close()
