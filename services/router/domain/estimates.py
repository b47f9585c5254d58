"""What is expected of candidates before anybody is called: quality and length of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.router.domain.board import Board
from services.router.domain.features import Features
from services.router.domain.utility import Floats

UNKNOWN_TASK = "unknown"

TaskProbabilities = Mapping[str, float]
"""How likely each task is; they sum to 1. `unknown` is a task like the others."""

NOTHING_KNOWN: TaskProbabilities = {UNKNOWN_TASK: 1.0}

OUTPUT_TOKENS_TYPICAL = 300
"""Length of an answer of which nothing is known; the usual median of chat answers."""

PRIOR_HALF_WIDTH = 0.15
"""Half of the 90 % interval of a shipped prior: benchmarks of the same model differ by as much."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Arrays over the board's candidates. NaN is unknown, which satisfies no floor."""

    quality: Floats
    half_width: Floats
    """Half of the quality's 90 % interval."""
    output_tokens: Floats

    @property
    def quality_low(self) -> Floats:
        """Lower ends of the 90 % intervals, not below 0."""
        return np.maximum(self.quality - self.half_width, 0.0)

    @property
    def quality_high(self) -> Floats:
        """Upper ends of the 90 % intervals, not above 1."""
        return np.minimum(self.quality + self.half_width, 1.0)


class Estimator(Protocol):
    """Predicts quality and length. Pure: the same board, belief and features give the same expectation."""

    @property
    def version(self) -> str:
        """Names what was learned; recorded with every decision."""
        ...

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        """What is expected of every candidate."""
        ...


class CataloguePriors:
    """Expects what the catalogue ships: a quality per task and model, mixed by how likely each task is."""

    version = "catalogue"

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        tasks = tuple(belief)
        total = np.array([belief[task] for task in tasks]) @ board.priors(tasks)
        length = float(features.output_tokens_hint or OUTPUT_TOKENS_TYPICAL)
        return Expectation(total, board.filled(PRIOR_HALF_WIDTH), board.filled(length))
