"""Decisions and their attempts on the wire."""

import math

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.router.convert_budget import (
    fill_pb_duration,
    fill_pb_map,
    fill_pb_principal,
    fill_pb_timestamp,
    reason_number,
)
from services.router.convert_inputs import fill_pb_inputs
from services.router.convert_table import fill_pb_belief, fill_pb_table, order_of
from services.router.domain import explain
from services.router.domain.cascading import NANOS_PER_USD, Cascade
from services.router.domain.conditions import BreakerState
from services.router.domain.estimates import Basis
from services.router.domain.features import Features, Priority, Strategy
from services.router.domain.plan import ENGINE, Decision, extent_of
from services.router.domain.prices import worst_case
from services.router.domain.snapshots import Taken
from services.router.records import AttemptRecord, DecisionRecord
from turnpike.router.v1 import decision_pb2 as pb

_STRATEGIES = {
    Strategy.COST: pb.STRATEGY_COST,
    Strategy.LATENCY: pb.STRATEGY_LATENCY,
    Strategy.CAPABILITY: pb.STRATEGY_CAPABILITY,
    Strategy.BALANCED: pb.STRATEGY_BALANCED,
    Strategy.PINNED: pb.STRATEGY_PINNED,
    Strategy.WEIGHTED: pb.STRATEGY_WEIGHTED,
    Strategy.LEARNED: pb.STRATEGY_LEARNED,
}
_PRIORITIES = {
    Priority.INTERACTIVE: pb.PRIORITY_INTERACTIVE,
    Priority.BACKGROUND: pb.PRIORITY_BACKGROUND,
}


def to_pb_decision(record: DecisionRecord) -> pb.Decision:
    """The whole record, for people."""
    message = pb.Decision()
    _fill_all_but_candidates(message, record)
    message.candidates.extend(to_pb_candidates(record.decision))
    return message


def fill_pb_record(message: pb.Decision, record: DecisionRecord, taken: Taken | None = None) -> None:
    """The whole record with its candidates by columns, for analytics: made for every request."""
    _fill_all_but_candidates(message, record)
    fill_pb_table(message, record.decision)
    if taken is not None:
        fill_pb_inputs(message.inputs, record.decision.question, taken)


def to_pb_record(record: DecisionRecord, taken: Taken | None = None) -> pb.Decision:
    """The same as a message of its own."""
    message = pb.Decision()
    fill_pb_record(message, record, taken)
    return message


def _fill_all_but_candidates(message: pb.Decision, record: DecisionRecord) -> None:
    decision = record.decision
    message.decision_id = record.decision_id
    message.request_id = record.request_id
    fill_pb_principal(message.principal, record.caller)
    fill_pb_timestamp(message.decided_at, record.decided_at.timestamp())
    _fill_features(message.features, decision.question.features, record)
    fill_pb_decided(message, decision, record.reason)
    for attempt in record.attempts_and_mirror:
        fill_pb_attempt(message.attempts.add(), attempt)
    message.failure = reason_number(record.failure)
    message.replans = record.replans
    message.shadow_plan_first = record.shadow_first
    message.trace_id = record.trace_id
    fill_pb_map(message.metadata, record.metadata)
    message.streamed = record.streamed
    cost_nanos = record.cost_nanos
    if cost_nanos is not None:
        message.cost.nanos = cost_nanos
    if record.duration_s is not None:
        fill_pb_duration(message.duration, record.duration_s)
    if record.ttft_s is not None:
        fill_pb_duration(message.time_to_first_token, record.ttft_s)


def fill_pb_decided(message: pb.Decision, decision: Decision, reason: str) -> None:
    """What follows from the decision alone; convert_replay.py names these fields."""
    question = decision.question
    message.requested_model = question.asked
    fill_pb_belief(message, question.belief)
    message.strategy = _STRATEGIES[question.rules.strategy]
    message.priority = _PRIORITIES[question.rules.priority]
    message.weights.quality = decision.weights.quality
    message.weights.cost = decision.weights.cost
    message.weights.latency = decision.weights.latency
    message.plan.extend([question.board.model_names[planned.index] for planned in decision.plan])
    message.reason = reason
    fill_pb_versions(message.versions, decision)
    message.seed = question.seed
    if decision.plan:
        message.max_output_tokens = decision.plan[0].output_cap
    if decision.propensity is not None:
        message.propensity = decision.propensity
    if decision.cascade is not None:
        message.cascade.CopyFrom(_cascade(decision, decision.cascade))


def _cascade(decision: Decision, cascade: Cascade) -> pb.Cascade:
    names = decision.question.board.model_names
    message = pb.Cascade(
        used=cascade.use,
        reason=cascade.reason,
        check=cascade.check,
        cheap_model=names[cascade.cheap.index] if cascade.cheap is not None else "",
        second_model=names[cascade.second.index] if cascade.second is not None else "",
        strong_model=names[cascade.strong.index],
        escalation=cascade.escalation,
    )
    if cascade.direct is not None and cascade.cascade is not None:
        message.direct_cost.nanos = round(cascade.direct.cost * NANOS_PER_USD)
        message.cascade_cost.nanos = round(cascade.cascade.cost * NANOS_PER_USD)
        message.direct_quality = cascade.direct.quality
        message.cascade_quality = cascade.cascade.quality
    return message


