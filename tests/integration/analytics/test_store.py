"""Usage and decisions in a real Postgres: sums are exact however they are asked for, and repeating changes nothing."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.analytics.adapters.postgres import PostgresDecisions, PostgresUsage
from services.analytics.domain.decisions import DecisionRecord
from services.analytics.domain.queries import (
    DecisionQuery,
    Granularity,
    Grouping,
    Scope,
    TimeRange,
    UsageQuery,
)
from services.analytics.domain.usage import UsageRow, UsageTotals
from services.analytics.use_cases.decisions import Decisions
from services.analytics.use_cases.usage import QueryUsage
from services.chassis.postgres import Database
from services.kernel.errors import InvalidRequest, NotFound
from services.kernel.pages import page_token
from tests.support.usage import START, page, usage


async def test_a_page_is_stored_once_and_only_in_its_place(database: Database) -> None:
    store = PostgresUsage(database)
    first = page(usage(2, START), last=4)
    assert await store.store(first)
    assert not await store.store(first)
    assert not await store.store(page(usage(9, START), after=8))
    assert await store.store(page(usage(5, START), after=4))
    assert await store.positions() == {"org_1": 5}
    span = TimeRange(START - timedelta(days=1), START + timedelta(days=1))
    answer = await QueryUsage(store)(UsageQuery(Scope("org_1"), span), "")
    assert (answer.totals.cost_nanos, answer.totals.requests) == (20, 2)
    assert answer.freshness is not None
    assert answer.freshness.sequence == 5


async def test_sums_are_those_of_single_entries_for_any_range_grouping_and_zone(database: Database) -> None:
    dice = random.Random(7)
    store = PostgresUsage(database)
    entries = [
        usage(
            sequence,
            START + timedelta(seconds=dice.randrange(3 * 86_400)),
            team_id=dice.choice(["team_1", "team_2"]),
            model=dice.choice(["openai/gpt-4o", "anthropic/claude", "mistral/small"]),
            outcome=dice.choice(["succeeded", "failed"]),
            kind=dice.choice(["commit", "commit", "release", "expire", "correct"]),
            attempt=dice.choice([1, 1, 2]),
            cost_nanos=dice.randrange(10**12),
            input_tokens=dice.choice([None, dice.randrange(1000)]),
            dimensions={"task": dice.choice(["chat", "code"])},
        )
        for sequence in range(1, 400)
    ]
    assert await store.store(page(*entries))
    ask = QueryUsage(store)
    for _ in range(40):
        start = START + timedelta(seconds=dice.randrange(2 * 86_400))
        span = TimeRange(start, start + timedelta(seconds=dice.randrange(1, 86_400)))
        group_by = tuple(
            dice.sample([Grouping.TEAM, Grouping.PROVIDER, Grouping.OUTCOME, Grouping.DIMENSION], 2)
        )
        granularity = dice.choice([Granularity.WHOLE, Granularity.HOUR, Granularity.DAY])
        zone = dice.choice(["UTC", "Asia/Kathmandu", "Europe/Berlin"])
        team = dice.choice(["", "team_2"])
        question = UsageQuery(
            Scope("org_1", team_id=team, model_pattern="*/*"),
            span,
            granularity,
            group_by,
            "task",
            zone,
            rows=7,
        )
        counted = [
            entry
            for entry in entries
            if span.start <= entry.occurred_at < span.end and team in ("", entry.team_id)
        ]
        rows: list[UsageRow] = []
        token = ""
        while True:
            answer = await ask(question, token)
            rows += answer.rows
            assert answer.totals.cost_nanos == sum(entry.cost_nanos for entry in counted)
            token = answer.next_page_token
            if not token:
                break
        assert sum(row.totals.cost_nanos for row in rows) == answer.totals.cost_nanos
        assert len({(row.start, row.group) for row in rows}) == len(rows)
        attempts = [entry for entry in counted if entry.kind != "correct"]
        assert sum(row.totals.attempts for row in rows) == len(attempts)
        assert sum(row.totals.requests for row in rows) == sum(entry.attempt == 1 for entry in attempts)
        assert sum(row.totals.input_tokens for row in rows) == sum(
            entry.input_tokens or 0 for entry in counted
        )


async def test_a_correction_takes_out_of_unknown_what_it_replaces(database: Database) -> None:
    """As rollups have it and as single entries do; what a late commit tells counts as if it had come in time."""
    store = PostgresUsage(database)
    entries = [
        usage(1, kind="expire", outcome="unknown", cost_nanos=100, unconfirmed_nanos=100, input_tokens=None),
        usage(2, kind="correct", request_id="r1", cost_nanos=-60, unconfirmed_nanos=-100, input_tokens=7),
    ]
    assert await store.store(page(*entries))
    for granularity in (Granularity.WHOLE, Granularity.MINUTE):
        span = TimeRange(START - timedelta(hours=1), START + timedelta(hours=1))
        question = UsageQuery(Scope("org_1"), span, granularity, (Grouping.OUTCOME,))
        answer = await QueryUsage(store)(question, "")
        found = {row.group: row.totals for row in answer.rows}
        assert found["succeeded",].cost_nanos == 40
        assert (found["succeeded",].attempts, found["succeeded",].requests) == (1, 1)
        assert (found["succeeded",].failed, found["succeeded",].unconfirmed_nanos) == (0, 0)
        assert found["unknown",] == UsageTotals()
        assert (answer.totals.cost_nanos, answer.totals.attempts, answer.totals.failed) == (40, 1, 0)


async def test_what_was_rerated_is_its_attempt_s_even_where_the_ledger_does_not_say_whose(
    database: Database,
) -> None:
    store = PostgresUsage(database)
    nobody: dict[str, Any] = {
        "team_id": "",
        "project_id": "",
        "key_id": "",
        "model": "",
        "outcome": "",
        "dimensions": {},
    }
    rerated: dict[str, Any] = {"kind": "rerate", "cost_nanos": 5, "input_tokens": None, **nobody}
    assert await store.store(page(usage(1), usage(2), usage(3, request_id="r2", **rerated)))
    assert await store.store(page(usage(4, request_id="r1", **rerated), after=3))
    span = TimeRange(START - timedelta(hours=1), START + timedelta(hours=1))
    groups = (Grouping.TEAM, Grouping.MODEL, Grouping.DIMENSION)
    answer = await QueryUsage(store)(UsageQuery(Scope("org_1"), span, group_by=groups, dimension="task"), "")
    assert [(row.group, row.totals.cost_nanos) for row in answer.rows] == [
        (("team_1", "openai/gpt-4o", "chat"), 30)
    ]


async def test_all_pages_are_of_the_first_one_s_range(database: Database) -> None:
    """Without an end each call's is its own "now"; what comes between two pages is in none of them."""
    store = PostgresUsage(database)
    ask, now = QueryUsage(store), START + timedelta(minutes=5)
    assert await store.store(page(usage(1, team_id="a"), usage(2, team_id="b")))

    def question(end: datetime) -> UsageQuery:
        return UsageQuery(Scope("org_1"), TimeRange(START, end), group_by=(Grouping.TEAM,), rows=1)

    first = await ask(question(now), "")
    later = now + timedelta(minutes=5)
    assert await store.store(page(usage(3, later, team_id="b"), after=2))
    second = await ask(question(later + timedelta(minutes=1)), first.next_page_token)
    assert [row.totals.cost_nanos for row in (*first.rows, *second.rows)] == [10, 10]
    assert second.totals == first.totals


