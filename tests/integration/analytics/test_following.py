"""The ledger is followed without a word left out: what nobody can read any more is said, and the rest goes on."""

import asyncio
from contextlib import suppress
from pathlib import Path

from services.analytics.adapters.budget import RemoteLedger
from services.analytics.adapters.postgres import PostgresUsage
from services.analytics.use_cases.tail import FollowLedger
from services.analytics.use_cases.watch import UsageFeed
from services.chassis.channel import connect
from services.chassis.postgres import Database
from services.cli import ledger_archive
from tests.support.budget import attempt, commit, hold, serving_budget
from tests.support.budget_admin import SERVICE, make_tenant, request_id
from tests.support.conditions import until
from turnpike.budget.v1 import budget_admin_pb2 as pb


async def test_a_reader_goes_on_behind_what_left_before_it_was_read(
    database: Database, postgres_dsn: str, tmp_path: Path
) -> None:
    store = PostgresUsage(database)
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        organisation_id = tenant.organisation.organisation_id

        async def spend(times: int) -> None:
            for _ in range(times):
                key = attempt(tenant)
                await router.Hold(hold(tenant, 100, key))
                await router.Commit(commit(key, 70))

        async def followed(up_to: int) -> None:
            async with connect("budget", budgets.address, token=SERVICE) as remote:
                task = asyncio.create_task(FollowLedger(RemoteLedger(remote), store, UsageFeed()).run())
                try:

                    async def stored() -> bool:
                        return (await store.positions()).get(organisation_id, 0) >= up_to

                    await until(stored)
                finally:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

        await spend(1)
        await followed(3)
        await spend(2)
        asked = pb.ExportLedgerRequest(organisation_id=organisation_id)
        async with api.watch("ExportLedger", asked) as pages:
            chain = await ledger_archive.write(tmp_path / "file", organisation_id, pages)
        await api.TrimLedger(
            pb.TrimLedgerRequest(
                request_id=request_id(),
                organisation_id=organisation_id,
                until_sequence=chain.sequence,
                until_hash=chain.head,
            )
        )
        await spend(1)
        await followed(chain.sequence + 3)  # the checkpoint, and one more attempt
    sequences = await database.fetch("SELECT sequence FROM usage_entry ORDER BY sequence")
    assert [row["sequence"] for row in sequences] == [3, chain.sequence + 3]  # the first entry opens windows
