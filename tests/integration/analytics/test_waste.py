"""What bought nothing, by kind, from entries as the router and the budget service write them."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.analytics.adapters.postgres import PostgresUsage
from services.analytics.adapters.postgres_reports import PostgresReports
from services.analytics.domain.queries import Breakdown, Grouping, Scope, TimeRange, UsageQuery
from services.analytics.domain.usage import UsageEntry
from services.analytics.use_cases import waste
from services.analytics.use_cases.usage import QueryUsage
from services.analytics.use_cases.waste import QueryWaste
from services.chassis.postgres import Database
from services.kernel.errors import InvalidRequest
from tests.support.usage import START, page, usage

SPAN = TimeRange(START - timedelta(days=1), START + timedelta(days=1))
ALL = Breakdown(Scope("org_1"), SPAN)


class Request:
    """Writes the entries of one request."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.attempts: list[dict[str, object]] = []

    def attempt(self, outcome: str, purpose: str = "", number: int = 0, **changes: object) -> "Request":
        """An attempt that cost ten nanos."""
        dimensions = {"task": "chat"} | ({"purpose": purpose} if purpose else {})
        cut = changes.pop("cut", "")
        if cut:
            dimensions["cut"] = str(cut)
        number = number or len(self.attempts) + 1
        base = {"request_id": self.request_id, "attempt": number, "outcome": outcome}
        self.attempts.append({**base, "dimensions": dimensions, **changes})
        return self


async def ledger_of(database: Database, *requests: Request) -> list[UsageEntry]:
    made = [one for request in requests for one in request.attempts]
    entries = [usage(number, **one) for number, one in enumerate(made, 1)]  # type: ignore[arg-type]
    assert await PostgresUsage(database).store(page(*entries))
    return entries


async def kinds(database: Database, asked: Breakdown = ALL) -> dict[str, tuple[int, int]]:
    rows = await QueryWaste(PostgresReports(database))(asked)
    return {row.kind: (row.cost_nanos, row.attempts) for row in rows}


