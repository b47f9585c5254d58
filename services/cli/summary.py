"""What an answer took, in a few lines: who, why, how much, what is left, where to look further."""

from collections.abc import Iterable, Iterator, Sequence

from services.cli.lines import Row
from services.cli.words import dollars, left_of, moment, seconds
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import decision_pb2, router_pb2

OTHERS_MAX = 4  # the nearest rivals; GetDecision has all


def summary(
    outcome: router_pb2.Outcome,
    decision: decision_pb2.Decision | None,
    budgets: Sequence[router_pb2.BudgetRemaining] = (),
) -> Iterator[Row]:
    """Yield the summary of a finished request.

    `decision` None: it could not be had, so rivals are not named. `budgets` are shown where the outcome has none.
    """
    yield Row("model", _model(outcome), "green")
    yield Row("why", _why(outcome))
    for line in _others(outcome, decision):
        yield Row("", line, "dim")
    for number, line in enumerate(_attempts(outcome.attempts)):
        yield Row("" if number else "attempts", line)
    yield Row("tokens", _tokens(outcome))
    yield Row("cost", dollars(outcome.cost.nanos) if outcome.HasField("cost") else "not known yet")
    for number, budget in enumerate(outcome.budgets or budgets):
        yield Row("" if number else "budgets", _budget(budget))
    if outcome.trace_id:
        yield Row("trace", outcome.trace_id)


def _model(outcome: router_pb2.Outcome) -> str:
    if outcome.from_cache:
        return f"{outcome.model} (an answer kept from before)"
    return f"{outcome.model} (continued by it)" if outcome.continued else outcome.model


def _why(outcome: router_pb2.Outcome) -> str:
    """Say why this model; of a fallback, that it stood in, and why the first choice had been chosen."""
    reason = outcome.reason or "(no reason given)"
    if outcome.attempts and outcome.attempts[0].model != outcome.model:
        return f"it stood in for {outcome.attempts[0].model}, which failed. The first choice: {reason}"
    return reason


def _others(outcome: router_pb2.Outcome, decision: decision_pb2.Decision | None) -> Iterable[str]:
    """Say of the nearest rivals why they were not chosen."""
    if decision is None:
        return
    rivals = [candidate for candidate in decision.candidates if candidate.model != outcome.model]
    rivals.sort(key=lambda candidate: (bool(candidate.excluded_by), -candidate.utility))
    chosen = next((each for each in decision.candidates if each.model == outcome.model), None)
    if chosen is not None and any(not candidate.excluded_by for candidate in rivals):
        yield _estimates(chosen)
    for candidate in rivals[:OTHERS_MAX]:
        yield f"not {candidate.model}: {candidate.excluded_reason or _estimates(candidate)}"
    if len(rivals) > OTHERS_MAX:
        yield f"and {len(rivals) - OTHERS_MAX} more"


def _estimates(candidate: decision_pb2.Candidate) -> str:
    """Return what was expected of a candidate; the larger utility wins."""
    expected = candidate.estimates
    parts = [f"utility {candidate.utility:.3f}"]
    if expected.HasField("quality"):
        parts.append(f"quality {expected.quality:.2f}")
    if expected.HasField("cost"):
        parts.append(f"expected {dollars(expected.cost.nanos)}")
    if expected.HasField("time_to_first_token"):
        parts.append(f"first token in {seconds(expected.time_to_first_token.ToTimedelta())}")
    if expected.HasField("duration"):
        parts.append(f"all in {seconds(expected.duration.ToTimedelta())}")
    return ", ".join(parts)


def _attempts(attempts: Sequence[decision_pb2.AttemptRecord]) -> Iterable[str]:
    """List the attempts where there was more than one: a fallback is worth seeing."""
    for attempt in attempts if len(attempts) > 1 else ():
        ended = "answered"
        if attempt.failure:
            reason = error_pb2.ErrorReason.Name(attempt.failure).removeprefix("ERROR_REASON_")
            ended = f"{reason}: {attempt.message}" if attempt.message else reason
        cost = dollars(attempt.cost.nanos) if attempt.HasField("cost") else "cost not known yet"
        yield f"{attempt.attempt}. {attempt.model}  {ended}  ({cost})"


def _tokens(outcome: router_pb2.Outcome) -> str:
    usage = outcome.usage
    known = usage.HasField("input_tokens") and usage.HasField("output_tokens")
    counts = f"{usage.input_tokens:,} in, {usage.output_tokens:,} out" if known else "not known yet"
    times = []
    if outcome.HasField("time_to_first_token"):
        times.append(f"first after {seconds(outcome.time_to_first_token.ToTimedelta())}")
    if outcome.HasField("duration"):
        times.append(f"all in {seconds(outcome.duration.ToTimedelta())}")
    return ", ".join((counts, *times))


def _budget(budget: router_pb2.BudgetRemaining) -> str:
    text = f"{budget.display_name}: {left_of(budget.left, budget.limit, budget.unit)} left"
    if budget.HasField("resets_at"):
        text += f" until {moment(budget.resets_at.ToDatetime())}"
    return text
