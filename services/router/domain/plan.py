"""The decision: which models answer a request, in which order, and why. A pure function of what it is given.

    decide(question) -> Decision

Everything it looks at is in the `Question`: the board (catalogue and prices), the weather (health and statistics), the
rules, the features, the belief and the seed. The same question gives the same decision, which is what a replay checks.
"""

from dataclasses import field

import numpy as np

from services.kernel.pricing import Extent, RateUnknown, WorstCases
from services.router.domain.board import Board, CandidateFacts, Integers, Weather
from services.router.domain.cascading import Cascade, Roads, considered, with_cascade
from services.router.domain.catalogue import Capability, ModelKind
from services.router.domain.constraints import (
    Codes,
    Headroom,
    Rule,
    Sizes,
    Standing,
    ceiling_exclusions,
    exclusions,
)
from services.router.domain.estimates import NOTHING_KNOWN, Estimator, Expectation, TaskProbabilities
from services.router.domain.features import Features
from services.router.domain.ordering import ordered
from services.router.domain.policy import ATTEMPTS_MAX, CascadeRules, Rules, Share
from services.router.domain.prices import cap_that_fits
from services.router.domain.utility import Floats, Weights, utilities, weights_for
from services.router.domain.values import value

ENGINE = "4"
"""Version of this module's logic: a replay under another engine is another decision, and says so."""

_STREAMING = int(Capability.STREAMING)

PLAN_SPARE = 2
"""Candidates in a plan beyond the attempts allowed: stand-ins for one that is being probed, or is too small."""


@value(frozen=True, slots=True, eq=False)
class Question:
    """All that a decision depends on."""

    board: Board
    weather: Weather
    standing: Standing
    rules: Rules
    """The policy's, narrowed by the caller's wishes."""
    features: Features
    estimator: Estimator
    seed: int
    now_s: float
    """Unix seconds: what rests until when."""
    asked: str = "auto"
    """What the request named, for the record."""
    shares: tuple[Share, ...] = ()
    """Of an alias or a weighted strategy; empty: the engine chooses."""
    belief: TaskProbabilities = field(default_factory=lambda: NOTHING_KNOWN)
    quality_min: float | None = None
    """The floor in force: the rules' or the task's, whichever is higher."""
    input_bounds: tuple[int, ...] = ()
    """Exact bounds per tokenizer of the board, where the byte bound is too coarse; empty: the byte bound."""
    longest_bounds: tuple[int, ...] = ()
    """The same of the longest text, where texts are to be embedded; empty: as the features say."""
    headroom: tuple[Headroom, ...] = ()
    """Of budgets that refused a plan before this one."""
    pressure: float = 0.0
    """0 to 1: how far the tightest budget is used up ahead of time; moves weight from quality and latency to cost."""
    avoid: frozenset[str] = frozenset()
    """Endpoints that have failed this request already."""


@value(frozen=True, slots=True)
class Planned:
    """A candidate that is to be tried, with what will be held and sent for it."""

    index: int
    output_cap: int
    """Sent to the vendor and held, in tokens."""
    worst_case_nanos: int
    """What is held at first."""
    input_bound: int
    held_output: int | None = None
    """Output tokens that the hold covers at first, where it grows with the answer. None: all of the cap."""


@value(frozen=True, slots=True, eq=False)
class Decision:
    """A decided question. Arrays are in the board's order; what a dropped candidate would have been is kept, too."""

    question: Question
    codes: Codes
    weights: Weights
    expectation: Expectation
    cost_nanos: Floats
    ttft_s: Floats
    duration_s: Floats
    utility: Floats
    sizes: Sizes
    plan: tuple[Planned, ...]
    probed: bool = False
    propensity: float | None = None
    cap_lowered: bool = False
    output_cap_fitting: int | None = None
    """The largest cap that the headroom leaves the cheapest permitted candidate, where it left no plan."""
    cascade: Cascade | None = None
    """Whether a cheap model is asked first; None: nobody asked for that."""

    @property
    def first(self) -> CandidateFacts | None:
        """The candidate to be tried first; None: nobody can and may take the request."""
        return self.question.board.candidates[self.plan[0].index] if self.plan else None

    def rule(self, index: int) -> Rule:
        """The rule that dropped a candidate; Rule.NONE if none did."""
        return Rule(int(self.codes[index]))


