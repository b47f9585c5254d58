"""What an organisation's own outcomes add to the shipped expectations. Immutable snapshots; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.router.domain.board import Board
from services.router.domain.estimates import Estimator, Expectation, TaskProbabilities
from services.router.domain.features import Features
from services.router.domain.learning.evidence import Evidence

NINETY_PERCENT = 1.645
"""Standard deviations to either side of a mean that hold 90 %."""


@dataclass(frozen=True, slots=True, eq=False)
class LearnedEstimator:
    """The shipped expectation, corrected by evidence where there is any."""

    shipped: Estimator
    evidence: Evidence
    """A copy that nobody changes."""
    outcomes: int
    """How many outcomes were learned from: the version of what was learned."""

    @property
    def version(self) -> str:
        """Names what was learned."""
        return f"{self.shipped.version}+{self.outcomes}"

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        shipped = self.shipped.expect(board, belief, features)
        mean, deviation = self.evidence.corrections(belief, board.model_names)
        # A correction of the unknown is unknown: outcomes alone say too little to satisfy a floor.
        quality = np.clip(shipped.quality + mean, 0.0, 1.0)
        half_width = np.asarray(NINETY_PERCENT * deviation, np.float64)
        return Expectation(quality, half_width, shipped.output_tokens)


class EstimatorBook:
    """The estimator of each organisation."""

    def __init__(self, shipped: Estimator) -> None:
        self.shipped = shipped
        self._learned: Mapping[str, LearnedEstimator] = {}

    def of(self, organisation_id: str) -> Estimator:
        """What decisions of the organisation are made by."""
        return self._learned.get(organisation_id, self.shipped)

    def take(self, organisation_id: str, evidence: Evidence, outcomes: int) -> None:
        """New outcomes of an organisation were learned from."""
        learned = LearnedEstimator(self.shipped, evidence.copy(), outcomes)
        self._learned = {**self._learned, organisation_id: learned}
