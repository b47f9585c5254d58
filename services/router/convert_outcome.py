"""Answers and errors on the wire."""

from google.protobuf.message import Message

from services.chassis import status
from services.router.convert_budget import reason_number
from services.router.convert_decision import to_pb_attempt, to_pb_duration, to_pb_timestamp
from services.router.domain import explain
from services.router.errors import (
    AllAttemptsFailed,
    BudgetRefused,
    Excluded,
    FailedAttempt,
    NoCandidate,
    RequestRejected,
    Shortfall,
    StreamInterrupted,
)
from services.router.records import DecisionRecord
from services.router.use_cases.asking import Event, Finished, Started
from services.router.use_cases.generate import Run
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import router_pb2 as pb

BUDGETS_TOLD_MAX = 3


class UnaryForm:
    """An answer as one message."""

    def part_of(self, run: Run, event: Event) -> pb.GenerateResponse | None:
        """The whole answer, of the last event."""
        if not isinstance(event, Finished):
            return None
        return pb.GenerateResponse(choices=event.answer.choices, outcome=to_pb_outcome(run, event))

    def encode(self, part: pb.GenerateResponse) -> bytes:
        """The message as bytes."""
        return part.SerializeToString()

    def decode(self, content: bytes) -> pb.GenerateResponse:
        """The message of such bytes."""
        return pb.GenerateResponse.FromString(content)

    def from_cache(self, part: pb.GenerateResponse, record: DecisionRecord) -> pb.GenerateResponse:
        """The answer as it is given again."""
        _given_again(part.outcome, record)
        return part

    def cost_nanos(self, last: pb.GenerateResponse) -> int | None:
        """What the answer cost."""
        return last.outcome.cost.nanos if last.outcome.HasField("cost") else None


class StreamForm:
    """An answer as it comes."""

    def part_of(self, run: Run, event: Event) -> pb.StreamGenerateResponse:
        """The message of an event."""
        if isinstance(event, Started):
            record = run.record
            assert record is not None
            return pb.StreamGenerateResponse(
                started=pb.GenerationStarted(
                    request_id=record.request_id,
                    decision_id=record.decision_id,
                    model=event.model,
                    attempt=event.attempt,
                    trace_id=record.trace_id,
                    continues=event.continues,
                )
            )
        if isinstance(event, Finished):
            return pb.StreamGenerateResponse(finished=to_pb_outcome(run, event))
        return pb.StreamGenerateResponse(delta=event)

    def encode(self, part: pb.StreamGenerateResponse) -> bytes:
        """The message as bytes."""
        return part.SerializeToString()

    def decode(self, content: bytes) -> pb.StreamGenerateResponse:
        """The message of such bytes."""
        return pb.StreamGenerateResponse.FromString(content)

    def from_cache(
        self, part: pb.StreamGenerateResponse, record: DecisionRecord
    ) -> pb.StreamGenerateResponse:
        """The message as it is given again."""
        if part.HasField("started"):
            part.started.request_id = record.request_id
            part.started.decision_id = record.decision_id
        elif part.HasField("finished"):
            _given_again(part.finished, record)
        return part

    def cost_nanos(self, last: pb.StreamGenerateResponse) -> int | None:
        """What the answer cost."""
        return last.finished.cost.nanos if last.finished.HasField("cost") else None


def _given_again(outcome: pb.Outcome, record: DecisionRecord) -> None:
    outcome.request_id = record.request_id
    outcome.decision_id = record.decision_id
    outcome.reason = "The project's cache had the answer; nothing was called and nothing is charged."
    outcome.from_cache = True
    outcome.cost.nanos = 0
    outcome.duration.Clear()
    outcome.ClearField("attempts")
    outcome.ClearField("time_to_first_token")
    outcome.ClearField("budgets")