def decide(question: Question) -> Decision:
    """Decides. Never raises for what a request or a policy holds: a plan without candidates is a decision, too."""
    board, weather, rules, features = question.board, question.weather, question.rules, question.features
    sizes = _sizes(question)
    codes = exclusions(question, sizes)

    expectation = question.estimator.expect(board, question.belief, features)
    tokens_out = _expected_tokens(expectation.output_tokens, sizes.output_cap)
    cost = _expected_cost(board, features, tokens_out)
    ttft_s = weather.expected_ttft_s
    delays = weather.delays(tokens_out)
    duration_s = delays.duration_s
    ceiling_exclusions(rules, question.quality_min, expectation.quality, ttft_s, duration_s, codes)

    weights = _under_pressure(weights_for(rules.strategy, rules.priority, rules.weights), question.pressure)
    utility = utilities(weights, expectation.quality, cost, delays.decades, complete=expectation.complete)
    order, probed, propensity = ordered(question, codes, utility, cost, expectation.half_width)
    plan, lowered, fitting = _plan(question, order, sizes, codes)
    cascade = None
    # A probe measures a loser, and vectors have no form that could be checked.
    if rules.cascade is not None and plan and not probed and features.kind is ModelKind.CHAT:
        cascade = _cascade(question, rules.cascade, expectation, cost, duration_s, codes, order, plan, sizes)
        plan = with_cascade(plan, cascade)
    return Decision(
        question,
        codes,
        weights,
        expectation,
        cost,
        ttft_s,
        duration_s,
        utility,
        sizes,
        plan,
        probed,
        propensity,
        lowered,
        fitting,
        cascade,
    )


def extent_of(features: Features, input_bound: int, output_cap: int) -> Extent:
    """How large the request can become at worst at one candidate."""
    return Extent(
        input_tokens_bound=input_bound,
        output_tokens_cap=output_cap,
        choices=features.choices,
        # Vendors that cache without being asked bill the writing as plain input; only markers can make it dearer.
        cache_writes=features.cache_markers,
        cache_writes_long=features.cache_markers_long,
        audio_input=features.audios > 0,
        image_input=features.images > 0 or features.files > 0,
        audio_output=False,
    )


def _worst_cases(question: Question) -> tuple[WorstCases | None, ...]:
    """What such requests cost at worst at each candidate; None: it has no price."""
    features, known = question.features, question.board.worst_cases
    kind = (
        features.cache_markers,
        features.cache_markers_long,
        features.audios > 0,
        features.images > 0 or features.files > 0,
    )
    found = known.get(kind)
    if found is None:
        like = extent_of(features, 0, 0)
        found = known[kind] = tuple(
            None if candidate.price is None else WorstCases(candidate.price, like)
            for candidate in question.board.candidates
        )
    return found


def _sizes(question: Question) -> Sizes:
    board, features, rules = question.board, question.features, question.rules
    bound_max = features.input_tokens_bound
    bound: int | Integers = bound_max
    if question.input_bounds:
        bound = np.array(question.input_bounds, np.int64)[board.tokenizer_of]
        bound_max = max(question.input_bounds)
    asked = features.output_cap_asked
    cap = asked if asked is not None else rules.output_tokens_default
    if rules.output_tokens_max is not None:
        cap = min(cap, rules.output_tokens_max)
    caps: int | Integers = cap
    # A default gives way to what the model has room for; what the caller asked for does not.
    if asked is None and (cap > board.output_max_min or bound_max + cap > board.context_max_min):
        room = np.maximum(board.context_max - bound, 1)
        caps = np.minimum(np.minimum(cap, board.output_max), room)
    longest: int | Integers = bound
    longest_max = bound_max
    if question.longest_bounds:
        longest = np.array(question.longest_bounds, np.int64)[board.tokenizer_of]
        longest_max = max(question.longest_bounds)
    elif features.longest_text_bound is not None:
        longest = longest_max = features.longest_text_bound
    return Sizes(bound, caps, longest, longest_max)


def _expected_tokens(predicted: float | Floats, cap: int | Integers) -> float | Floats:
    """The predicted length within the cap: one number where both are the same for all."""
    if isinstance(predicted, float) and isinstance(cap, int):
        return predicted if predicted < cap else float(cap)
    return np.minimum(predicted, cap)


def _expected_cost(board: Board, features: Features, tokens_out: float | Floats) -> Floats:
    tokens_in = float(features.input_tokens_estimate)
    cost: Floats = board.output_nanos * (features.choices * tokens_out)
    cost += board.input_nanos * tokens_in
    if board.bills_requests:
        cost += board.request_nanos
    if tokens_in > board.tier_edge_min:
        each = np.broadcast_to(tokens_out, len(board)).tolist()
        for index in board.tiered:
            price = board.candidates[index].price
            assert price is not None
            tier = price.tier_for(features.input_tokens_estimate)
            if tier.input_nanos_per_million is not None and tier.output_nanos_per_million is not None:
                cost[index] = (
                    tokens_in * tier.input_nanos_per_million
                    + features.choices * each[index] * tier.output_nanos_per_million
                ) / 1e6 + tier.request_nanos
    return cost


def _under_pressure(weights: Weights, pressure: float) -> Weights:
    if pressure <= 0.0:
        return weights
    kept = 1.0 - min(pressure, 1.0)
    return Weights(
        weights.quality * (0.3 + 0.7 * kept), weights.cost + 0.5 * (1.0 - kept), weights.latency * kept
    )


