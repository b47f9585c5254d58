"""What a ledger entry says about usage."""

from datetime import UTC, datetime

import pytest

from services.analytics.convert import from_pb_decision, from_pb_entry, from_pb_ledger
from turnpike.budget.v1 import ledger_pb2 as ledger
from turnpike.common.v1 import error_pb2
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.principal_pb2 import AttemptKey, Principal
from turnpike.common.v1.usage_pb2 import Usage
from turnpike.router.v1 import decision_pb2


def entry(
    kind: str, sequence: int = 1, organisation_id: str = "org_1", **fields: object
) -> ledger.LedgerEntry:
    made = ledger.LedgerEntry(
        organisation_id=organisation_id,
        sequence=sequence,
        kind=ledger.LedgerEntryKind.Value(f"LEDGER_ENTRY_KIND_{kind}"),
        key=AttemptKey(organisation_id=organisation_id, request_id="r", attempt=1),
        principal=Principal(organisation_id=organisation_id, team_id="t", project_id="p", key_id="k"),
        model="openai/gpt-4o",
        **fields,  # type: ignore[arg-type]
    )
    made.occurred_at.FromDatetime(datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC))
    return made


def test_a_commit_says_cost_and_counts_and_unknown_stays_unknown() -> None:
    found = from_pb_entry(
        entry(
            "COMMIT",
            amount=Money(nanos=70),
            overage=Money(nanos=20),
            usage=Usage(input_tokens=0),
            outcome="SUCCEEDED",
        )
    )
    assert (found.cost_nanos, found.overage_nanos, found.unconfirmed_nanos) == (70, 20, 0)
    assert (found.input_tokens, found.output_tokens) == (0, None)
    assert (found.kind, found.outcome) == ("commit", "succeeded")
    assert found.occurred_at == datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def test_no_text_of_the_ledger_is_one_that_postgres_cannot_keep() -> None:
    found = from_pb_entry(entry("COMMIT", endpoint_id="e\0", dimensions={"x\0": "a\0b"}))
    assert (found.endpoint_id, found.dimensions) == ("e\ufffd", {"x\ufffd": "a\ufffdb"})


def test_what_is_released_cost_nothing() -> None:
    found = from_pb_entry(entry("RELEASE", amount=Money(nanos=70)))
    assert (found.cost_nanos, found.outcome) == (0, "released")


def test_an_expiry_is_unconfirmed_and_its_correction_takes_that_back() -> None:
    expired = from_pb_entry(entry("EXPIRE", amount=Money(nanos=100), unconfirmed=True, outcome="UNKNOWN"))
    corrected = from_pb_entry(entry("CORRECT", 2, amount=Money(nanos=-60), replaces=Money(nanos=100)))
    assert (expired.cost_nanos, expired.unconfirmed_nanos) == (100, 100)
    assert expired.cost_nanos + corrected.cost_nanos == 40
    assert expired.unconfirmed_nanos + corrected.unconfirmed_nanos == 0


def test_entries_become_pages_by_organisation_and_movements_without_charge_only_move_the_position() -> None:
    pages = from_pb_ledger(
        [
            entry("HOLD", 5),
            entry("COMMIT", 6, amount=Money(nanos=1)),
            entry("LIMIT", 1, "org_2"),
            entry("HOLD", 7),
        ]
    )
    by_organisation = {page.organisation_id: page for page in pages}
    assert by_organisation["org_1"].after_sequence == 4
    assert by_organisation["org_1"].last_sequence == 7
    assert [usage.sequence for usage in by_organisation["org_1"].usage] == [6]
    assert by_organisation["org_2"].usage == ()


@pytest.mark.parametrize("failed", [True, False])
def test_a_decision_is_kept_whole_and_found_by_what_it_says(failed: bool) -> None:
    decision = decision_pb2.Decision(
        decision_id="dec_1",
        request_id="r",
        principal=Principal(organisation_id="org_1", team_id="t"),
        task_belief=[
            decision_pb2.TaskProbability(task="chat", probability=0.3),
            decision_pb2.TaskProbability(task="code", probability=0.7),
        ],
        attempts=[decision_pb2.AttemptRecord(model="a/x"), decision_pb2.AttemptRecord(model="b/y")],
        failure=error_pb2.ERROR_REASON_BUDGET_EXHAUSTED if failed else error_pb2.ERROR_REASON_UNSPECIFIED,
    )
    record = from_pb_decision(decision)
    assert (record.task, record.model, record.attempts, record.failed) == ("code", "b/y", 2, failed)
    assert decision_pb2.Decision.FromString(record.record) == decision