CASES = {
    "answered": (Request("r").attempt("succeeded"), {}),
    "failed and free": (
        Request("r").attempt("released", kind="release", cost_nanos=0).attempt("succeeded", "fallback"),
        {},
    ),
    "failed and charged": (
        Request("r").attempt("failed").attempt("succeeded", "fallback"),
        {"failed": (10, 1)},
    ),
    "the caller left": (Request("r").attempt("cancelled"), {"cancelled": (10, 1)}),
    "the hedge was quicker": (
        Request("r").attempt("cancelled").attempt("succeeded", "hedge"),
        {"hedge": (10, 1)},
    ),
    "the hedge lost": (Request("r").attempt("succeeded").attempt("cancelled", "hedge"), {"hedge": (10, 1)}),
    "the caller left both": (
        Request("r").attempt("cancelled").attempt("cancelled", "hedge"),
        {"cancelled": (20, 2)},
    ),
    "broken off": (Request("r").attempt("interrupted"), {"interrupted": (10, 1)}),
    "broken off and gone on with": (
        Request("r").attempt("interrupted").attempt("succeeded", "continuation"),
        {},
    ),
    "broken off twice": (
        Request("r").attempt("interrupted").attempt("interrupted", "continuation"),
        {"interrupted": (20, 2)},
    ),
    "a cheap answer was enough": (Request("r").attempt("succeeded", "cascade"), {}),
    "a cheap answer was rejected": (
        Request("r").attempt("succeeded", "cascade").attempt("succeeded", "escalation"),
        {"rejected": (10, 1)},
    ),
    "mirrored": (
        Request("r").attempt("succeeded").attempt("succeeded", "mirror", key_id="key_2"),
        {"mirror": (10, 1)},
    ),
    "cut at its cap": (Request("r").attempt("succeeded", cut="length"), {"cut": (10, 1)}),
    "cut by a budget": (Request("r").attempt("cancelled", cut="budget"), {"cut": (10, 1)}),
    "nobody said": (
        Request("r").attempt("unknown", kind="expire", unconfirmed_nanos=10),
        {"unconfirmed": (10, 1)},
    ),
    "somebody said so later": (
        Request("r")
        .attempt("unknown", kind="expire", unconfirmed_nanos=10)
        .attempt("succeeded", number=1, kind="correct", cost_nanos=-4, unconfirmed_nanos=-10),
        {},
    ),
    "somebody said later that it failed": (
        Request("r")
        .attempt("unknown", kind="expire", unconfirmed_nanos=10)
        .attempt("failed", number=1, kind="correct", cost_nanos=-4, unconfirmed_nanos=-10),
        {"failed": (6, 1)},
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_waste_is_told_by_kind(database: Database, case: str) -> None:
    request, expected = CASES[case]
    await ledger_of(database, request, Request("other").attempt("succeeded"))
    assert await kinds(database) == expected


async def test_a_scope_hides_attempts_and_not_what_became_of_them(database: Database) -> None:
    """Asked for the losing model alone, the winner is out of scope; that it won is still known."""
    race = (
        Request("r").attempt("cancelled", model="slow/one").attempt("succeeded", "hedge", model="quick/one")
    )
    await ledger_of(database, race)
    slow = Breakdown(Scope("org_1", model_pattern="slow/*"), SPAN, (Grouping.PROVIDER, Grouping.TEAM))
    (row,) = await QueryWaste(PostgresReports(database))(slow)
    assert (row.kind, row.group) == ("hedge", ("slow", "team_1"))
    assert await kinds(database, Breakdown(Scope("org_1", model_pattern="quick/*"), SPAN)) == {}
    assert await kinds(database, Breakdown(Scope("org_2"), SPAN)) == {}


async def test_too_many_rows_are_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await ledger_of(
        database, *(Request(f"r{n}").attempt("failed", user_id=f"u{n}", project_id="p") for n in range(4))
    )
    monkeypatch.setattr(waste, "REPORT_ROWS_MAX", 3)
    with pytest.raises(InvalidRequest):
        await QueryWaste(PostgresReports(database))(Breakdown(Scope("org_1"), SPAN, (Grouping.USER,)))


examples = itertools.count()
outcomes = st.sampled_from(["succeeded", "failed", "cancelled", "interrupted", "unknown"])
purposes = st.sampled_from(
    ["", "fallback", "hedge", "cascade", "escalation", "continuation", "mirror", "retry"]
)
attempts = st.lists(
    st.tuples(outcomes, purposes, st.integers(0, 10**9), st.booleans()), min_size=1, max_size=4
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(attempts, min_size=1, max_size=6))
async def test_kinds_never_add_up_to_more_than_was_spent(
    database: Database, requests: list[list[tuple[str, str, int, bool]]]
) -> None:
    org = f"org_of_example_{next(examples)}"
    entries: list[UsageEntry] = []
    for number, made in enumerate(requests):
        for attempt, (outcome, purpose, cost, unconfirmed) in enumerate(made, 1):
            entries.append(
                usage(
                    len(entries) + 1,
                    organisation_id=org,
                    request_id=f"r{number}",
                    attempt=attempt,
                    outcome=outcome,
                    cost_nanos=cost,
                    unconfirmed_nanos=cost if unconfirmed else 0,
                    dimensions={"purpose": purpose} if purpose else {},
                )
            )
    store = PostgresUsage(database)
    assert await store.store(page(*entries))
    found = await QueryWaste(PostgresReports(database))(Breakdown(Scope(org), SPAN, (Grouping.OUTCOME,)))
    spent = await QueryUsage(store)(UsageQuery(Scope(org), SPAN), "")
    assert sum(row.cost_nanos for row in found) <= spent.totals.cost_nanos
    assert sum(row.attempts for row in found) <= spent.totals.attempts
    failed = [entry for entry in entries if entry.outcome == "failed" and entry.cost_nanos]
    assert sum(row.attempts for row in found if row.group == ("failed",)) == len(failed)
