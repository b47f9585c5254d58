"""In which order eligible candidates are tried: by utility, ties by lot, a share, a probe or an exploration first."""

from typing import TYPE_CHECKING

import numpy as np

from services.router.domain.board import Board
from services.router.domain.draws import pick, unit
from services.router.domain.features import Strategy
from services.router.domain.learning.exploration import draw
from services.router.domain.patterns import matches
from services.router.domain.policy import Share
from services.router.domain.utility import Floats, weights_for

if TYPE_CHECKING:
    from services.router.domain.constraints import Codes
    from services.router.domain.plan import Question

TIE = 0.004
"""Utilities closer than this are equal: estimates are not that good. Ties are broken by the seed, so load spreads."""

PROBE_COST_FACTOR = 4.0
"""A probe costs at most so many times what the winner is expected to cost."""

PROBE_UTILITY_GAP = 0.25
"""A candidate whose utility is further behind is not probed: what is learned would change nothing."""

NINETY_PERCENT = 1.645
"""Standard deviations to either side of a mean that hold 90 %."""

# Which draw of the seed is for what.
_DRAW_PROBE, _DRAW_PROBED, _DRAW_SHARE, _DRAW_TIES = 0, 1, 2, 8


def ordered(
    question: "Question", codes: "Codes", utility: Floats, cost: Floats, half_width: Floats
) -> tuple[list[int], bool, float | None]:
    """The eligible candidates, best first; whether the first is a probe; and with which share it would be first."""
    # Lists from here on: what follows looks at few of them, one by one.
    utilities: list[float] = utility.tolist()
    order = [index for index, code in enumerate(codes.tolist()) if not code]
    if not order:
        return [], False, None
    order.sort(key=utilities.__getitem__, reverse=True)
    _break_ties(question.board, order, utilities, question.seed)
    if question.avoid:
        candidates = question.board.candidates
        order.sort(key=lambda index: candidates[index].endpoint.endpoint_id in question.avoid)
    shares = question.shares or (
        question.rules.shares if question.rules.strategy is Strategy.WEIGHTED else ()
    )
    if any(share.weight > 0 for share in shares):
        return _by_share(question, order, shares), False, None
    if question.rules.strategy is Strategy.LEARNED and len(order) > 1:
        return _explore(question, codes, order, utility, half_width)
    if question.rules.strategy is not Strategy.PINNED and len(order) > 1 and question.rules.probe_share > 0:
        return _probe(question, order, utilities, cost)
    return order, False, None


def _break_ties(board: Board, order: list[int], utilities: list[float], seed: int) -> None:
    """Shuffles the candidates that are as good as the best by the seed, endpoints' weights counting."""
    best = utilities[order[0]]
    ties = 1
    while ties < len(order) and best - utilities[order[ties]] <= TIE:
        ties += 1
    if ties == 1:
        return
    # The largest of u^(1/w) is each one's with a share in proportion to its weight (Efraimidis, Spirakis 2006).
    keys = {
        index: unit(seed, _DRAW_TIES + place) ** (1.0 / max(float(board.weight[index]), 1e-6))
        for place, index in enumerate(order[:ties])
    }
    order[:ties] = sorted(order[:ties], key=keys.__getitem__, reverse=True)


def _by_share(question: "Question", order: list[int], shares: tuple[Share, ...]) -> list[int]:
    """The drawn share's candidates first, then the others': a canary that fails falls back to its elder."""
    from_share = [_named_by(question.board, share.pattern, order) for share in shares]
    weights = [share.weight if named else 0.0 for share, named in zip(shares, from_share, strict=True)]
    if not any(weight > 0 for weight in weights):
        return order
    drawn = from_share[pick(weights, unit(question.seed, _DRAW_SHARE))]
    chosen = set(drawn)
    return drawn + [index for index in order if index not in chosen]


def _named_by(board: Board, pattern: str, order: list[int]) -> list[int]:
    return [index for index in order if matches(pattern, board.candidates[index].model)]


def _explore(
    question: "Question", codes: "Codes", order: list[int], utility: Floats, half_width: Floats
) -> tuple[list[int], bool, float | None]:
    """Mostly the best, now and then another whose quality is uncertain: Thompson sampling under a cap."""
    doubt = half_width * (
        weights_for(question.rules.strategy, question.rules.priority, question.rules.weights).quality
        / NINETY_PERCENT
    )
    drawn = draw(np.nan_to_num(utility, nan=-1e9), doubt, codes == 0, question.seed)
    chosen, propensity = drawn.chosen, float(drawn.propensities[drawn.chosen])
    return [chosen, *(index for index in order if index != chosen)], drawn.explored, propensity


def _probe(
    question: "Question", order: list[int], utilities: list[float], cost: Floats
) -> tuple[list[int], bool, float | None]:
    """Now and then another candidate goes first, by how little is known of its speed, so that no loser is forgotten."""
    share = question.rules.probe_share
    best = order[0]
    if unit(question.seed, _DRAW_PROBE) >= share:
        return order, False, 1.0 - share
    worth = [
        index
        for index in order[1:]
        if utilities[best] - utilities[index] <= PROBE_UTILITY_GAP
        and float(cost[index]) <= PROBE_COST_FACTOR * float(cost[best]) + 1_000.0
    ]
    if not worth:
        return order, False, 1.0
    weather = question.weather
    doubts = [1.0 / (1.0 + float(weather.samples[index])) for index in worth]
    probed = worth[pick(doubts, unit(question.seed, _DRAW_PROBED))]
    propensity = share * doubts[worth.index(probed)] / sum(doubts)
    return [probed, *(index for index in order if index != probed)], True, propensity