async def test_days_are_those_of_the_zone_also_when_clocks_change(database: Database) -> None:
    store = PostgresUsage(database)
    # Berlin's clocks go from 02:00 to 03:00 on 29 March 2026: that day has 23 hours.
    entries = [
        usage(n + 1, datetime(2026, 3, 28, 22, 30, tzinfo=UTC) + timedelta(hours=n)) for n in range(26)
    ]
    assert await store.store(page(*entries))
    span = TimeRange(datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC))
    answer = await QueryUsage(store)(
        UsageQuery(Scope("org_1"), span, Granularity.DAY, time_zone="Europe/Berlin"), ""
    )
    assert [(row.start, row.totals.attempts) for row in answer.rows] == [
        (datetime(2026, 3, 27, 23, tzinfo=UTC), 1),
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (datetime(2026, 3, 29, 22, tzinfo=UTC), 2),
    ]


async def test_another_organisation_sees_nothing(database: Database) -> None:
    store = PostgresUsage(database)
    assert await store.store(page(usage(1, START)))
    span = TimeRange(START - timedelta(hours=1), START + timedelta(hours=1))
    answer = await QueryUsage(store)(UsageQuery(Scope("org_2"), span), "")
    assert answer.totals.cost_nanos == 0
    assert answer.freshness is None


