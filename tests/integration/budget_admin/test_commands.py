"""`turnpike budget`, `turnpike keys`, `turnpike ledger` against the whole service."""

import asyncio
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from services.cli.__main__ import main
from tests.support.budget import Budgets, attempt, commit, hold, serving_budget
from tests.support.budget_admin import OPERATOR, make_tenant

DOLLAR = 1_000_000_000


async def run(budgets: Budgets, *words: str) -> Result:
    """A command as a person types it, in another thread: it has an event loop of its own."""
    environment = {"TURNPIKE_BUDGET_ADDRESS": budgets.address, "TURNPIKE_ADMIN_TOKEN": OPERATOR}
    return await asyncio.to_thread(CliRunner().invoke, main, list(words), env=environment)


async def json_of(budgets: Budgets, *words: str) -> list[Any]:
    result = await run(budgets, *words, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


async def test_a_tenant_by_hand(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        (organisation,) = await json_of(budgets, "budget", "organisation", "create", "Acme")
        organisation_id = organisation["organisation_id"]
        (team,) = await json_of(
            budgets, "budget", "team", "create", "Search", "--organisation", organisation_id
        )
        (project,) = await json_of(budgets, "budget", "project", "create", "Shop", "--team", team["team_id"])
        (key,) = await json_of(budgets, "keys", "create", "shop", "--project", project["project_id"])
        assert key["secret"].startswith("tpk_")
        made = await run(
            budgets, "budget", "create", "--name", "monthly", "--to", team["team_id"], "--limit", "12.50",
            "--per", "month", "--time-zone", "Europe/Vienna",
        )  # fmt: skip
        assert made.exit_code == 0, made.output
        assert "$12.50" in made.stdout
        (budget,) = await json_of(budgets, "budget", "list")
        assert (budget["limit"], budget["window"]["calendar"]["time_zone"]) == (
            "12500000000",
            "Europe/Vienna",
        )
        shown = await run(budgets, "budget", "status")
        assert shown.exit_code == 0, shown.output
        assert "monthly" in shown.stdout
        assert "$12.50" in shown.stdout
        priced = await run(
            budgets, "budget", "set-price", "openai/gpt-5.4", "--input", "2.5", "--output", "10"
        )
        assert priced.exit_code == 0, priced.output
        assert "$2.50" in (await run(budgets, "budget", "prices")).stdout
        updated = await run(budgets, "budget", "update", budget["budget_id"], "--limit", "20")
        assert "$20.00" in updated.stdout, updated.output
        rotated = await run(budgets, "keys", "rotate", key["key_id"])
        assert rotated.stdout.strip().startswith("tpk_")
        assert (await run(budgets, "keys", "revoke", key["key_id"])).exit_code == 0
        assert await json_of(budgets, "keys", "list") == []
        trail = await json_of(budgets, "budget", "audit", "--entity", key["key_id"])
        assert [record["method"] for record in trail] == ["RevokeKey", "RotateKey", "CreateKey"]


async def test_old_entries_leave_by_hand(postgres_dsn: str, tmp_path: Path) -> None:
    async with serving_budget(postgres_dsn, ledger_kept_days=0) as budgets:
        tenant = await make_tenant(await budgets.operator(), "Acme")
        router = await budgets.router()
        files = [str(tmp_path / name) for name in ("kept", "first", "second")]
        for file in files:
            key = attempt(tenant)
            await router.Hold(hold(tenant, 400, key))
            await router.Commit(commit(key, 300))
            words = ["ledger", "archive", "--before", "2199-01-01", "--to", file]
            archived = await run(budgets, *words, *(["--keep"] if file is files[0] else []))
            assert archived.exit_code == 0, archived.output
            assert ("checkpoint" in archived.stdout) == (file is not files[0])
        verified = await run(budgets, "ledger", "verify")
        assert verified.exit_code == 0, verified.output
        assert "behind a checkpoint" in verified.stdout
        there = await run(budgets, "ledger", "archive", "--before", "2199-01-01", "--to", files[1])
        assert there.exit_code == 2, there.output
        checked = await run(budgets, "ledger", "check", *files[1:])
        assert checked.exit_code == 0, checked.output
        assert "intact" in checked.stdout
        assert (await run(budgets, "ledger", "check", *files)).exit_code == 1


async def test_the_ledger_by_hand(postgres_dsn: str, tmp_path: Path) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        router = await budgets.router()
        tenant = await make_tenant(await budgets.operator(), "Acme")
        key = attempt(tenant)
        await router.Hold(hold(tenant, DOLLAR // 2, key))
        await router.Commit(commit(key, DOLLAR // 4))
        entries = await json_of(budgets, "ledger", "entries", "--kind", "commit")
        assert [entry["amount"]["nanos"] for entry in entries] == [str(DOLLAR // 4)]
        verified = await run(budgets, "ledger", "verify")
        assert verified.exit_code == 0, verified.output
        assert "intact" in verified.stdout
        (head,) = await json_of(budgets, "ledger", "heads")
        assert head["organisation_id"] == tenant.organisation.organisation_id
        foreign = await run(budgets, "ledger", "verify", "--head", "ab" * 32)
        assert foreign.exit_code == 1
        invoice = tmp_path / "invoice.csv"
        invoice.write_text("day,model,cost_usd\nyesterday,gpt,1\n")
        wrong = await run(budgets, "ledger", "reconcile", str(invoice), "--provider", "openai")
        assert wrong.exit_code == 1
        assert "line 2" in wrong.output


async def test_what_goes_wrong_is_said_in_a_line(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        missing = await run(budgets, "budget", "status", "bud_" + "0" * 26)
        assert missing.exit_code == 1
        assert missing.output.startswith("Error: There is no budget")
        unclear = await run(
            budgets, "budget", "override", "bud_x", "--limit", "1", "--for", "soon", "--reason", "x"
        )
        assert unclear.exit_code in (1, 2)
        assert "Traceback" not in unclear.output


async def test_list_prices_come_into_force_once(postgres_dsn: str) -> None:
    async with serving_budget(postgres_dsn) as budgets:
        own = await run(budgets, "budget", "set-price", "openai/gpt-4o", "--input", "9", "--output", "9")
        assert own.exit_code == 0, own.output
        first = await run(budgets, "budget", "import-prices")
        assert first.exit_code == 0, first.output
        assert not first.stdout.startswith("0 ")
        again = await run(budgets, "budget", "import-prices")
        assert again.stdout.startswith("0 prices came into force")
        listed = await json_of(budgets, "budget", "prices", "--match", "openai/gpt-4o")
        assert [price["price"]["tiers"][0]["input_nanos_per_million"] for price in listed] == ["9000000000"]