def to_pb_candidates(decision: Decision) -> list[pb.Candidate]:
    """The candidates that were looked at, in their order."""
    question = decision.question
    bases = question.estimator.basis(question.board, question.belief)
    return [_candidate(decision, index, bases[index]) for index in order_of(decision)]


def _candidate(decision: Decision, index: int, basis: Basis) -> pb.Candidate:
    question = decision.question
    candidate = question.board.candidates[index]
    message = pb.Candidate(
        model=candidate.name,
        endpoint_id=candidate.endpoint.endpoint_id,
        estimates=_estimates(decision, index, basis),
        utility=_finite(decision.utility[index]),
        breaker=BreakerState(int(question.weather.breaker[index])).spelling,
    )
    if decision.codes[index]:
        message.excluded_by = explain.rule_name(decision, index)
        message.excluded_reason = explain.finding(decision, index)
    bound, cap = decision.sizes.bound_of(index), decision.sizes.cap_of(index)
    worst = worst_case(candidate.price, extent_of(question.features, bound, cap))
    if worst is not None:
        message.worst_case.nanos = worst
    return message


def _estimates(decision: Decision, index: int, basis: Basis) -> pb.Estimates:
    expectation = decision.expectation
    message = pb.Estimates(
        time_to_first_token=to_pb_duration(float(decision.ttft_s[index])),
        duration=to_pb_duration(float(decision.duration_s[index])),
        output_tokens=expectation.tokens_of(index),
        failure_rate=float(decision.question.weather.failure_rate[index]),
        quality_sources=basis.sources,
        prior_outcomes=basis.prior_outcomes,
        prior_sets=basis.sets,
        own_outcomes=basis.outcomes,
    )
    if not math.isnan(expectation.quality[index]):
        message.quality = float(expectation.quality[index])
        message.quality_low = float(expectation.quality_low[index])
        message.quality_high = float(expectation.quality_high[index])
        if expectation.shipped is not None:
            message.shipped_quality = float(expectation.shipped[index])
    if not math.isnan(decision.cost_nanos[index]):
        message.cost.nanos = round(float(decision.cost_nanos[index]))
    return message


def fill_pb_versions(message: pb.SnapshotVersions, decision: Decision) -> None:
    """What the decision was made from."""
    question = decision.question
    message.engine = ENGINE
    message.catalogue = question.board.catalogue_revision
    message.prices = question.board.price_revision
    message.policy = question.rules.policy
    message.statistics = question.weather.version
    message.prior = question.estimator.version


def _fill_features(message: pb.Features, features: Features, record: DecisionRecord) -> None:
    message.input_tokens_bound = features.input_tokens_bound
    message.input_tokens_estimate = features.input_tokens_estimate
    message.output_tokens_estimate = features.output_tokens_hint or 0
    message.images = features.images
    message.audios = features.audios
    message.files = features.files
    message.tools = features.tools
    message.json_schema = features.json_schema
    message.language = features.language
    message.code = features.code
    message.turns = features.turns
    message.declared_task = record.declared_task
    message.route = record.route
    message.system_prompt_hash = features.system_prompt_hash
    message.data_class = record.data_class
    message.text_bytes = features.text_bytes


def fill_pb_attempt(message: pb.AttemptRecord, attempt: AttemptRecord) -> None:
    """What became of an attempt."""
    message.attempt = attempt.number
    message.model = attempt.model
    message.endpoint_id = attempt.endpoint_id
    if attempt.failure:
        message.failure = reason_number(attempt.failure)
        message.message = attempt.message
    message.held.nanos = attempt.held_nanos
    fill_pb_timestamp(message.started_at, attempt.started_at.timestamp())
    message.unconfirmed = attempt.unconfirmed
    message.purpose = attempt.purpose
    message.vendor_request_id = attempt.vendor_request_id
    message.verdict = attempt.verdict
    if attempt.cost_nanos is not None:
        message.cost.nanos = attempt.cost_nanos
    if attempt.usage is not None:
        message.usage.CopyFrom(attempt.usage)
    if attempt.duration_s is not None:
        fill_pb_duration(message.duration, attempt.duration_s)
    if attempt.ttft_s is not None:
        fill_pb_duration(message.time_to_first_token, attempt.ttft_s)


def to_pb_duration(seconds: float) -> Duration:
    """A duration; never negative."""
    message = Duration()
    fill_pb_duration(message, seconds)
    return message


def to_pb_timestamp(unix_s: float) -> Timestamp:
    """A moment of Unix seconds."""
    message = Timestamp()
    fill_pb_timestamp(message, unix_s)
    return message


def _finite(number: float) -> float:
    return float(number) if math.isfinite(number) else 0.0
