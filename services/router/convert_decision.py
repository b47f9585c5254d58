"""Decisions and their attempts on the wire."""

import math

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.router.convert_budget import reason_number, to_pb_principal
from services.router.domain import explain
from services.router.domain.cascading import NANOS_PER_USD, Cascade
from services.router.domain.conditions import BreakerState
from services.router.domain.estimates import Basis
from services.router.domain.features import Features, Priority, Strategy
from services.router.domain.plan import ENGINE, Decision, extent_of
from services.router.domain.prices import worst_case
from services.router.records import AttemptRecord, DecisionRecord
from turnpike.common.v1 import money_pb2
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
NOT_ASKED_FOR = 1
"""Value of Rule.NOT_ASKED_FOR: such candidates were not looked at, the request named another."""


def to_pb_decision(record: DecisionRecord) -> pb.Decision:
    """The whole record, for people."""
    message = _without_candidates(record)
    message.candidates.extend(to_pb_candidates(record.decision))
    return message


def to_pb_record(record: DecisionRecord) -> pb.Decision:
    """The whole record with its candidates by columns, for analytics: made for every request."""
    message = _without_candidates(record)
    _fill_table(message.candidate_table, record.decision)
    return message


def _without_candidates(record: DecisionRecord) -> pb.Decision:
    decision = record.decision
    question = decision.question
    message = pb.Decision(
        decision_id=record.decision_id,
        request_id=record.request_id,
        principal=to_pb_principal(record.caller),
        decided_at=to_pb_timestamp(record.decided_at.timestamp()),
        requested_model=question.asked,
        features=to_pb_features(question.features, record),
        task_belief=[
            pb.TaskProbability(task=task, probability=probability)
            for task, probability in sorted(question.belief.items(), key=lambda item: -item[1])
        ],
        strategy=_STRATEGIES[question.rules.strategy],
        priority=_PRIORITIES[question.rules.priority],
        weights=pb.UtilityWeights(
            quality=decision.weights.quality, cost=decision.weights.cost, latency=decision.weights.latency
        ),
        plan=[question.board.candidates[planned.index].name for planned in decision.plan],
        reason=explain.reason(decision),
        attempts=[to_pb_attempt(attempt) for attempt in record.attempts_and_mirror],
        failure=reason_number(record.failure),
        versions=to_pb_versions(decision),
        seed=question.seed,
        replans=record.replans,
        max_output_tokens=decision.plan[0].output_cap if decision.plan else 0,
        shadow_plan_first=record.shadow_first,
        trace_id=record.trace_id,
        metadata=record.metadata,
        streamed=record.streamed,
    )
    if record.cost_nanos is not None:
        message.cost.nanos = record.cost_nanos
    if record.duration_s is not None:
        message.duration.CopyFrom(to_pb_duration(record.duration_s))
    if record.ttft_s is not None:
        message.time_to_first_token.CopyFrom(to_pb_duration(record.ttft_s))
    if decision.propensity is not None:
        message.propensity = decision.propensity
    if decision.cascade is not None:
        message.cascade.CopyFrom(_cascade(decision, decision.cascade))
    return message


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
    """The candidates that were looked at, in `_order`."""
    question = decision.question
    bases = question.estimator.basis(question.board, question.belief)
    return [_candidate(decision, index, bases[index]) for index in _order(decision)]


def _fill_table(table: pb.CandidateTable, decision: Decision) -> None:
    question, expectation, order = decision.question, decision.expectation, _order(decision)
    candidates, weather = question.board.candidates, question.weather
    table.models.extend([candidates[index].name for index in order])
    table.endpoint_ids.extend([candidates[index].endpoint.endpoint_id for index in order])
    dropped = decision.codes[order].tolist()
    if any(dropped):
        table.excluded_by.extend(
            [
                explain.rule_name(decision, index) if code else ""
                for index, code in zip(order, dropped, strict=True)
            ]
        )
        table.excluded_reasons.extend(
            [
                explain.finding(decision, index) if code else ""
                for index, code in zip(order, dropped, strict=True)
            ]
        )
    table.quality.extend(expectation.quality[order].tolist())
    table.quality_low.extend(expectation.quality_low[order].tolist())
    table.quality_high.extend(expectation.quality_high[order].tolist())
    table.cost_nanos.extend(decision.cost_nanos[order].tolist())
    table.time_to_first_token_s.extend(decision.ttft_s[order].tolist())
    table.duration_s.extend(decision.duration_s[order].tolist())
    table.output_tokens.extend(expectation.output_tokens[order].astype(np.int64).tolist())
    table.failure_rate.extend(weather.failure_rate[order].tolist())
    table.utility.extend(np.nan_to_num(decision.utility[order], posinf=0.0, neginf=0.0).tolist())
    table.breakers.extend(weather.breaker[order].tolist())
    if expectation.shipped is not None:
        table.shipped_quality.extend(expectation.shipped[order].tolist())
    table.worst_case_nanos.extend([planned.worst_case_nanos for planned in decision.plan])


