"""Old entries leave the ledger: exported, proved, removed behind a checkpoint; and everything goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.budget.adapters.postgres import archive as archives
from services.budget.adapters.postgres import journal as journals
from services.budget.adapters.postgres.archive import PostgresArchive
from services.budget.adapters.postgres.config_store import PostgresConfigStore
from services.budget.adapters.postgres.connections import Connections
from services.budget.bootstrap import SQL
from services.budget.errors import EntriesArchived
from services.budget.ports import Claimed
from services.chassis.postgres import open_database
from services.chassis.status import RemoteError
from services.cli import ledger_archive
from services.kernel.errors import StoreUnavailable
from services.kernel.ids import OrganisationId
from tests.support.budget import Budgets, attempt, commit, hold, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from tests.support.ledger_replay import begun_by, compare, replay
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_pb2
from turnpike.common.v1.principal_pb2 import AttemptKey

CENT = 10_000_000


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "budget"})
    try:
        yield connection
    finally:
        await connection.close()


async def spend(budgets: Budgets, tenant: Tenant, times: int) -> None:
    router = await budgets.router()
    for _ in range(times):
        key = attempt(tenant)
        await router.Hold(hold(tenant, 2 * CENT, key))
        await router.Commit(commit(key, CENT))


async def export(api: Api, tenant: Tenant, file: Path) -> ledger_archive.Chain:
    organisation_id = tenant.organisation.organisation_id
    async with api.watch("ExportLedger", pb.ExportLedgerRequest(organisation_id=organisation_id)) as pages:
        return await ledger_archive.write(file, organisation_id, pages)


def trim(tenant: Tenant, chain: ledger_archive.Chain, **more: Any) -> pb.TrimLedgerRequest:
    return pb.TrimLedgerRequest(
        request_id=request_id(),
        organisation_id=tenant.organisation.organisation_id,
        until_sequence=more.get("until", chain.sequence),
        until_hash=more.get("head", chain.head),
    )


async def verified(api: Api, tenant: Tenant, **more: Any) -> pb.VerifyLedgerResponse:
    request = pb.VerifyLedgerRequest(organisation_id=tenant.organisation.organisation_id, **more)
    finding: pb.VerifyLedgerResponse = await api.VerifyLedger(request)
    return finding


async def test_what_left_is_in_files_and_the_rest_begins_at_its_checkpoint(
    postgres_dsn: str, tmp_path: Path
) -> None:
    """Twice in a row; each time a new owner claims the tree, and totals, limits and chain are as before."""
    files = [tmp_path / "first", tmp_path / "second"]
    heads = []
    for file in files:
        async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
            api = await budgets.operator()
            if file is files[0]:
                tenant = await make_tenant(api, "Acme")
                other = await make_tenant(api, "Other")
                await spend(budgets, other, 2)
            await spend(budgets, tenant, 20)
            chain = await export(api, tenant, file)
            heads.append(chain.head)
            await spend(budgets, tenant, 3)
            asked = trim(tenant, chain)
            done = await api.TrimLedger(asked)
            assert done.entries_removed == chain.entries
            again = await api.TrimLedger(asked)
            assert (again.checkpoint_sequence, again.entries_removed) == (done.checkpoint_sequence, 0)
            await spend(budgets, tenant, 2)
            finding = await verified(api, tenant)
            assert finding.intact, finding
            assert finding.after_sequence == chain.sequence
            assert finding.head_sequence - finding.after_sequence == finding.entries_checked
            assert (await verified(api, tenant, expected_head_hash=chain.head)).intact
            assert (await verified(api, other)).intact
    async with serving_budget(
        postgres_dsn
    ) as budgets:  # a claim that finds nothing from before the checkpoint
        api = await budgets.operator()
        await spend(budgets, tenant, 2)
        status = await api.GetBudgetStatus(pb.GetBudgetStatusRequest(budget_id=tenant.budgets[0].budget_id))
        assert (status.status.spent, status.status.held) == (52 * CENT, 0)
        finding = await verified(api, tenant)
        assert finding.intact
        older = await verified(api, tenant, expected_head_hash=heads[0])
        assert not older.intact
        assert f"before entry {finding.after_sequence + 1}" in older.problem
        listed = await api.ListLedgerEntries(
            pb.ListLedgerEntriesRequest(organisation_id=tenant.organisation.organisation_id)
        )
        assert listed.entries[0].sequence == finding.after_sequence + 1

    whole = ledger_archive.check(files)
    assert (whole.sequence, whole.from_start) == (finding.after_sequence, True)
    async with connected(postgres_dsn) as connection:
        await _replayed(connection, tenant)


async def _replayed(connection: Any, tenant: Tenant) -> None:
    """By code that shares nothing with the service, from the checkpoint."""
    tree_no = await connection.fetchval(
        "SELECT tree_no FROM trees WHERE organisation_id = $1", tenant.organisation.organisation_id
    )
    archive = await connection.fetchrow(
        "SELECT checkpoint_sequence AS first, checkpoint_entries AS parts FROM ledger_archives"
        " WHERE tree_no = $1 ORDER BY until_sequence DESC LIMIT 1",
        tree_no,
    )
    rows = await connection.fetch(
        "SELECT sequence, body, hash FROM ledger_entries WHERE tree_no = $1 ORDER BY sequence", tree_no
    )
    parts = range(archive["first"], archive["first"] + archive["parts"])
    begun = begun_by(row["body"] for row in rows if row["sequence"] in parts)
    state = replay([(row["sequence"], row["body"], row["hash"]) for row in rows], begun=begun)
    counters = await connection.fetch(
        "SELECT no, lim, held, spent, overage, end_us FROM counters WHERE tree_no = $1", tree_no
    )
    assert state.problems + compare(state, counters) == []


async def test_nothing_leaves_that_may_be_needed(postgres_dsn: str, tmp_path: Path) -> None:
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        await spend(budgets, tenant, 3)
        router = await budgets.router()
        key = attempt(tenant)
        await router.Hold(hold(tenant, CENT, key))
        chain = await export(api, tenant, tmp_path / "file")
        for request, why in (
            (trim(tenant, chain), "1 holds made until entry"),
            (trim(tenant, chain, head=b"x" * 32), "another hash"),
            (trim(tenant, chain, until=chain.sequence + 1), "has no entry"),
        ):
            with pytest.raises(RemoteError, match=why) as refused:
                await api.TrimLedger(request)
            assert refused.value.reason == "PRECONDITION_FAILED"
        await router.Release(budget_pb2.ReleaseRequest(key=key, reason="never sent"))
        assert (await api.TrimLedger(trim(tenant, chain))).entries_removed == chain.entries
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        with pytest.raises(RemoteError, match="stay for 30 days"):
            await api.TrimLedger(trim(tenant, await export(api, tenant, tmp_path / "young")))
    async with serving_budget(postgres_dsn) as budgets:
        # An attempt of which only the end is left is forgotten as a whole: a new one of its name begins and ends.
        api, router = await budgets.operator(), await budgets.router()
        with pytest.raises(RemoteError) as refused:
            await router.Commit(commit(key, CENT))
        assert refused.value.reason == "HOLD_NOT_FOUND"
        await router.Hold(hold(tenant, CENT, key))
        assert (await router.Commit(commit(key, CENT))).receipt.charged.nanos == CENT
        await spend(budgets, tenant, 1)
        assert (await verified(api, tenant)).intact
    async with connected(postgres_dsn) as connection:
        for careless in (
            "DELETE FROM ledger_entries",
            f"DELETE FROM ledger_entries WHERE sequence = {chain.sequence + 1}",
            "UPDATE ledger_entries SET hash = ''",
            "UPDATE ledger_entries SET role = NULL",
            "TRUNCATE ledger_entries",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(careless)


async def test_a_removal_that_breaks_off_brings_nothing_back_and_is_finished_later(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold that was open where the checkpoint stands, and settled later, is open to nobody who claims meanwhile."""

    async def broken(self: PostgresArchive, organisation_id: str) -> int:
        raise StoreUnavailable("postgres")

    monkeypatch.setattr(journals, "RECENT_ENTRIES", 0)
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        await spend(budgets, tenant, 3)
        early, late, silent, sleeper = (attempt(tenant) for _ in range(4))
        for key in (early, late, silent):
            await router.Hold(hold(tenant, 2 * CENT, key))
        assert (await router.Commit(commit(silent, None, usage=None))).receipt.unconfirmed
        chain = await export(api, tenant, tmp_path / "file")
        for key in (early, late):
            await router.Commit(commit(key, CENT))
        await router.Hold(hold(tenant, 2 * CENT, sleeper))
        asked = trim(tenant, chain)
        with monkeypatch.context() as failing:
            failing.setattr(PostgresArchive, "remove", broken)
            with pytest.raises(RemoteError) as away:
                await api.TrimLedger(asked)
            assert away.value.reason == "STORE_UNAVAILABLE"
        await _is_final(router, tenant, silent, early)
    async with connected(postgres_dsn) as connection:
        await connection.execute("DELETE FROM checkpoints")  # its owner was killed before it saved one
    connections = Connections(postgres_dsn, "budget")
    try:
        journal = journals.PostgresJournal(connections, PostgresConfigStore())
        claimed = await journal.claim(tenant.organisation.organisation_id, "replica", "127.0.0.1:1")
        assert isinstance(claimed, Claimed)
        assert list(claimed.tree.holds) == [(sleeper.request_id, sleeper.attempt)]
    finally:
        connections.close()
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        nothing = await export(api, tenant, tmp_path / "empty")
        await _is_final(router, tenant, silent, late)
        await router.Commit(commit(sleeper, CENT))
        done = await api.TrimLedger(trim(tenant, nothing, until=0, head=b""))
        assert done.entries_removed == chain.entries
        assert (await verified(api, tenant)).intact
        status = await api.GetBudgetStatus(pb.GetBudgetStatusRequest(budget_id=tenant.budgets[0].budget_id))
        assert (status.status.spent, status.status.held) == (10 * CENT, 0)