def to_pb_outcome(run: Run, finished: Finished) -> pb.Outcome:
    """What the answer took."""
    record = run.record
    assert record is not None
    answered = finished.attempt
    outcome = pb.Outcome(
        request_id=record.request_id,
        decision_id=record.decision_id,
        model=answered.model,
        vendor_model=finished.answer.vendor_model,
        endpoint_id=answered.endpoint_id,
        attempts=[to_pb_attempt(attempt) for attempt in record.attempts],
        reason=explain.reason(record.decision),
        dropped_parameters=finished.answer.dropped_parameters,
        max_output_tokens=finished.output_cap,
        trace_id=record.trace_id,
        budgets=[
            pb.BudgetRemaining(
                budget_id=room.budget_id,
                display_name=room.display_name,
                unit=error_pb2.BudgetUnit.ValueType(room.unit),
                limit=room.limit,
                left=room.left,
                resets_at=to_pb_timestamp(room.resets_at_s) if room.resets_at_s is not None else None,
            )
            for room in record.rooms[:BUDGETS_TOLD_MAX]
        ],
        duration=to_pb_duration(run.elapsed_s),
        continued=any(attempt.purpose == "continuation" and attempt.ttft_s for attempt in record.attempts),
    )
    if answered.usage is not None:
        outcome.usage.CopyFrom(answered.usage)
    if record.cost_nanos is not None:
        outcome.cost.nanos = record.cost_nanos
    if record.ttft_s is not None:
        outcome.time_to_first_token.CopyFrom(to_pb_duration(record.ttft_s))
    return outcome


# ---- details of errors -----------------------------------------------------------------------------------------------


@status.details.register
def _no_candidate(error: NoCandidate) -> list[Message]:
    return [_routing_failure(error.excluded, error.max_output_tokens_fitting, error.decision_id)]


@status.details.register
def _budget_refused(error: BudgetRefused) -> list[Message]:
    found: list[Message] = []
    if error.shortfalls:
        found.append(error_pb2.BudgetFailure(shortfalls=[_shortfall(item) for item in error.shortfalls]))
    if error.excluded or error.max_output_tokens_fitting is not None:
        found.append(_routing_failure(error.excluded, error.max_output_tokens_fitting, error.decision_id))
    return found


@status.details.register
def _all_attempts_failed(error: AllAttemptsFailed) -> list[Message]:
    return [_attempt_failures(error.attempts)]


@status.details.register
def _request_rejected(error: RequestRejected) -> list[Message]:
    return [_attempt_failures(error.attempts)]


@status.details.register
def _stream_interrupted(error: StreamInterrupted) -> list[Message]:
    return [_attempt_failures(error.attempts)]


def _routing_failure(
    excluded: tuple[Excluded, ...], fitting: int | None, decision_id: str
) -> error_pb2.RoutingFailure:
    message = error_pb2.RoutingFailure(
        excluded=[
            error_pb2.ExcludedCandidate(model=item.model, rule=item.rule, message=item.finding)
            for item in excluded
        ],
        decision_id=decision_id,
    )
    if fitting is not None:
        message.max_output_tokens_fitting = fitting
    return message


def _attempt_failures(attempts: tuple[FailedAttempt, ...]) -> error_pb2.AttemptFailures:
    message = error_pb2.AttemptFailures()
    for item in attempts:
        failure = message.attempts.add(
            attempt=item.attempt,
            model=item.model,
            endpoint_id=item.endpoint_id,
            reason=reason_number(item.reason),
            message=item.message,
        )
        if item.cost_nanos is not None:
            failure.cost.nanos = item.cost_nanos
    return message


def _shortfall(item: Shortfall) -> error_pb2.BudgetShortfall:
    message = error_pb2.BudgetShortfall(
        budget_id=item.budget_id,
        display_name=item.display_name,
        subject=item.subject,
        model_scope=item.model_scope,
        unit=error_pb2.BudgetUnit.ValueType(item.unit),
        limit=item.limit,
        spent=item.spent,
        held=item.held,
        overage=item.overage,
        asked=item.asked,
        left=item.left,
    )
    if item.resets_at is not None:
        message.resets_at.CopyFrom(to_pb_timestamp(item.resets_at.timestamp()))
    return message
