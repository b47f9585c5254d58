"""Protobuf to domain and back."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from services.access import AdminCaller
from services.analytics.domain.decisions import DecisionRecord, Snapshot
from services.analytics.domain.queries import (
    DECISIONS_DEFAULT,
    DECISIONS_MAX,
    ROWS_DEFAULT,
    ROWS_MAX,
    DecisionQuery,
    Granularity,
    Grouping,
    Scope,
    TimeRange,
    UsageQuery,
)
from services.analytics.domain.usage import LedgerPage, UsageEntry, UsageRow, UsageTotals
from services.analytics.use_cases.usage import UsageAnswer
from services.kernel.errors import FieldViolation, InvalidRequest
from services.kernel.pages import page_rows
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.budget.v1 import ledger_pb2 as ledger
from turnpike.common.v1 import error_pb2 as errors
from turnpike.common.v1.money_pb2 import Money
from turnpike.router.v1.decision_pb2 import Candidate, CandidateTable, Decision, Estimates

SNAPSHOT_BYTES_MAX = 4 * 1024 * 1024  # a board of a few thousand endpoints has some hundred kilobytes

Key = TypeVar("Key")
Value = TypeVar("Value")

_KINDS = {
    ledger.LEDGER_ENTRY_KIND_COMMIT: "commit",
    ledger.LEDGER_ENTRY_KIND_RELEASE: "release",
    ledger.LEDGER_ENTRY_KIND_EXPIRE: "expire",
    ledger.LEDGER_ENTRY_KIND_CORRECT: "correct",
    ledger.LEDGER_ENTRY_KIND_RERATE: "rerate",
    ledger.LEDGER_ENTRY_KIND_ADJUST: "adjust",
}
_GRANULARITIES = {
    pb.GRANULARITY_UNSPECIFIED: Granularity.WHOLE,
    pb.GRANULARITY_MINUTE: Granularity.MINUTE,
    pb.GRANULARITY_HOUR: Granularity.HOUR,
    pb.GRANULARITY_DAY: Granularity.DAY,
    pb.GRANULARITY_MONTH: Granularity.MONTH,
}
_GROUPINGS = {
    pb.GROUPING_ORGANISATION: Grouping.ORGANISATION,
    pb.GROUPING_TEAM: Grouping.TEAM,
    pb.GROUPING_PROJECT: Grouping.PROJECT,
    pb.GROUPING_KEY: Grouping.KEY,
    pb.GROUPING_USER: Grouping.USER,
    pb.GROUPING_MODEL: Grouping.MODEL,
    pb.GROUPING_PROVIDER: Grouping.PROVIDER,
    pb.GROUPING_DIMENSION: Grouping.DIMENSION,
    pb.GROUPING_OUTCOME: Grouping.OUTCOME,
}
_BREAKERS = ("closed", "half_open", "open")


def from_pb_ledger(entries: list[ledger.LedgerEntry]) -> list[LedgerPage]:
    """Pages of consecutive entries, one per organisation."""
    by_organisation: dict[str, list[ledger.LedgerEntry]] = {}
    for entry in entries:
        by_organisation.setdefault(entry.organisation_id, []).append(entry)
    return [
        LedgerPage(
            organisation_id=organisation_id,
            after_sequence=part[0].sequence - 1,
            last_sequence=part[-1].sequence,
            last_occurred_at=part[-1].occurred_at.ToDatetime(UTC),
            usage=tuple(from_pb_entry(entry) for entry in part if entry.kind in _KINDS),
        )
        for organisation_id, part in by_organisation.items()
    ]


def from_pb_entry(entry: ledger.LedgerEntry) -> UsageEntry:
    """The usage that a settlement says."""
    kind = _KINDS[entry.kind]
    usage, cost = entry.usage, entry.amount.nanos
    unconfirmed = cost if entry.unconfirmed else 0
    if kind == "release":
        cost = unconfirmed = 0  # its amount is what was given back
    elif kind == "correct":
        unconfirmed = -entry.replaces.nanos
    return UsageEntry(
        organisation_id=entry.organisation_id,
        sequence=entry.sequence,
        occurred_at=entry.occurred_at.ToDatetime(UTC),
        kind=kind,
        request_id=_storable(entry.key.request_id),
        attempt=entry.key.attempt,
        team_id=_storable(entry.principal.team_id),
        project_id=_storable(entry.principal.project_id),
        key_id=_storable(entry.principal.key_id),
        user_id=_storable(entry.principal.user_id),
        model=_storable(entry.model),
        outcome=_storable(entry.outcome.lower()) or ("released" if kind in ("release", "correct") else ""),
        cost_nanos=cost,
        overage_nanos=entry.overage.nanos,
        unconfirmed_nanos=unconfirmed,
        input_tokens=usage.input_tokens if usage.HasField("input_tokens") else None,
        output_tokens=usage.output_tokens if usage.HasField("output_tokens") else None,
        cache_read_tokens=usage.cache_read_tokens if usage.HasField("cache_read_tokens") else None,
        reasoning_tokens=usage.reasoning_tokens if usage.HasField("reasoning_tokens") else None,
        endpoint_id=_storable(entry.endpoint_id),
        dimensions={_storable(name): _storable(value) for name, value in entry.dimensions.items()},
    )


def _storable(text: str) -> str:
    """Postgres keeps no U+0000, and a ledger that has one is never changed: it reads as a character nobody knows."""
    return text.replace("\0", "\ufffd")


def from_pb_decision(decision: Decision) -> DecisionRecord:
    """A record as the store keeps it."""
    principal = decision.principal
    attempts = [attempt for attempt in decision.attempts if attempt.purpose != "mirror"]
    belief = max(decision.task_belief, key=lambda part: part.probability, default=None)
    return DecisionRecord(
        organisation_id=principal.organisation_id,
        decision_id=decision.decision_id,
        request_id=decision.request_id,
        decided_at=decision.decided_at.ToDatetime(UTC),
        team_id=principal.team_id,
        project_id=principal.project_id,
        key_id=principal.key_id,
        user_id=principal.user_id,
        model=attempts[-1].model if attempts else "",
        task="" if belief is None else belief.task,
        failed=decision.failure != errors.ERROR_REASON_UNSPECIFIED,
        attempts=len(attempts),
        record=decision.SerializeToString(),
    )


def to_pb_decision(record: bytes) -> Decision:
    """A kept record for people: its candidates as rows."""
    decision = Decision.FromString(record)
    if decision.HasField("candidate_table"):
        decision.candidates.extend(_rows(decision.candidate_table))
        decision.ClearField("candidate_table")
    return decision


def to_pb_record(record: bytes, snapshots: Sequence[Snapshot]) -> pb.GetRecordResponse:
    """A kept record for a router, with its snapshots."""
    return pb.GetRecordResponse(
        decision=to_pb_decision(record),
        packed=Decision.FromString(record),
        snapshots=[
            pb.DecisionSnapshot(snapshot_id=each.snapshot_id, content=each.content) for each in snapshots
        ],
    )


def snapshot_ids(record: bytes) -> list[bytes]:
    """The names of what a kept record was made from."""
    inputs = Decision.FromString(record).inputs
    named = (inputs.board, inputs.weather, inputs.terms, inputs.estimates, inputs.outcomes)
    return [name for name in named if name]


def from_pb_snapshots(snapshots: Iterable[pb.DecisionSnapshot]) -> list[Snapshot]:
    """Snapshots as the store keeps them; what is no name or too large is left out."""
    return [
        Snapshot(each.snapshot_id, each.content)
        for each in snapshots
        if each.snapshot_id and len(each.content) <= SNAPSHOT_BYTES_MAX
    ]


def _rows(table: CandidateTable) -> Iterator[Candidate]:
    for place, model in enumerate(table.models):
        row = Candidate(
            model=model,
            endpoint_id=table.endpoint_ids[place],
            utility=table.utility[place],
            breaker=_BREAKERS[table.breakers[place]],
        )
        if table.excluded_by:
            row.excluded_by = table.excluded_by[place]
            row.excluded_reason = table.excluded_reasons[place]
        if place < len(table.worst_case_nanos):
            row.worst_case.nanos = table.worst_case_nanos[place]
        _fill_estimates(row.estimates, table, place)
        yield row


def _fill_estimates(estimates: Estimates, table: CandidateTable, place: int) -> None:
    if not math.isnan(table.quality[place]):
        estimates.quality = table.quality[place]
        estimates.quality_low = table.quality_low[place]
        estimates.quality_high = table.quality_high[place]
        if table.shipped_quality:
            estimates.shipped_quality = table.shipped_quality[place]
    if not math.isnan(table.cost_nanos[place]):
        estimates.cost.nanos = round(table.cost_nanos[place])
    for duration, seconds in (
        (estimates.time_to_first_token, table.time_to_first_token_s[place]),
        (estimates.duration, table.duration_s[place]),
    ):
        if math.isfinite(seconds):
            duration.FromTimedelta(timedelta(seconds=max(0.0, seconds)))
    estimates.output_tokens = table.output_tokens[place]
    estimates.failure_rate = table.failure_rate[place]


def from_pb_scope(scope: pb.UsageScope, admin: AdminCaller) -> Scope:
    """Whose usage is asked for, within what the admin may see. Raises InvalidRequest for what no text can be."""
    check_texts("scope", *(getattr(scope, name) for name in _SCOPES_TEXTS))
    check_texts("scope.dimensions", *scope.dimensions, *scope.dimensions.values())
    return Scope(
        organisation_id=admin.organisation(scope.organisation_id),
        team_id=admin.team(scope.team_id),
        project_id=scope.project_id,
        key_id=scope.key_id,
        user_id=scope.user_id,
        model_pattern=scope.model_pattern,
        dimensions=dict(scope.dimensions),
    )


_SCOPES_TEXTS = ("organisation_id", "team_id", "project_id", "key_id", "user_id", "model_pattern")


def check_texts(field: str, *texts: str) -> None:
    """Raises InvalidRequest for a text that Postgres cannot compare."""
    if any("\0" in text for text in texts):
        raise InvalidRequest.of(field, "has a character U+0000")


def from_pb_range(field: str, span: pb.TimeRange, now: datetime) -> TimeRange:
    """When; a missing end means now."""
    if not span.HasField("from"):
        raise InvalidRequest.of(f"{field}.from", "is required")
    end = from_pb_time(f"{field}.until", span.until) if span.HasField("until") else now
    return TimeRange(from_pb_time(f"{field}.from", getattr(span, "from")), end)


def from_pb_usage_query(request: pb.QueryUsageRequest, admin: AdminCaller, now: datetime) -> UsageQuery:
    """The question of a QueryUsage call."""
    check_texts("dimension", request.dimension)
    return UsageQuery(
        scope=from_pb_scope(request.scope, admin),
        range=from_pb_range("range", request.range, now),
        granularity=known(_GRANULARITIES, request.granularity, "granularity"),
        group_by=from_pb_groupings(request.group_by),
        dimension=request.dimension,
        time_zone=request.time_zone or "UTC",
        rows=page_rows(request.page_size, default=ROWS_DEFAULT, most=ROWS_MAX),
    )


def from_pb_decision_query(
    request: pb.ListDecisionsRequest, admin: AdminCaller, now: datetime
) -> DecisionQuery:
    """The question of a ListDecisions call."""
    check_texts("task", request.task)
    return DecisionQuery(
        scope=from_pb_scope(request.scope, admin),
        range=from_pb_range("range", request.range, now) if request.HasField("range") else None,
        failed_only=request.failed_only,
        fallback_only=request.fallback_only,
        task=request.task,
        rows=page_rows(request.page_size, default=DECISIONS_DEFAULT, most=DECISIONS_MAX),
    )


def to_pb_usage(answer: UsageAnswer, organisation_id: str) -> pb.QueryUsageResponse:
    """The answer of a QueryUsage call."""
    read = {} if answer.freshness is None else {organisation_id: answer.freshness.sequence}
    return pb.QueryUsageResponse(
        rows=[to_pb_row(row) for row in answer.rows],
        totals=to_pb_totals(answer.totals),
        next_page_token=answer.next_page_token,
        ledger_sequences=read,
    )


def to_pb_row(row: UsageRow) -> pb.UsageRow:
    """One row of sums."""
    return pb.UsageRow(start=to_pb_time(row.start), group=row.group, totals=to_pb_totals(row.totals))


def to_pb_totals(totals: UsageTotals) -> pb.UsageTotals:
    """Sums."""
    return pb.UsageTotals(
        cost=to_pb_money(totals.cost_nanos),
        attempts=totals.attempts,
        requests=totals.requests,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        cache_read_tokens=totals.cache_read_tokens,
        reasoning_tokens=totals.reasoning_tokens,
        unconfirmed=to_pb_money(totals.unconfirmed_nanos),
        overage=to_pb_money(totals.overage_nanos),
        failed=totals.failed,
    )


def to_pb_time(time: datetime) -> Timestamp:
    """A moment."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def to_pb_money(nanos: int) -> Money:
    """An amount."""
    return Money(nanos=nanos, currency_code="USD")


def from_pb_groupings(groupings: Iterable["pb.Grouping.ValueType"]) -> tuple[Grouping, ...]:
    """What rows are told apart by."""
    return tuple(known(_GROUPINGS, grouping, "group_by") for grouping in groupings)


def from_pb_time(field: str, stamp: Timestamp) -> datetime:
    """A moment; raises InvalidRequest for one that is none."""
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest.of(field, "is not a time between the years 1 and 9999") from None


def known(words: Mapping[Key, Value], value: Key, field: str) -> Value:
    """What a value of an enum means; raises InvalidRequest for one this version does not know."""
    if value not in words:
        raise InvalidRequest((FieldViolation(field, f"{value} is not a value this version knows"),))
    return words[value]
