"""Draws a model by Thompson sampling under a cap, with the exact probability of every draw.

Deciding needs three things at once: mostly the best model, sometimes another so that learning goes on, and the
probability of what was done (its propensity), without which no logged decision can judge another policy later. So the
chances of all candidates are estimated first, by many draws of a seeded generator; what explores is scaled down to the
cap; then one number of the same generator picks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.router.domain.learning.text import FloatArray

DRAWS = 128  # of all utilities; a chance is known to 0.04, and the propensity recorded is the one used, so it is exact.
EXPLORATION_MAX = 0.10  # share of requests that may go to another than the best; policies may lower it.


@dataclass(frozen=True, slots=True)
class Draw:
    """chosen: index of the candidate.  propensities: chance of each, summing to 1.  explored: not the best one."""

    chosen: int
    propensities: FloatArray
    explored: bool


def draw(
    utility: FloatArray,
    uncertainty: FloatArray,
    allowed: npt.NDArray[np.bool_],
    seed: int,
    *,
    exploration_max: float = EXPLORATION_MAX,
) -> Draw:
    """Picks one of the allowed candidates; the same arguments give the same draw, on every machine.

    utility, uncertainty: mean and standard deviation, in any one unit.  allowed: who may be explored or chosen at all;
    who misses a quality floor is not.  Raises ValueError if nobody is allowed.
    """
    if not allowed.any():
        raise ValueError("no candidate is allowed")
    random = np.random.Generator(np.random.PCG64(seed))
    held = np.where(allowed, utility, -np.inf)
    best = int(held.argmax())
    sampled = held + random.standard_normal((DRAWS, len(held))) * np.where(allowed, uncertainty, 0.0)
    chances = np.bincount(sampled.argmax(axis=1), minlength=len(held)) / DRAWS
    others = 1.0 - chances[best]
    if others > exploration_max:
        chances = chances * (exploration_max / others)
    chances[best] = 0.0
    chances[best] = 1.0 - chances.sum()
    chosen = int(np.searchsorted(np.cumsum(chances), random.random(), side="right"))
    chosen = min(chosen, len(held) - 1)
    return Draw(chosen=chosen, propensities=chances, explored=chosen != best)
