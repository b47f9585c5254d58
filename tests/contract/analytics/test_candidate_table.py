"""The router writes candidates by columns, analytics gives them back as rows: the rows that the router itself shows."""

from datetime import UTC, datetime

import pytest

from services.analytics.convert import from_pb_decision, to_pb_decision
from services.kernel.ids import DecisionId
from services.router import convert_decision as router
from services.router.domain.access import Caller
from services.router.domain.catalogue import Capability
from services.router.domain.conditions import BreakerState, Condition
from services.router.domain.features import Features
from services.router.domain.plan import decide
from services.router.records import DecisionRecord
from tests.support.boards import BASIC, board, model, price, question
from turnpike.router.v1 import decision_pb2 as pb

NEEDS_TOOLS = Features(input_tokens_bound=400, input_tokens_estimate=100, needs=Capability.TOOLS)


def record() -> DecisionRecord:
    """Five models: two that may be tried, one unable, one whose breaker is open, one of unknown quality."""
    able = BASIC | Capability.TOOLS
    on = board(
        model("a/good", capabilities=able, quality_priors={"general": 0.9}),
        model("a/cheap", capabilities=able, quality_priors={"general": 0.5}),
        model("b/unable"),
        model("b/broken", capabilities=able),
        model("c/unknown", capabilities=able, quality_priors={}),
        prices={"a/cheap": price("a/cheap", 0.1, 0.2)},
    )
    broken = {"ep-b/broken": Condition(breaker=BreakerState.OPEN)}
    caller = Caller("org_1", "team_1", "proj_1", "key_1", "")
    return DecisionRecord(
        decision_id=DecisionId.new(),
        request_id="r",
        caller=caller,
        decided_at=datetime(2026, 3, 1, tzinfo=UTC),
        decision=decide(question(on, features=NEEDS_TOOLS, conditions=broken)),
        streamed=False,
        metadata={"team": "search"},
    )


def test_columns_become_the_rows_that_the_router_shows() -> None:
    decided = record()
    kept = from_pb_decision(router.to_pb_record(decided))
    given, shown = to_pb_decision(kept.record), router.to_pb_decision(decided)
    assert not given.HasField("candidate_table")
    assert len(shown.candidates) == 5
    assert {row.excluded_by for row in shown.candidates} > {"", "capability.tools"}
    for mine, theirs in zip(given.candidates, shown.candidates, strict=True):
        assert _words(mine) == _words(theirs)
        assert _numbers(mine) == pytest.approx(_numbers(theirs), rel=1e-5, abs=1e-6)
        if mine.model in given.plan:
            assert mine.worst_case == theirs.worst_case
    for message in (given, shown):
        message.ClearField("candidates")
    assert given == shown


def _words(row: pb.Candidate) -> tuple[object, ...]:
    known = (row.estimates.HasField("quality"), row.estimates.HasField("cost"))
    return (row.model, row.endpoint_id, row.excluded_by, row.excluded_reason, row.breaker, known)


def _numbers(row: pb.Candidate) -> list[float]:
    found = row.estimates
    return [
        row.utility,
        found.quality,
        found.quality_low,
        found.quality_high,
        found.cost.nanos,
        found.time_to_first_token.ToTimedelta().total_seconds(),
        found.duration.ToTimedelta().total_seconds(),
        found.output_tokens,
        found.failure_rate,
    ]
