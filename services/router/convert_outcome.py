"""Answers and errors on the wire."""

from google.protobuf.message import Message

from services.chassis import status
from services.router.convert_budget import fill_pb_duration, fill_pb_timestamp, reason_number
from services.router.convert_decision import fill_pb_attempt
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
from services.router.records import DecisionRecord, Room
from services.router.use_cases import extending
from services.router.use_cases.asking import Finished, Piece, Started
from services.router.use_cases.generate import Run
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import router_pb2 as pb

BUDGETS_TOLD_MAX = 3


class UnaryForm:
    """An answer as one message."""

    def piece(self, run: Run, piece: Piece) -> None:
        """There is none."""

    def last(self, run: Run, finished: Finished) -> pb.GenerateResponse:
        """The whole answer."""
        response = pb.GenerateResponse()
        response.choices.extend(finished.answer.choices)
        fill_pb_outcome(response.outcome, run, finished)
        return response

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

    def is_whole(self, last: pb.GenerateResponse) -> bool:
        """True if one model gave the answer to its own end."""
        return _is_whole(last.outcome)


class StreamForm:
    """An answer as it comes."""

    def piece(self, run: Run, piece: Piece) -> pb.StreamGenerateResponse:
        """The message of a piece."""
        if not isinstance(piece, Started):
            return pb.StreamGenerateResponse(delta=piece)
        record = run.record
        assert record is not None
        return pb.StreamGenerateResponse(
            started=pb.GenerationStarted(
                request_id=record.request_id,
                decision_id=record.decision_id,
                model=piece.model,
                attempt=piece.attempt,
                trace_id=record.trace_id,
                continues=piece.continues,
            )
        )

    def last(self, run: Run, finished: Finished) -> pb.StreamGenerateResponse:
        """What the answer took."""
        response = pb.StreamGenerateResponse()
        fill_pb_outcome(response.finished, run, finished)
        return response

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

    def is_whole(self, last: pb.StreamGenerateResponse) -> bool:
        """True if one model gave the answer to its own end."""
        return _is_whole(last.finished)


def _is_whole(outcome: pb.Outcome) -> bool:
    cut = reason_number(extending.REASON)
    return not outcome.continued and all(attempt.failure != cut for attempt in outcome.attempts)


def _given_again(outcome: pb.Outcome, record: DecisionRecord) -> None:
    outcome.request_id = record.request_id
    outcome.decision_id = record.decision_id
    outcome.reason = "The project's cache had the answer; nothing was called and nothing is charged."
    outcome.from_cache = True
    outcome.trace_id = record.trace_id
    outcome.cost.nanos = 0
    outcome.duration.Clear()
    outcome.ClearField("attempts")
    outcome.ClearField("time_to_first_token")
    outcome.ClearField("budgets")


def fill_pb_outcome(outcome: pb.Outcome, run: Run, finished: Finished) -> None:
    """What the answer took."""
    record = run.record
    assert record is not None
    answered = finished.attempt
    outcome.request_id = record.request_id
    outcome.decision_id = record.decision_id
    outcome.model = answered.model
    outcome.vendor_model = finished.answer.vendor_model
    outcome.endpoint_id = answered.endpoint_id
    for attempt in record.attempts:
        fill_pb_attempt(outcome.attempts.add(), attempt)
    outcome.reason = record.reason
    outcome.dropped_parameters.extend(finished.answer.dropped_parameters)
    outcome.max_output_tokens = finished.output_cap
    outcome.trace_id = record.trace_id
    for room in record.rooms[:BUDGETS_TOLD_MAX]:
        _fill_remaining(outcome.budgets.add(), room)
    fill_pb_duration(outcome.duration, run.elapsed_s)
    outcome.continued = any(
        attempt.purpose == "continuation" and attempt.ttft_s for attempt in record.attempts
    )
    if answered.usage is not None:
        outcome.usage.CopyFrom(answered.usage)
    cost_nanos = record.cost_nanos
    if cost_nanos is not None:
        outcome.cost.nanos = cost_nanos
    if record.ttft_s is not None:
        fill_pb_duration(outcome.time_to_first_token, record.ttft_s)


def _fill_remaining(message: pb.BudgetRemaining, room: Room) -> None:
    message.budget_id = room.budget_id
    message.display_name = room.display_name
    message.unit = error_pb2.BudgetUnit.ValueType(room.unit)
    message.limit = room.limit
    message.left = room.left
    if room.resets_at_s is not None:
        fill_pb_timestamp(message.resets_at, room.resets_at_s)


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
        fill_pb_timestamp(message.resets_at, item.resets_at.timestamp())
    return message
