"""What is expected of candidates before anybody is called: quality and length of the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.router.domain.board import Board
from services.router.domain.features import Features
from services.router.domain.utility import Floats
from services.router.domain.values import value

UNKNOWN_TASK = "unknown"

TaskProbabilities = Mapping[str, float]
"""How likely each task is; they sum to 1. `unknown` is a task like the others."""

NOTHING_KNOWN: TaskProbabilities = {UNKNOWN_TASK: 1.0}

OUTPUT_TOKENS_TYPICAL = 300
"""Length of an answer of which nothing is known; the usual median of chat answers."""

PRIOR_HALF_WIDTH = 0.15
"""Half of the 90 % interval of a shipped prior: benchmarks of the same model differ by as much."""


@value(frozen=True, slots=True)
class Expectation:
    """Arrays over the board's candidates. NaN is unknown, which satisfies no floor."""

    quality: Floats
    half_width: Floats
    """Half of the quality's 90 % interval."""
    output_tokens: Floats
    shipped: Floats | None = None
    """Quality before the organisation's own outcomes. None: there were none, it is the same."""
    complete: bool = False
    """True: no quality is unknown. False: one may be."""

    @property
    def quality_low(self) -> Floats:
        """Lower ends of the 90 % intervals, not below 0."""
        return np.maximum(self.quality - self.half_width, 0.0)

    @property
    def quality_high(self) -> Floats:
        """Upper ends of the 90 % intervals, not above 1."""
        return np.minimum(self.quality + self.half_width, 1.0)


@dataclass(frozen=True, slots=True)
class Basis:
    """Where the expected quality of a candidate comes from, for people who ask."""

    sources: tuple[str, ...] = ()
    """Such as `catalogue` and `prior 3f2a…`. Empty: nothing is known."""
    prior_outcomes: int = 0
    """Outcomes of the prior's training that it rests on."""
    sets: tuple[str, ...] = ()
    """Names of the sets that those were recorded in."""
    outcomes: float = 0.0
    """The organisation's own outcomes that moved it, as they weigh after forgetting."""


class Estimator(Protocol):
    """Predicts quality and length. Pure: the same board, belief and features give the same expectation."""

    @property
    def version(self) -> str:
        """Names what was learned; recorded with every decision."""
        ...

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        """What is expected of every candidate."""
        ...

    def basis(self, board: Board, belief: TaskProbabilities) -> Sequence[Basis]:
        """Where that comes from, per candidate; computed when somebody looks."""
        ...


class CataloguePriors:
    """Expects what the catalogue ships: a quality per task and model, mixed by how likely each task is."""

    version = "catalogue"

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        tasks = tuple(belief)
        total = np.array([belief[task] for task in tasks]) @ board.priors(tasks)
        length = float(features.output_tokens_hint or OUTPUT_TOKENS_TYPICAL)
        return Expectation(total, board.filled(PRIOR_HALF_WIDTH), board.filled(length))

    def basis(self, board: Board, belief: TaskProbabilities) -> Sequence[Basis]:
        known = ~np.isnan(np.array(list(belief.values())) @ board.priors(tuple(belief)))
        return [Basis(("catalogue",)) if each else Basis() for each in known]
