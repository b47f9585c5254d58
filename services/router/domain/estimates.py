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
    quality_low: Floats
    quality_high: Floats
    output_tokens: Floats


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
        total = np.zeros(len(board.candidates))
        for task, probability in belief.items():
            total += probability * board.priors_of(task)
        length = float(features.output_tokens_hint or OUTPUT_TOKENS_TYPICAL)
        return Expectation(
            quality=total,
            quality_low=np.maximum(total - PRIOR_HALF_WIDTH, 0.0),
            quality_high=np.minimum(total + PRIOR_HALF_WIDTH, 1.0),
            output_tokens=np.full(len(board.candidates), length),
        )