class _Admission:
    """Admits candidates by their exact worst case: within the cost ceiling and the headroom, and known."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._rooms = question.headroom
        self._ceiling = question.rules.cost_nanos_max
        self._choices = question.features.choices
        self._worst_cases = _worst_cases(question)
        streamed = self._choices == 1 and int(question.features.needs) & _STREAMING
        self._progressive = question.rules.progressive_tokens if streamed else None

    def admit(self, index: int, bound: int, cap: int) -> Planned | Rule:
        """The candidate with what is to be held for it, or the rule that keeps it out."""
        sent = cap
        worst_cases = self._worst_cases[index]
        if worst_cases is None:
            return Rule.PRICE_UNKNOWN
        try:
            worst = worst_cases.nanos(bound, cap * self._choices)
        except RateUnknown:
            return Rule.PRICE_UNKNOWN
        if self._ceiling is not None and worst > self._ceiling:
            return Rule.CEILING_COST
        held = None
        if self._progressive is not None and self._progressive < cap and not self._thinks(index):
            held = cap = self._progressive
            worst = worst_cases.nanos(bound, held)
        if self._rooms:
            model = self._question.board.candidates[index].model
            for room in self._rooms:
                if room.counts(model) and (
                    (room.nanos is not None and worst > room.nanos)
                    or (room.tokens is not None and bound + cap * self._choices > room.tokens)
                ):
                    return Rule.HEADROOM
        return Planned(index, sent, worst, bound, held)

    def _thinks(self, index: int) -> bool:
        """True if the model may produce tokens that nobody sees, and so nobody can count as they come."""
        return bool(int(self._question.board.capabilities[index]) & Capability.REASONING)

    def cap_fitting(self, index: int, bound: int, cap: int) -> int:
        """The largest output cap with which the candidate fits the headroom and the cost ceiling; 0: none."""
        candidate = self._question.board.candidates[index]
        rooms = [room for room in self._rooms if room.counts(candidate.model)]
        money = [room.nanos for room in rooms if room.nanos is not None]
        if self._ceiling is not None:
            money.append(self._ceiling)
        for room in rooms:
            if room.tokens is not None:
                cap = min(cap, max(0, room.tokens - bound) // self._choices)
        if cap > 0 and money and candidate.price is not None:
            cap = cap_that_fits(candidate.price, extent_of(self._question.features, bound, cap), min(money))
        return cap


def _plan(
    question: Question, order: list[int], sizes: Sizes, codes: Codes
) -> tuple[tuple[Planned, ...], bool, int | None]:
    """The first candidates of `order` whose exact worst case is within the ceilings and the headroom."""
    admission = _Admission(question)
    plan: list[Planned] = []
    too_dear: list[int] = []
    enough = min(ATTEMPTS_MAX, question.rules.attempts_max + PLAN_SPARE)
    bound, cap = sizes.input_bound, sizes.output_cap
    for index in order:
        admitted = admission.admit(
            index,
            bound if isinstance(bound, int) else int(bound[index]),
            cap if isinstance(cap, int) else int(cap[index]),
        )
        if isinstance(admitted, Planned):
            plan.append(admitted)
            if len(plan) == enough:
                break
            continue
        codes[index] = int(admitted)
        if admitted in (Rule.HEADROOM, Rule.CEILING_COST):
            too_dear.append(index)
    if plan or not too_dear:
        return tuple(plan), False, None
    fitting = {
        index: admission.cap_fitting(index, sizes.bound_of(index), sizes.cap_of(index)) for index in too_dear
    }
    largest = max(fitting.values())
    if not question.rules.lower_output_cap or largest < question.rules.output_tokens_min:
        return (), False, largest if largest > 0 else None
    for index in too_dear:
        if fitting[index] >= question.rules.output_tokens_min and len(plan) < ATTEMPTS_MAX:
            admitted = admission.admit(index, sizes.bound_of(index), fitting[index])
            if isinstance(admitted, Planned):
                codes[index] = int(Rule.NONE)
                plan.append(admitted)
    return tuple(plan), bool(plan), largest


def _cascade(
    question: Question,
    wanted: CascadeRules,
    expectation: Expectation,
    cost: Floats,
    duration_s: Floats,
    codes: Codes,
    order: list[int],
    plan: tuple[Planned, ...],
    sizes: Sizes,
) -> Cascade:
    admission = _Admission(question)

    def admit(index: int) -> Planned | None:
        admitted = admission.admit(index, sizes.bound_of(index), sizes.cap_of(index))
        return admitted if isinstance(admitted, Planned) else None

    return considered(
        Roads(
            question.board,
            question.features,
            question.rules,
            question.quality_min,
            expectation,
            cost,
            duration_s,
            [index for index in order if not codes[index]],
            plan,
            admit,
        ),
        wanted,
    )