async def _is_final(router: Any, tenant: Tenant, silent: AttemptKey, forgotten: AttemptKey) -> None:
    """What was summed up changes no more, and whoever was cut in two is free, from the first moment on."""
    with pytest.raises(RemoteError) as refused:
        await router.Commit(commit(silent, CENT))
    assert refused.value.reason == "HOLD_ALREADY_SETTLED"
    await router.Hold(hold(tenant, CENT, forgotten))
    assert (await router.Commit(commit(forgotten, CENT))).receipt.charged.nanos == CENT


async def test_a_checkpoint_keeps_the_windows_that_later_entries_put_right(
    postgres_dsn: str, tmp_path: Path
) -> None:
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        key = attempt(tenant)
        await router.Hold(hold(tenant, 2 * CENT, key))
        await router.Commit(commit(key, None, usage=None))
        chain = await export(api, tenant, tmp_path / "file")
        organisation_id = OrganisationId(tenant.organisation.organisation_id)
        async with open_database(postgres_dsn, schema="budget", folder=SQL) as database:
            archive = PostgresArchive(database)
            assert (await archive.balance(organisation_id, chain.sequence)).righted == set()
            assert (await router.Commit(commit(key, CENT))).receipt.corrected
            balance = await archive.balance(organisation_id, chain.sequence)
            assert balance.righted == set(balance.windows)
        await api.TrimLedger(trim(tenant, chain))
        assert (await verified(api, tenant)).intact


