"""`turnpike usage` against the whole service."""

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.cli.__main__ import main
from services.cli.usage_reports import end_of_month
from tests.support.analytics import World, ids_of, two_tenants
from tests.support.budget_admin import OPERATOR

COMMANDS = {
    "sum": ["--by", "model", "--each", "day"],
    "watch": ["--since", "7d", "--for", "1s"],
    "forecast": [],
    "savings": ["--baseline", "openai/gpt-4o", "--by", "team"],
    "waste": ["--by", "tag:task"],
    "export": [],
}


@pytest.fixture
async def world(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with two_tenants(postgres_dsn, tmp_path, datetime.now(UTC)) as made:
        yield made


async def run(world: World, *words: str) -> Result:
    """A command as a person types it, in another thread: it has an event loop of its own."""
    environment = {"TURNPIKE_ANALYTICS_ADDRESS": world.address, "TURNPIKE_ADMIN_TOKEN": OPERATOR}
    return await asyncio.to_thread(CliRunner().invoke, main, ["usage", *words], env=environment)


async def asked(world: World, command: str, *words: str) -> Result:
    """A command about our organisation, which must end well."""
    done = await run(
        world, command, "--organisation", ids_of(world.ours)["organisation_id"], *COMMANDS[command], *words
    )
    assert done.exit_code == 0, done.output
    return done


async def json_of(world: World, command: str, *words: str) -> list[Any]:
    """What it printed; the service, which runs in this process too, may have logged in between."""
    printed = (await asked(world, command, "--json", *words)).stdout.splitlines()
    return [json.loads(line) for line in printed if line.startswith("{")]


async def test_people_are_shown_tables(world: World) -> None:
    shown = {command: (await asked(world, command)).output for command in COMMANDS}
    assert "openai/gpt-4o" in shown["sum"]
    assert "In all: $0.00000001\n" in shown["sum"]
    assert "= $0.00000002" in shown["watch"]
    assert "history" in shown["forecast"]
    assert "An interval needs 7 days" in shown["forecast"]
    assert "not compared" in shown["savings"]
    assert "occurred_at,organisation_id," in shown["export"]


async def test_programs_are_given_lines_of_json(world: World) -> None:
    (row, _) = await json_of(world, "sum", "--since", "7d")
    assert row["group"] == ["openai/gpt-4o"]
    assert row["totals"]["cost"]["nanos"] == "10"
    news = await json_of(world, "watch")
    assert [event["outcome"] for event in news[0]["events"]] == ["failed", "succeeded"]
    (forecast,) = await json_of(world, "forecast")
    assert (forecast["history_days"], "low" in forecast) == (2, False)
    (savings,) = await json_of(world, "savings", "--since", "7d")
    assert (savings["not_comparable"], savings["left_out"]["nanos"]) == ("2", "20")
    (waste,) = await json_of(world, "waste", "--since", "7d")
    assert (waste["kind"], waste["group"], waste["attempts"]) == ("failed", ["chat"], "1")


async def test_a_file_is_written_and_gone_on_with(world: World, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    await asked(world, "export", "--since", "7d", str(file))
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["cost"] for row in rows] == ["0.000000010", "0.000000010"]
    assert {row["organisation_id"] for row in rows} == {ids_of(world.ours)["organisation_id"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sum"], "is required for operators"),
        (["sum", "--by", "colour"], "is none of organisation, team"),
        (["sum", "--tag", "task"], "is not NAME=VALUE"),
        (["forecast", "--time-zone", "Mars/Olympus"], "is no IANA time zone"),
        (["sum", "--since", "soon"], "is no time such as"),
    ],
)
async def test_what_is_wrong_is_said(world: World, words: list[str], said: str) -> None:
    done = await run(world, *words)
    assert done.exit_code != 0
    assert said in done.output


def test_a_month_ends_in_its_zone() -> None:
    new_year = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    assert end_of_month(new_year, "UTC") == datetime(2027, 1, 1, tzinfo=UTC)
    assert end_of_month(new_year, "Europe/Vienna") == datetime(2027, 1, 31, 23, tzinfo=UTC)
