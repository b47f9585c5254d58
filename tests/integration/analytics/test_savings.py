"""Savings from entries and decision records in a real store, at prices that change."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from services.analytics.adapters.postgres import PostgresDecisions, PostgresUsage
from services.analytics.adapters.postgres_reports import RECORDS_A_PAGE, PostgresReports
from services.analytics.convert import from_pb_decision
from services.analytics.domain.queries import Breakdown, Grouping, Scope, TimeRange, UsageQuery
from services.analytics.domain.savings import SavingsRow
from services.analytics.domain.usage import UsageEntry
from services.analytics.use_cases.decisions import Decisions
from services.analytics.use_cases.savings import QuerySavings
from services.analytics.use_cases.usage import QueryUsage
from services.chassis.postgres import Database
from services.kernel.pricing import ModelPrice, PriceTier
from tests.support.usage import START, page, usage
from turnpike.common.v1.principal_pb2 import Principal
from turnpike.router.v1 import decision_pb2

SPAN = TimeRange(START, START + timedelta(days=10))
CHANGE = START + timedelta(days=5)
MILLION = 1_000_000


def flat(model: str, dollars: int, begins: datetime | None = None, cached: int | None = None) -> ModelPrice:
    rate = dollars * 1_000_000_000
    tier = PriceTier(
        input_nanos_per_million=rate, output_nanos_per_million=2 * rate, cache_read_nanos_per_million=cached
    )
    return ModelPrice(model, (tier,), begins)


class Book:
    """A price book that is asked by nobody."""

    def __init__(self, *prices: ModelPrice) -> None:
        self._prices = prices

    async def listed(self, span: TimeRange) -> Sequence[ModelPrice]:
        """All of them."""
        return self._prices


BOOK = Book(
    flat("small/one", 1, cached=0),
    flat("large/one", 10),
    flat("large/one", 20, CHANGE),
    flat("other/one", 3),
)


async def rows(
    database: Database, baseline: str, *group_by: Grouping, scope: Scope | None = None
) -> list[SavingsRow]:
    ask = QuerySavings(PostgresReports(database), BOOK)
    return list(await ask(Breakdown(scope or Scope("org_1"), SPAN, group_by), baseline))


def answered(number: int, at: datetime = START, **changes: object) -> UsageEntry:
    """A million tokens in, half a million out, by the small model at list price: two dollars."""
    base: dict[str, object] = {
        "model": "small/one",
        "cost_nanos": 2_000_000_000,
        "input_tokens": MILLION,
        "output_tokens": MILLION // 2,
    }
    return usage(number, at, **(base | changes))


async def test_the_same_tokens_at_the_price_in_force_then(database: Database) -> None:
    assert await PostgresUsage(database).store(page(answered(1), answered(2, CHANGE)))
    (row,) = await rows(database, "large/one")
    assert (row.actual_nanos, row.baseline_nanos) == (4_000_000_000, 20_000_000_000 + 40_000_000_000)
    assert (row.requests, row.not_comparable, row.left_out_nanos) == (2, 0, 0)
    (same,) = await rows(database, "small/one")
    assert same.actual_nanos == same.baseline_nanos


async def test_failed_attempts_count_and_what_is_unknown_is_left_out(database: Database) -> None:
    entries = [
        answered(1, request_id="r1", outcome="failed", input_tokens=None, cost_nanos=5),
        answered(2, request_id="r1", attempt=2),
        answered(3, request_id="r2", kind="expire", outcome="unknown", output_tokens=None, cost_nanos=7),
        answered(4, request_id="r3", kind="expire", outcome="unknown", output_tokens=None, cost_nanos=11),
        answered(5, request_id="r3", kind="correct", cost_nanos=-1),
        answered(6, request_id="r3", attempt=2, cost_nanos=13, dimensions={"purpose": "mirror"}),
        answered(7, request_id="r4", kind="release", cost_nanos=0, outcome="released"),
        answered(8, request_id="", kind="adjust", cost_nanos=17),
    ]
    assert await PostgresUsage(database).store(page(*entries))
    (row,) = await rows(database, "other/one")
    assert row.actual_nanos == 5 + 2_000_000_000 + 11 - 1
    assert row.baseline_nanos == 2 * 6_000_000_000
    assert (row.requests, row.not_comparable, row.left_out_nanos) == (2, 1, 7 + 13 + 17)
    (none,) = await rows(database, "nobody/sells-it")
    assert (none.actual_nanos, none.baseline_nanos, none.requests, none.not_comparable) == (0, 0, 0, 3)


async def test_what_caches_saved_is_told_apart(database: Database) -> None:
    assert await PostgresUsage(database).store(
        page(answered(1, cache_read_tokens=MILLION // 4, cost_nanos=1_750_000_000))
    )
    (row,) = await rows(database, "large/one")
    assert row.cache_saved_nanos == 250_000_000
    assert row.baseline_nanos == 20_000_000_000


def decision(number: int, *dropped: str, at: datetime = START) -> decision_pb2.Decision:
    made = decision_pb2.Decision(
        decision_id=f"dec_{number}",
        request_id=f"r{number}",
        principal=Principal(organisation_id="org_1", team_id="team_1"),
    )
    made.decided_at.FromDatetime(at)
    for model, quality in (("small/one", 0.5), ("other/one", 0.6), ("large/one", 0.9)):
        candidate = made.candidates.add(model=model, excluded_by="access" if model in dropped else "")
        candidate.estimates.quality = quality
    return made


async def test_without_a_baseline_it_is_the_ablest_that_was_permitted(database: Database) -> None:
    """For the first request the large model was permitted; for the second it was not; of the third nothing is known."""
    assert await PostgresUsage(database).store(page(*(answered(number) for number in (1, 2, 3))))

    kept = [decision(1), decision(2, "large/one")]
    await Decisions(PostgresDecisions(database)).record([from_pb_decision(one) for one in kept])
    for _ in range(2):
        (row,) = await rows(database, "")
        assert row.baseline_nanos == 20_000_000_000 + 6_000_000_000
        assert (row.requests, row.not_comparable) == (2, 1)


async def test_what_was_learned_of_a_forgotten_decision_is_forgotten_with_it(database: Database) -> None:
    """Its request is left out then, as one of which nothing was ever known; a named baseline needs no decision."""
    usages, store = PostgresUsage(database), PostgresDecisions(database)
    assert await usages.store(page(answered(1), answered(2, CHANGE)))
    await Decisions(store).record(
        [from_pb_decision(decision(1)), from_pb_decision(decision(2, "large/one", at=CHANGE))]
    )
    (row,) = await rows(database, "")
    assert (row.requests, row.not_comparable) == (2, 0)
    assert await store.forget(CHANGE, 10) == 1
    (row,) = await rows(database, "")
    assert (row.requests, row.not_comparable, row.left_out_nanos) == (1, 1, 2_000_000_000)
    assert row.baseline_nanos == 6_000_000_000
    assert await database.fetchval("SELECT array_agg(request_id) FROM ablest_model") == ["r2"]
    (row,) = await rows(database, "other/one")
    assert (row.requests, row.not_comparable) == (2, 0)


async def test_every_decision_is_read_however_many_pages_there_are(database: Database) -> None:
    """Many are of the same moment, some of the range's first and last; the one at its end is not in it."""
    count, store = 2 * RECORDS_A_PAGE + 1, Decisions(PostgresDecisions(database))
    assert await PostgresUsage(database).store(page(*(answered(number) for number in range(1, count + 2))))
    made = [decision(number, at=START + timedelta(hours=number // 50)) for number in range(1, count + 1)]
    await store.record([from_pb_decision(one) for one in (*made, decision(count + 1, at=SPAN.end))])
    (row,) = await rows(database, "")
    assert (row.requests, row.not_comparable) == (count, 1)


@pytest.mark.parametrize("scope", [Scope("org_1"), Scope("org_1", model_pattern="small/*")])
async def test_parts_add_up_to_what_a_query_says(database: Database, scope: Scope) -> None:
    dice, store = random.Random(5), PostgresUsage(database)
    entries = [
        answered(
            number,
            START + timedelta(hours=number // 3),
            request_id=f"r{dice.randrange(120)}" if dice.random() < 0.95 else "",
            attempt=dice.randrange(1, 4),
            kind=dice.choice(
                ["commit", "commit", "commit", "expire", "correct", "release", "rerate", "adjust"]
            ),
            outcome=dice.choice(["succeeded", "succeeded", "failed", "cancelled"]),
            model=dice.choice(["small/one", "large/one", "odd/one"]),
            cost_nanos=dice.randrange(10**10),
            output_tokens=dice.choice([None, dice.randrange(1000)]),
            team_id=dice.choice(["team_1", "team_2"]),
            dimensions={"purpose": "mirror"} if dice.random() < 0.1 else {},
        )
        for number in range(1, 300)
    ]
    assert await store.store(page(*entries))
    spent = (await QueryUsage(store)(UsageQuery(scope, SPAN), "")).totals.cost_nanos
    for group_by in ((), (Grouping.MODEL,), (Grouping.TEAM, Grouping.OUTCOME)):
        found = await rows(database, "large/one", *group_by, scope=scope)
        assert sum(row.actual_nanos + row.left_out_nanos for row in found) == spent
        assert len({row.group for row in found}) == len(found)