async def test_who_asks_for_what_has_left_is_told(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        organisation_id = tenant.organisation.organisation_id
        await spend(budgets, tenant, 4)
        chain = await export(api, tenant, tmp_path / "file")
        await spend(budgets, tenant, 2)
        async with open_database(postgres_dsn, schema="budget", folder=SQL) as database:
            monkeypatch.setattr(archives, "READ_ENTRIES", 2)
            pages = PostgresArchive(database).export(OrganisationId(organisation_id), 0, None)
            read = [await anext(pages) for _ in range(2)]
            assert [entry.sequence for page in read for entry in page.entries] == [1, 2]
            await api.TrimLedger(trim(tenant, chain))
            with pytest.raises(EntriesArchived) as gone:
                await anext(pages)
            assert gone.value.first_sequence == chain.sequence + 1

        with pytest.raises(RemoteError) as left:
            await _tail(router, organisation_id, chain.sequence - 1)
        assert (left.value.reason, left.value.category.name) == ("ENTRIES_ARCHIVED", "OUT_OF_RANGE")
        first = int(left.value.facts["first_sequence"])
        assert (left.value.facts["organisation_id"], first) == (organisation_id, chain.sequence + 1)
        assert (await _tail(router, organisation_id, first - 1))[0].sequence == first

        whole_from = datetime.fromisoformat(left.value.facts["whole_from"])
        rerate = pb.RerateUsageRequest(request_id=request_id(), organisation_id=organisation_id, dry_run=True)
        rerate.occurred_until.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        rerate.occurred_from.FromDatetime(whole_from)
        await api.RerateUsage(rerate)
        rerate.occurred_from.FromDatetime(whole_from - timedelta(days=1))
        today = datetime.now(UTC).date().isoformat()
        invoice = f"day,model,cost_usd\n{today},openai/gpt,1\n".encode()
        for whose in (organisation_id, ""):
            reconcile = pb.ReconcileInvoiceRequest(organisation_id=whose, provider="openai", csv=invoice)
            for asking in (api.RerateUsage(rerate), api.ReconcileInvoice(reconcile)):
                rerate.request_id = request_id()
                with pytest.raises(RemoteError) as left:
                    await asking
                assert left.value.reason == "ENTRIES_ARCHIVED"
                assert datetime.fromisoformat(left.value.facts["whole_from"]) <= whole_from


async def _tail(router: Any, organisation_id: str, after: int) -> list[Any]:
    request = budget_pb2.TailLedgerRequest(after_sequences={organisation_id: after})
    async with router.watch("TailLedger", request) as batches:
        async for batch in batches:
            return list(batch.entries)
    raise AssertionError("the tail ended")


async def test_a_changed_checkpoint_is_found(postgres_dsn: str, tmp_path: Path) -> None:
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        await spend(budgets, tenant, 5)
        done = await api.TrimLedger(trim(tenant, await export(api, tenant, tmp_path / "file")))
        assert (await verified(api, tenant)).intact
        async with connected(postgres_dsn) as connection:
            await connection.execute("SET session_replication_role = replica")
            changed = "UPDATE ledger_entries SET body = $1 WHERE sequence = $2"
            body = await connection.fetchval(
                "SELECT body FROM ledger_entries WHERE sequence = $1", done.checkpoint_sequence
            )
            spent = str(5 * CENT).encode()
            assert spent in body
            await connection.execute(changed, body.replace(spent, b"1"), done.checkpoint_sequence)
            finding = await verified(api, tenant)
            assert (finding.intact, finding.first_broken_sequence) == (False, done.checkpoint_sequence)
            await connection.execute(changed, b'{"n":1}', done.checkpoint_sequence)
            finding = await verified(api, tenant)
            assert not finding.intact
            assert "checkpoint" in finding.problem


def test_a_file_that_was_touched_or_broke_off_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    chain, body = ledger_archive.Chain(), b'{"n":1,"k":7}'
    head = sha256(body).digest()
    lines = [
        '{"format":"turnpike ledger 1","organisation_id":"org_1","after":0,"hash":""}',
        f'{{"n":1,"hash":"{head.hex()}","body":"{{\\"n\\":1,\\"k\\":7}}"}}',
        '{"until":1,"entries":1}',
    ]
    for wrong, why in (
        (lines[:2], "breaks off after entry 1"),
        ([lines[0], lines[1].replace(":7}", ":8}"), lines[2]], "its hash is not that"),
        ([lines[0], lines[2]], "should end with entry 1"),
        ([lines[0].replace(":0,", ":4,"), *lines[1:]], "entry 5 is missing"),
        (["nothing"], "cannot be read"),
    ):
        file.write_text("\n".join(wrong) + "\n")
        with pytest.raises(ledger_archive.Broken, match=why):
            ledger_archive.check([file])
    file.write_text("\n".join(lines) + "\n")
    chain = ledger_archive.check([file])
    assert (chain.sequence, chain.head, chain.entries) == (1, head, 1)
    with pytest.raises(ledger_archive.Broken, match="does not follow"):
        ledger_archive.check([file, file])