def _order(decision: Decision) -> list[int]:
    """The candidates that were looked at, the plan's first, then the other eligible ones, the dropped ones last."""
    order = [planned.index for planned in decision.plan]
    planned = set(order)
    rest = [
        candidate.index
        for candidate in decision.question.board.candidates
        if candidate.index not in planned and decision.codes[candidate.index] != NOT_ASKED_FOR
    ]
    rest.sort(key=lambda index: (decision.codes[index] != 0, -_finite(float(decision.utility[index]))))
    return order + rest


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
    bound, cap = int(decision.sizes.input_bound[index]), int(decision.sizes.output_cap[index])
    worst = worst_case(candidate.price, extent_of(question.features, bound, cap))
    if worst is not None:
        message.worst_case.nanos = worst
    return message


def _estimates(decision: Decision, index: int, basis: Basis) -> pb.Estimates:
    expectation = decision.expectation
    message = pb.Estimates(
        time_to_first_token=to_pb_duration(float(decision.ttft_s[index])),
        duration=to_pb_duration(float(decision.duration_s[index])),
        output_tokens=int(expectation.output_tokens[index]),
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


def to_pb_versions(decision: Decision) -> pb.SnapshotVersions:
    """What the decision was made from."""
    question = decision.question
    return pb.SnapshotVersions(
        engine=ENGINE,
        catalogue=question.board.catalogue_revision,
        prices=question.board.price_revision,
        policy=question.rules.policy,
        statistics=question.weather.version,
        prior=question.estimator.version,
    )


def to_pb_features(features: Features, record: DecisionRecord) -> pb.Features:
    """What was known of the request."""
    return pb.Features(
        input_tokens_bound=features.input_tokens_bound,
        input_tokens_estimate=features.input_tokens_estimate,
        output_tokens_estimate=features.output_tokens_hint or 0,
        images=features.images,
        audios=features.audios,
        files=features.files,
        tools=features.tools,
        json_schema=features.json_schema,
        language=features.language,
        code=features.code,
        turns=features.turns,
        declared_task=record.declared_task,
        route=record.route,
        system_prompt_hash=features.system_prompt_hash,
        data_class=record.data_class,
        text_bytes=features.text_bytes,
    )


def to_pb_attempt(attempt: AttemptRecord) -> pb.AttemptRecord:
    """What became of an attempt."""
    message = pb.AttemptRecord(
        attempt=attempt.number,
        model=attempt.model,
        endpoint_id=attempt.endpoint_id,
        failure=reason_number(attempt.failure),
        message=attempt.message,
        held=money_pb2.Money(nanos=attempt.held_nanos),
        started_at=to_pb_timestamp(attempt.started_at.timestamp()),
        unconfirmed=attempt.unconfirmed,
        purpose=attempt.purpose,
        vendor_request_id=attempt.vendor_request_id,
        verdict=attempt.verdict,
    )
    if attempt.cost_nanos is not None:
        message.cost.nanos = attempt.cost_nanos
    if attempt.usage is not None:
        message.usage.CopyFrom(attempt.usage)
    if attempt.duration_s is not None:
        message.duration.CopyFrom(to_pb_duration(attempt.duration_s))
    if attempt.ttft_s is not None:
        message.time_to_first_token.CopyFrom(to_pb_duration(attempt.ttft_s))
    return message


def to_pb_duration(seconds: float) -> Duration:
    """A duration; never negative."""
    whole = int(max(seconds, 0.0))
    return Duration(seconds=whole, nanos=int((max(seconds, 0.0) - whole) * 1e9))


def to_pb_timestamp(unix_s: float) -> Timestamp:
    """A moment of Unix seconds."""
    whole = int(unix_s)
    return Timestamp(seconds=whole, nanos=int((unix_s - whole) * 1e9))


def _finite(number: float) -> float:
    return float(number) if math.isfinite(number) else 0.0
