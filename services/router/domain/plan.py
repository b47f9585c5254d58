"""The decision: which models answer a request, in which order, and why. A pure function of what it is given.

    decide(question) -> Decision

Everything it looks at is in the `Question`: the board (catalogue and prices), the weather (health and statistics), the
rules, the features, the belief and the seed. The same question gives the same decision, which is what a replay checks.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from services.kernel.pricing import Extent
from services.router.domain.board import Board, CandidateFacts, Weather
from services.router.domain.constraints import (
    Codes,
    Headroom,
    Rule,
    Sizes,
    Standing,
    ceiling_exclusions,
    needs_exclusions,
)
from services.router.domain.estimates import NOTHING_KNOWN, Estimator, Expectation, TaskProbabilities
from services.router.domain.features import Features
from services.router.domain.ordering import ordered
from services.router.domain.policy import ATTEMPTS_MAX, Rules, Share
from services.router.domain.prices import cap_that_fits, worst_case
from services.router.domain.utility import Floats, Weights, utilities, weights_for

ENGINE = "1"
"""Version of this module's logic: a replay under another engine is another decision, and says so."""

EXTENTS_KEPT = 1_024
"""Extents that are remembered: the candidates of one request share theirs, and so do requests of one template."""

PLAN_SPARE = 2
"""Candidates in a plan beyond the attempts allowed: stand-ins for one that is being probed, or is too small."""


@dataclass(frozen=True, slots=True, eq=False)
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


@dataclass(frozen=True, slots=True)
class Planned:
    """A candidate that is to be tried, with what will be held and sent for it."""

    index: int
    output_cap: int
    """Sent to the vendor and held, in tokens."""
    worst_case_nanos: int
    input_bound: int


@dataclass(frozen=True, slots=True, eq=False)
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
    codes = question.standing.codes.copy()
    needs_exclusions(board, weather, features, sizes, codes, now_s=question.now_s)

    expectation = question.estimator.expect(board, question.belief, features)
    tokens_out = np.minimum(expectation.output_tokens, sizes.output_cap)
    cost = _expected_cost(board, features, tokens_out)
    ttft_s = weather.expected_ttft_s
    duration_s = ttft_s + tokens_out * weather.s_per_token
    ceiling_exclusions(rules, question.quality_min, expectation.quality, ttft_s, duration_s, codes)

    weights = _under_pressure(weights_for(rules.strategy, rules.priority, rules.weights), question.pressure)
    utility = utilities(weights, expectation.quality, cost, ttft_s, duration_s)
    order, probed, propensity = ordered(question, codes, utility, cost, expectation.half_width)
    plan, lowered, fitting = _plan(question, order, sizes, codes)
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
    )


def extent_of(features: Features, input_bound: int, output_cap: int) -> Extent:
    """How large the request can become at worst at one candidate."""
    return _extent(
        input_bound,
        output_cap,
        features.choices,
        features.cache_markers,
        features.cache_markers_long,
        features.audios > 0,
        features.images > 0 or features.files > 0,
    )


@lru_cache(maxsize=EXTENTS_KEPT)
def _extent(
    input_bound: int,
    output_cap: int,
    choices: int,
    cache_writes: bool,
    cache_writes_long: bool,
    audio_input: bool,
    image_input: bool,
) -> Extent:
    return Extent(
        input_tokens_bound=input_bound,
        output_tokens_cap=output_cap,
        choices=choices,
        # Vendors that cache without being asked bill the writing as plain input; only markers can make it dearer.
        cache_writes=cache_writes,
        cache_writes_long=cache_writes_long,
        audio_input=audio_input,
        image_input=image_input,
        audio_output=False,
    )


def _sizes(question: Question) -> Sizes:
    board, features, rules = question.board, question.features, question.rules
    if question.input_bounds:
        bound = np.array(question.input_bounds, np.int64)[board.tokenizer_of]
    else:
        bound = np.full(len(board), features.input_tokens_bound, np.int64)
    asked = features.output_cap_asked
    cap = asked if asked is not None else rules.output_tokens_default
    if rules.output_tokens_max is not None:
        cap = min(cap, rules.output_tokens_max)
    caps = np.full(len(board), cap, np.int64)
    if (
        asked is None
    ):  # A default gives way to what the model has room for; what the caller asked for does not.
        room = np.maximum(board.context_max - bound, 1)
        caps = np.minimum(np.minimum(caps, board.output_max), room)
    return Sizes(bound, caps, _longest(question, bound))


