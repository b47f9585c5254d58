"""An exported file has every entry once and adds up to what a query says, also when it broke off in between."""

import csv
import io
import random
from contextlib import aclosing
from datetime import timedelta

import pytest

from services.analytics.adapters.postgres import PostgresUsage
from services.analytics.adapters.postgres_entries import PostgresEntries
from services.analytics.domain.exporting import ExportFormat
from services.analytics.domain.queries import Scope, TimeRange, UsageQuery
from services.analytics.use_cases import export
from services.analytics.use_cases.export import ExportUsage
from services.analytics.use_cases.usage import QueryUsage
from services.chassis.postgres import Database
from services.kernel.errors import InvalidRequest
from services.kernel.pages import page_token
from tests.support.usage import START, page, usage

SPAN = TimeRange(START, START + timedelta(hours=1))


def parsed(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PIECE_ENTRIES", 7)


async def filled(database: Database, count: int) -> PostgresUsage:
    dice, store = random.Random(3), PostgresUsage(database)
    entries = [
        usage(
            number,
            START + timedelta(seconds=number // 5),
            cost_nanos=dice.randrange(-(10**6), 10**12),
            kind=dice.choice(["commit", "correct", "release", "adjust"]),
            team_id=dice.choice(["team_1", "team_2"]),
        )
        for number in range(1, count + 1)
    ]
    assert await store.store(page(*entries))
    return store


@pytest.mark.parametrize("team", ["", "team_2"])
async def test_the_file_adds_up_to_the_query(database: Database, team: str) -> None:
    store = await filled(database, 100)
    scope = Scope("org_1", team_id=team)
    pieces = [
        each async for each in ExportUsage(PostgresEntries(database))(scope, SPAN, ExportFormat.CSV, "")
    ]
    rows = parsed(b"".join(piece.content for piece in pieces))
    answer = await QueryUsage(store)(UsageQuery(scope, SPAN), "")
    assert sum(int(row["cost_nanos"]) for row in rows) == answer.totals.cost_nanos
    sequences = [int(row["ledger_sequence"]) for row in rows]
    assert sequences == sorted(set(sequences))
    assert team or len(rows) == 100


async def test_a_file_that_broke_off_goes_on_where_it_was(database: Database) -> None:
    await filled(database, 30)
    ask = ExportUsage(PostgresEntries(database))
    whole = b"".join([each.content async for each in ask(Scope("org_1"), SPAN, ExportFormat.JSON_LINES, "")])
    received, token, rounds = b"", "", 0
    while True:
        async with aclosing(ask(Scope("org_1"), SPAN, ExportFormat.JSON_LINES, token)) as pieces:
            piece = await anext(pieces)
        if not piece.content:
            break
        received, token, rounds = received + piece.content, piece.resume_token, rounds + 1
    assert received == whole
    assert rounds == 5


async def test_without_usage_there_is_a_header(database: Database) -> None:
    ask = ExportUsage(PostgresEntries(database))
    (piece,) = [each async for each in ask(Scope("org_1"), SPAN, ExportFormat.CSV, "")]
    assert piece.content.startswith(b"occurred_at,organisation_id,")
    assert piece.resume_token == ""


@pytest.mark.parametrize("token", ["nonsense", page_token((START.isoformat(), "x", START.isoformat()))])
async def test_a_strange_token_is_refused(database: Database, token: str) -> None:
    ask = ExportUsage(PostgresEntries(database))
    with pytest.raises(InvalidRequest) as refused:
        _ = [each async for each in ask(Scope("org_1"), SPAN, ExportFormat.CSV, token)]
    assert [violation.field for violation in refused.value.violations] == ["resume_token"]
