"""One utility for every strategy: quality, less what it costs, less what it takes. Strategies are presets of weights.

    utility = quality_weight x quality - cost_weight x decades(cost) - latency_weight x decades(latency)

Cost and latency enter by their logarithm, scaled so that 0 is cheap or quick and 1 dear or slow: that ten times the
price is worth so much quality is a judgement people can make, that a dollar is worth so much is not. The scale is fixed
and not relative to the other candidates, so that a new model moves nobody else's rank.
"""

from math import log10
from typing import Final

import numpy as np
import numpy.typing as npt

from services.router.domain.features import Priority, Strategy
from services.router.domain.values import value

Floats = npt.NDArray[np.float64]

COST_NANOS_CHEAP: Final = 1_000.0
"""A millionth of a dollar: below it nobody minds."""

COST_DECADES: Final = 6.0
"""From a millionth of a dollar to a dollar for one answer."""

LATENCY_S_QUICK: Final = 0.1
"""What people feel as at once."""

LATENCY_DECADES: Final = 2.5
"""From a tenth of a second to half a minute."""

TTFT_SHARE: Final = 0.6
"""What the first token counts against the end, where a person waits."""

QUALITY_UNKNOWN: Final = 0.4
"""What stands in for an unknown quality in the utility: below what models in use usually have, so that an unknown model
is not preferred by accident. An unknown quality never satisfies a floor, whatever stands in for it here."""


@value(frozen=True, slots=True)
class Weights:
    """How much each thing matters; only their proportion counts."""

    quality: float
    cost: float
    latency: float


PRESETS: Final = {
    Strategy.COST: Weights(quality=0.05, cost=1.0, latency=0.02),
    Strategy.LATENCY: Weights(quality=0.05, cost=0.05, latency=1.0),
    Strategy.CAPABILITY: Weights(quality=1.0, cost=0.02, latency=0.02),
    Strategy.BALANCED: Weights(quality=1.0, cost=0.45, latency=0.25),
    Strategy.PINNED: Weights(quality=1.0, cost=0.45, latency=0.25),
    Strategy.WEIGHTED: Weights(quality=1.0, cost=0.45, latency=0.25),
    Strategy.LEARNED: Weights(quality=1.0, cost=0.45, latency=0.25),
}

BACKGROUND_LATENCY: Final = 0.1
"""Where nobody waits latency counts a tenth."""


def weights_for(strategy: Strategy, priority: Priority, own: Weights | None = None) -> Weights:
    """The weights in force: the policy's own or the strategy's, with latency's moved by who waits."""
    chosen = own or PRESETS[strategy]
    if priority is Priority.BACKGROUND:
        return Weights(chosen.quality, chosen.cost, chosen.latency * BACKGROUND_LATENCY)
    return chosen


def utilities(
    weights: Weights,
    quality: Floats,
    cost_nanos: Floats,
    delay_decades: Floats,
    *,
    complete: bool = False,
) -> Floats:
    """The utility of each candidate; arrays of one length. Unknown (NaN) quality has its stand-in, unknown cost none.

    `complete`: no quality is unknown. `delay_decades` are those of the function of this name, which are the same for
    many requests. Nobody without a known price is a candidate, so a NaN that cost leaves is nobody's rank.
    """
    # Written out rather than as the sum of its parts: this is a tenth of what a decision costs.
    per_cost_decade = weights.cost / COST_DECADES
    known = quality if complete else np.where(np.isnan(quality), QUALITY_UNKNOWN, quality)
    utility: Floats = known * weights.quality
    decades = np.log10(np.maximum(cost_nanos, COST_NANOS_CHEAP))
    decades *= per_cost_decade
    utility -= decades
    utility -= delay_decades * (weights.latency / LATENCY_DECADES)
    utility += per_cost_decade * _LOG_CHEAP
    return utility


def delay_decades(ttft_s: Floats, duration_s: Floats) -> Floats:
    """How slow answers are, as utilities count it: decades above what people feel as at once, first token and end."""
    first = np.log10(np.maximum(ttft_s, LATENCY_S_QUICK))
    last = np.log10(np.maximum(duration_s, LATENCY_S_QUICK))
    decades: Floats = first * TTFT_SHARE + last * (1.0 - TTFT_SHARE) - _LOG_QUICK
    return decades


_LOG_CHEAP = log10(COST_NANOS_CHEAP)
_LOG_QUICK = log10(LATENCY_S_QUICK)
