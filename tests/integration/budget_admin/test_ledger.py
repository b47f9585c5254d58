"""The ledger for admins: shown, verified, priced again, compared with an invoice."""

from datetime import UTC, datetime, timedelta

import asyncpg

from tests.support.budget import MODEL, Budgets, attempt, commit, hold, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.ledger_pb2 import LEDGER_ENTRY_KIND_COMMIT, LEDGER_ENTRY_KIND_RERATE
from turnpike.common.v1.price_pb2 import ModelPrice, PriceTier

RATE = 1_000_000_000  # a dollar for a million tokens: a token costs 1000 nanos


async def set_price(api: Api, rate: int, since: datetime) -> None:
    price = ModelPrice(
        model=MODEL, tiers=[PriceTier(input_nanos_per_million=rate, output_nanos_per_million=rate)]
    )
    price.effective_from.FromDatetime(since)
    await api.SetPrice(pb.SetPriceRequest(request_id=request_id(), price=price))


async def one_charge(budgets: Budgets, tenant: Tenant) -> str:
    """Holds and commits a request of 80 + 90 tokens at the price in force; its id."""
    router = await budgets.router()
    key = attempt(tenant)
    await router.Hold(hold(tenant, None, key))
    await router.Commit(commit(key, None))
    return key.request_id


async def test_entries_are_listed_by_page_filter_and_direction(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        await set_price(api, RATE, datetime(2026, 1, 1, tzinfo=UTC))
        requests = [await one_charge(budgets, tenant) for _ in range(3)]
        organisation_id = tenant.organisation.organisation_id

        async def listed(**filters: object) -> list[int]:
            sequences: list[int] = []
            request = pb.ListLedgerEntriesRequest(organisation_id=organisation_id, page_size=2)
            for name, value in filters.items():
                if isinstance(value, list):
                    getattr(request, name).extend(value)
                else:
                    setattr(request, name, value)
            while True:
                page = await api.ListLedgerEntries(request)
                sequences += [entry.sequence for entry in page.entries]
                if not page.next_page_token:
                    return sequences
                request.page_token = page.next_page_token

        everything = await listed()
        assert everything == list(range(1, len(everything) + 1))
        assert await listed(newest_first=True) == everything[::-1]
        commits = await listed(kinds=[LEDGER_ENTRY_KIND_COMMIT])
        assert len(commits) == 3
        assert await listed(kinds=[LEDGER_ENTRY_KIND_COMMIT], newest_first=True) == commits[::-1]
        assert len(await listed(ledger_request_id=requests[1])) == 2
        assert set(commits) <= set(await listed(budget_id=tenant.budgets[0].budget_id))
        assert await listed(after_sequence=everything[-2]) == everything[-1:]


async def test_an_intact_chain_is_intact_and_a_touched_entry_is_found(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        await set_price(api, RATE, datetime(2026, 1, 1, tzinfo=UTC))
        for _ in range(3):
            await one_charge(budgets, tenant)
        request = pb.VerifyLedgerRequest(organisation_id=tenant.organisation.organisation_id)
        finding = await api.VerifyLedger(request)
        assert finding.intact
        assert finding.entries_checked == finding.head_sequence
        heads = await api.ListChainHeads(pb.ListChainHeadsRequest())
        assert [head.hash for head in heads.heads] == [finding.head_hash]
        request.expected_head_hash = finding.head_hash
        assert (await api.VerifyLedger(request)).intact
        request.expected_head_hash = b"x" * 32
        assert "not met" in (await api.VerifyLedger(request)).problem
        request.expected_head_hash = b""

        connection = await asyncpg.connect(postgres_dsn)
        try:
            await connection.execute("SET session_replication_role = replica; SET search_path = budget")
            await connection.execute("UPDATE counters SET spent = spent + 1 WHERE no = 1")
            assert (await api.VerifyLedger(request)).total_mismatches
            await connection.execute("UPDATE counters SET spent = spent - 1 WHERE no = 1")
            await connection.execute(
                "UPDATE ledger_entries SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"$\"', '\"§\"'),"
                " 'UTF8') WHERE sequence = 3"
            )
            touched = await api.VerifyLedger(request)
            assert (touched.intact, touched.first_broken_sequence) == (False, 3)
            await connection.execute("DELETE FROM ledger_entries WHERE sequence = 3")
            missing = await api.VerifyLedger(request)
            assert (missing.intact, missing.problem) == (False, "entry 3 is missing")
        finally:
            await connection.close()


async def test_a_corrected_price_is_booked_once(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        since = datetime(2026, 1, 1, tzinfo=UTC)
        await set_price(api, RATE, since)
        for _ in range(2):
            await one_charge(budgets, tenant)
        await set_price(api, 3 * RATE, since)
        request = pb.RerateUsageRequest(
            request_id=request_id(), organisation_id=tenant.organisation.organisation_id, dry_run=True
        )
        request.occurred_from.FromDatetime(since)
        request.occurred_until.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        said = await api.RerateUsage(request)
        assert (said.entries_repriced, said.difference.nanos) == (2, 2 * 170_000 * 2)
        request.dry_run, request.request_id = False, request_id()
        assert await api.RerateUsage(request) == said
        request.request_id = request_id()
        assert (await api.RerateUsage(request)).entries_repriced == 0
        status = await api.GetBudgetStatus(pb.GetBudgetStatusRequest(budget_id=tenant.budgets[0].budget_id))
        assert status.status.spent == 2 * 3 * 170_000
        entries = await api.ListLedgerEntries(
            pb.ListLedgerEntriesRequest(
                organisation_id=tenant.organisation.organisation_id, kinds=[LEDGER_ENTRY_KIND_RERATE]
            )
        )
        assert [entry.amount.nanos for entry in entries.entries] == [340_000, 340_000]
        charges = await api.ListLedgerEntries(
            pb.ListLedgerEntriesRequest(
                organisation_id=tenant.organisation.organisation_id, kinds=[LEDGER_ENTRY_KIND_COMMIT]
            )
        )
        for charge, rerated in zip(charges.entries, entries.entries, strict=True):
            assert charge.principal.key_id
            for field in ("key", "principal", "model", "endpoint_id", "outcome", "dimensions"):
                assert getattr(rerated, field) == getattr(charge, field)
        verified = await api.VerifyLedger(
            pb.VerifyLedgerRequest(organisation_id=tenant.organisation.organisation_id)
        )
        assert verified.intact, verified


async def test_an_invoice_is_compared_by_day_and_model(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        api = await budgets.operator()
        tenant = await make_tenant(api, "Acme")
        await set_price(api, RATE, datetime(2026, 1, 1, tzinfo=UTC))
        for _ in range(2):
            await one_charge(budgets, tenant)
        today = datetime.now(UTC).date().isoformat()
        provider, model = MODEL.split("/")
        invoice = f"day,model,cost_usd\n{today},{model},0.00035\n{today},other-model,1\n".encode()
        request = pb.ReconcileInvoiceRequest(
            organisation_id=tenant.organisation.organisation_id, provider=provider, csv=invoice
        )
        found = await api.ReconcileInvoice(request)
        assert [(line.model, line.invoiced.nanos, line.booked.nanos) for line in found.lines] == [
            (MODEL, 350_000, 340_000),
            (f"{provider}/other-model", 1_000_000_000, 0),
        ]
        assert found.difference.nanos == 1_000_010_000
        assert found.lines[0].usage.output_tokens == 180