def decision(number: int, **changes: object) -> DecisionRecord:
    base: dict[str, object] = {
        "organisation_id": "org_1",
        "decision_id": f"dec_{number:02}",
        "request_id": f"r{number}",
        "decided_at": START + timedelta(seconds=number // 2),
        "team_id": "team_1",
        "project_id": "proj_1",
        "key_id": "key_1",
        "user_id": "",
        "model": "openai/gpt-4o",
        "task": "chat",
        "failed": False,
        "attempts": 1,
        "record": bytes([number]),
    }
    return DecisionRecord(**(base | changes))  # type: ignore[arg-type]


async def test_decisions_are_kept_once_and_listed_newest_first_page_by_page(database: Database) -> None:
    decisions = Decisions(PostgresDecisions(database))
    records = [decision(number) for number in range(10)]
    assert await decisions.record(records[:6]) == 6
    assert await decisions.record(records) == 4
    found, token = await decisions.list(DecisionQuery(Scope("org_1"), rows=4), "")
    while token:
        more, token = await decisions.list(DecisionQuery(Scope("org_1"), rows=4), token)
        found += more
    assert found == sorted(records, key=lambda each: (each.decided_at, each.decision_id), reverse=True)
    with pytest.raises(InvalidRequest):
        await decisions.list(DecisionQuery(Scope("org_1")), page_token(["not a time", "dec_1"]))


async def test_records_are_kept_uncompressed(database: Database) -> None:
    record = bytes(3_000)  # as long as one with twenty candidates; nothing compresses better
    await Decisions(PostgresDecisions(database)).record([decision(1, record=record)])
    kept = await database.fetchrow(
        "SELECT record, pg_column_compression(record) AS compression FROM decision"
    )
    assert kept is not None
    assert (kept["record"], kept["compression"]) == (record, None)


async def test_decisions_are_found_by_what_they_say(database: Database) -> None:
    decisions = Decisions(PostgresDecisions(database))
    await decisions.record(
        [
            decision(1, failed=True),
            decision(2, attempts=2),
            decision(3, task="code"),
            decision(4, model="mistral/small", team_id="team_2"),
        ]
    )

    async def ids(query: DecisionQuery) -> set[str]:
        return {found.decision_id for found in (await decisions.list(query, ""))[0]}

    scope = Scope("org_1")
    assert await ids(DecisionQuery(scope, failed_only=True)) == {"dec_01"}
    assert await ids(DecisionQuery(scope, fallback_only=True)) == {"dec_02"}
    assert await ids(DecisionQuery(scope, task="code")) == {"dec_03"}
    assert await ids(DecisionQuery(Scope("org_1", model_pattern="mistral/*"))) == {"dec_04"}
    assert await ids(
        DecisionQuery(scope, TimeRange(START + timedelta(seconds=1), START + timedelta(seconds=2)))
    ) == {
        "dec_02",
        "dec_03",
    }
    assert await decisions.get("org_1", "", decision_id="dec_04", request_id="") == bytes([4])
    assert await decisions.get("org_1", "", decision_id="", request_id="r4") == bytes([4])
    for organisation, team in (("org_2", ""), ("org_1", "team_1")):
        with pytest.raises(NotFound):
            await decisions.get(organisation, team, decision_id="dec_04", request_id="")
