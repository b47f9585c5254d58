"""The ledger is followed without a word left out: what nobody can read any more is said, and the rest goes on."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.analytics.adapters.budget import RemoteLedger
from services.analytics.adapters.postgres import PostgresDecisions, PostgresUsage
from services.analytics.domain.usage import LedgerPage
from services.analytics.use_cases import forget
from services.analytics.use_cases.forget import Forget
from services.analytics.use_cases.tail import FollowLedger
from services.analytics.use_cases.watch import UsageFeed
from services.chassis.channel import connect
from services.chassis.postgres import Database
from services.cli import ledger_archive
from services.kernel.clock import SystemClock
from tests.support.budget import attempt, commit, hold, serving_budget
from tests.support.budget_admin import SERVICE, make_tenant, request_id
from tests.support.conditions import until
from tests.support.usage import page, usage
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


class Tail:
    """A ledger whose pages are given to whoever asks for what follows on them, the first of them once."""

    def __init__(self, *pages: LedgerPage) -> None:
        self._pages = list(pages)

    async def read(self, after: Mapping[str, int]) -> AsyncIterator[Sequence[LedgerPage]]:
        """One page, then silence."""
        if self._pages:
            yield [self._pages.pop(0)]
        await asyncio.Event().wait()


async def test_what_nobody_foresaw_is_said_and_tried_again(database: Database) -> None:
    """What fails is a text that Postgres does not keep; the ledger's are made fit for it before they come here."""
    store = PostgresUsage(database)
    broken, whole = usage(1, dimensions={"x": "a\0b"}), usage(1)
    following = FollowLedger(Tail(page(broken), page(whole)), store, UsageFeed())
    task = asyncio.create_task(following.run())
    try:

        async def stored() -> bool:
            assert not task.done()
            return bool(await store.positions())

        await until(stored)
        assert following.silence_s is not None
        assert not following.followed  # health goes on saying so for a while
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class FailsOnce(PostgresDecisions):
    """A store with a fault of ours that passes."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked = 0
        self.mended = asyncio.Event()

    async def forget(self, before: datetime, rows: int) -> int:
        """Fails the first time, then waits until it is mended."""
        self.asked += 1
        if self.asked == 1:
            raise LookupError("nobody foresaw this")
        await self.mended.wait()
        return await super().forget(before, rows)


async def test_forgetting_goes_on_after_a_fault_of_ours(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget, "LOOK_EVERY_S", 0.01)
    store = FailsOnce(database)
    forgetting = Forget(store, SystemClock(), timedelta(days=1))
    task = asyncio.create_task(forgetting.run())
    try:

        async def asked_again() -> bool:
            assert not task.done()
            return store.asked == 2

        async def works() -> bool:
            return forgetting.works

        await until(asked_again)
        assert not forgetting.works
        store.mended.set()
        await until(works)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