def _longest(question: Question, bound: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if question.longest_bounds:
        return np.array(question.longest_bounds, np.int64)[question.board.tokenizer_of]
    longest = question.features.longest_text_bound
    return bound if longest is None else np.full(len(bound), longest, np.int64)


def _expected_cost(board: Board, features: Features, tokens_out: Floats) -> Floats:
    tokens_in = float(features.input_tokens_estimate)
    cost = (tokens_in * board.input_rate + features.choices * tokens_out * board.output_rate) / 1e6
    cost = cost + board.request_nanos
    if tokens_in > board.tier_edge_min:
        for index in board.tiered:
            price = board.candidates[index].price
            assert price is not None
            tier = price.tier_for(features.input_tokens_estimate)
            if tier.input_nanos_per_million is not None and tier.output_nanos_per_million is not None:
                cost[index] = (
                    tokens_in * tier.input_nanos_per_million
                    + features.choices * float(tokens_out[index]) * tier.output_nanos_per_million
                ) / 1e6 + tier.request_nanos
    return cost


def _under_pressure(weights: Weights, pressure: float) -> Weights:
    if pressure <= 0.0:
        return weights
    kept = 1.0 - min(pressure, 1.0)
    return Weights(
        weights.quality * (0.3 + 0.7 * kept), weights.cost + 0.5 * (1.0 - kept), weights.latency * kept
    )


def _plan(
    question: Question, order: list[int], sizes: Sizes, codes: Codes
) -> tuple[tuple[Planned, ...], bool, int | None]:
    """The first candidates of `order` whose exact worst case is within the ceilings and the headroom."""
    plan: list[Planned] = []
    too_dear: list[int] = []
    enough = min(ATTEMPTS_MAX, question.rules.attempts_max + PLAN_SPARE)
    for index in order:
        if len(plan) == enough:
            break
        rule, planned = _admit(question, index, int(sizes.input_bound[index]), int(sizes.output_cap[index]))
        if planned is not None:
            plan.append(planned)
            continue
        codes[index] = int(rule)
        if rule in (Rule.HEADROOM, Rule.CEILING_COST):
            too_dear.append(index)
    if plan or not too_dear:
        return tuple(plan), False, None
    fitting = {index: _cap_fitting(question, index, sizes) for index in too_dear}
    largest = max(fitting.values())
    if not question.rules.lower_output_cap or largest < question.rules.output_tokens_min:
        return (), False, largest if largest > 0 else None
    for index in too_dear:
        if fitting[index] >= question.rules.output_tokens_min and len(plan) < ATTEMPTS_MAX:
            _, planned = _admit(question, index, int(sizes.input_bound[index]), fitting[index])
            if planned is not None:
                codes[index] = int(Rule.NONE)
                plan.append(planned)
    return tuple(plan), bool(plan), largest


def _admit(question: Question, index: int, bound: int, cap: int) -> tuple[Rule, Planned | None]:
    candidate = question.board.candidates[index]
    worst = worst_case(candidate.price, extent_of(question.features, bound, cap))
    if worst is None:
        return Rule.PRICE_UNKNOWN, None
    if question.rules.cost_nanos_max is not None and worst > question.rules.cost_nanos_max:
        return Rule.CEILING_COST, None
    for room in question.headroom:
        if room.counts(candidate.model) and (
            (room.nanos is not None and worst > room.nanos)
            or (room.tokens is not None and bound + cap * question.features.choices > room.tokens)
        ):
            return Rule.HEADROOM, None
    return Rule.NONE, Planned(index, cap, worst, bound)


def _cap_fitting(question: Question, index: int, sizes: Sizes) -> int:
    """The largest output cap with which the candidate fits the headroom and the cost ceiling; 0: none."""
    candidate = question.board.candidates[index]
    bound, cap = int(sizes.input_bound[index]), int(sizes.output_cap[index])
    rooms = [room for room in question.headroom if room.counts(candidate.model)]
    money = [room.nanos for room in rooms if room.nanos is not None]
    if question.rules.cost_nanos_max is not None:
        money.append(question.rules.cost_nanos_max)
    for room in rooms:
        if room.tokens is not None:
            cap = min(cap, max(0, room.tokens - bound) // question.features.choices)
    if cap > 0 and money and candidate.price is not None:
        cap = cap_that_fits(candidate.price, extent_of(question.features, bound, cap), min(money))
    return cap
