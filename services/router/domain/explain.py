"""A decision in words: why a candidate was dropped, why the first one leads. Written only when somebody reads it."""

import math

import numpy as np

from services.kernel.money import for_people
from services.router.domain.cascading import Cascade
from services.router.domain.catalogue import Capability, ModelKind
from services.router.domain.constraints import Rule
from services.router.domain.features import Strategy
from services.router.domain.plan import Decision, extent_of
from services.router.domain.prices import worst_case

_STANDING = frozenset(
    {
        Rule.NOT_ASKED_FOR,
        Rule.ACCESS_DENIED,
        Rule.ACCESS_NOT_GRANTED,
        Rule.ACCESS_KEY,
        Rule.POLICY_ALLOW,
        Rule.POLICY_DENY,
        Rule.COMPLIANCE_REGION,
        Rule.COMPLIANCE_RETENTION,
        Rule.COMPLIANCE_TRAINING,
        Rule.COMPLIANCE_CERTIFICATION,
        Rule.LIFECYCLE,
    }
)


def rule_name(decision: Decision, index: int) -> str:
    """The contract's name of the rule that dropped a candidate, such as `capability.tools`; empty: none did."""
    rule = decision.rule(index)
    if rule is Rule.CAPABILITY:
        return f"capability.{_missing(decision, index)[0].spelling}"
    return rule.spelling


def finding(decision: Decision, index: int) -> str:
    """What that rule found, as a sentence; empty: none dropped the candidate."""
    rule = decision.rule(index)
    question = decision.question
    if rule is Rule.NONE:
        return ""
    if rule in _STANDING:
        return question.standing.findings[index]
    model = question.board.candidates[index].model
    bound, cap = decision.sizes.bound_of(index), decision.sizes.cap_of(index)
    features, rules = question.features, question.rules
    if rule is Rule.KIND:
        return "It makes vectors." if features.kind is ModelKind.CHAT else "It answers conversations."
    if rule is Rule.VENDOR_FILE:
        return f"The request names a file that only {features.vendor_files_of} has."
    if rule is Rule.CAPABILITY:
        names = ", ".join(missing.spelling for missing in _missing(decision, index))
        return f"It is not known to have: {names}."
    if rule is Rule.LANGUAGE:
        known = ", ".join(sorted(model.languages))
        told = f"It is good at {known}" if known else "Which languages it is good at is unknown"
        return f"{told}; the request is in {features.language}."
    if rule is Rule.PARAMETER:
        return f"It refuses {', '.join(sorted(features.parameters & model.refused_parameters))}."
    if rule is Rule.REASONING_EFFORT:
        return f"It knows the efforts {', '.join(sorted(model.reasoning_efforts))}, not {features.reasoning_effort}."
    if rule is Rule.IMAGES:
        return f"It takes at most {model.images_max} pictures, not {features.images}."
    if rule is Rule.CONTEXT_INPUT:
        limit = _smallest(model.input_tokens_max, model.context_tokens_max)
        return f"Up to {decision.sizes.longest_of(index)} input tokens do not fit into {limit}."
    if rule is Rule.CONTEXT_OUTPUT:
        return (
            f"{cap} output tokens, with up to {bound} of input, do not fit"
            f" (output {_or_unknown(model.output_tokens_max)}, context {_or_unknown(model.context_tokens_max)})."
        )
    if rule is Rule.PRICE_UNKNOWN:
        return "It has no known price."
    condition = question.weather.conditions.of(question.board.candidates[index].endpoint.endpoint_id)
    if rule is Rule.HEALTH_DOWN:
        return condition.message or "Its endpoint does not work."
    if rule is Rule.HEALTH_RESTING:
        return condition.message or "Its endpoint rests, because the vendor asked for it."
    if rule is Rule.BREAKER_OPEN:
        return "Its calls failed of late; it is left alone until a probe succeeds."
    if rule is Rule.CEILING_TTFT:
        expected_s = float(decision.ttft_s[index])
        return f"The first token is expected in {expected_s:.2f} s; it is wanted in {rules.ttft_s_max:.2f} s."
    if rule is Rule.CEILING_DURATION:
        return f"{decision.duration_s[index]:.1f} s are expected; {rules.duration_s_max:.1f} s are left or wanted."
    if rule is Rule.QUALITY_UNKNOWN:
        return "Its quality for this work is unknown, which satisfies no floor."
    if rule is Rule.QUALITY_FLOOR:
        quality = float(decision.expectation.quality[index])
        return f"A quality of {quality:.2f} is expected; the floor is {question.quality_min:.2f}."
    worst = worst_case(question.board.candidates[index].price, extent_of(features, bound, cap))
    cost = "an unknown amount" if worst is None else for_people(worst)
    if rule is Rule.CEILING_COST:
        return f"It may cost {cost}; at most {for_people(int(rules.cost_nanos_max or 0))} is allowed."
    return (
        f"It may cost {cost} ({bound + cap * features.choices} tokens), for which the budgets have no room."
    )


def reason(decision: Decision) -> str:
    """Why the first candidate leads, in one sentence."""
    first = decision.first
    if first is None:
        return "No model can and may take the request."
    question = decision.question
    eligible = len(decision.codes) - int(np.count_nonzero(decision.codes))
    if decision.cascade is not None and decision.cascade.use:
        return _cascaded(decision, decision.cascade)
    if decision.probed:
        return (
            f"{first.name} was tried to keep its measurements fresh; it is close to the best of {eligible}."
        )
    if question.shares and "/" in question.asked:
        if first.name == question.asked:
            return f"{first.name} is what the request names."
        return f"{first.name} stands in for {question.asked}: the policy says that their vectors are equal."
    if question.shares or (question.rules.strategy is Strategy.WEIGHTED and question.rules.shares):
        return f"{first.name} was drawn by the shares that are set for {question.asked}."
    if eligible == 1:
        return f"{first.name} is the only one of {len(decision.codes)} candidates that can and may take the request."
    facts = [f"{for_people(round(float(decision.cost_nanos[first.index])))} expected"]
    quality = float(decision.expectation.quality[first.index])
    if not math.isnan(quality):
        facts.append(f"quality {quality:.2f}")
    facts.append(f"first token in {float(decision.ttft_s[first.index]):.2f} s")
    if decision.cap_lowered:
        facts.append(f"output cap lowered to {decision.plan[0].output_cap} tokens to fit the budget")
    return (
        f"{first.name} has the best {question.rules.strategy.value} utility of {eligible} that qualify: "
        + ", ".join(facts)
        + "."
    )


def _cascaded(decision: Decision, cascade: Cascade) -> str:
    candidates = decision.question.board.candidates
    asked = " and ".join(
        candidates[trial.index].name for trial in (cascade.cheap, cascade.second) if trial is not None
    )
    return (
        f"{asked} {'is' if cascade.second is None else 'are'} asked first and the answer checked ({cascade.check});"
        f" {candidates[cascade.strong.index].name} answers if that fails: {cascade.reason}."
    )


def _missing(decision: Decision, index: int) -> list[Capability]:
    missing = decision.question.features.needs & ~Capability(int(decision.question.board.capabilities[index]))
    return list(Capability(missing)) or [Capability.STREAMING]


def _smallest(*limits: int | None) -> str:
    known = [limit for limit in limits if limit is not None]
    return str(min(known)) if known else "its unknown limit"


def _or_unknown(limit: int | None) -> str:
    return "unknown" if limit is None else str(limit)
