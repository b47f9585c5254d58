"""What an organisation's own outcomes add to the shipped expectations. Immutable snapshots; pure."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.router.domain.board import Board
from services.router.domain.estimates import (
    Basis,
    Estimator,
    Expectation,
    Moves,
    Tables,
    TaskProbabilities,
)
from services.router.domain.features import Features
from services.router.domain.learning.evidence import Evidence
from services.router.domain.utility import Floats

NINETY_PERCENT = 1.645
"""Standard deviations to either side of a mean that hold 90 %."""


TABLES_KEPT = 16
"""(board, tasks) pairs whose corrections stay laid out per organisation: the classifier's tasks, and declared ones."""


@dataclass(frozen=True, slots=True, eq=False)
class _Corrections:
    """Tasks (rows) × candidates (columns) of one board."""

    board: Board
    tables: Tables
    weight: Floats


@dataclass(frozen=True, slots=True, eq=False)
class LearnedEstimator:
    """The shipped expectation, corrected by evidence where there is any."""

    shipped: Estimator
    evidence: Evidence
    """A copy that nobody changes."""
    outcomes: int
    """How many outcomes were learned from: the version of what was learned."""
    _tables: OrderedDict[tuple[int, tuple[str, ...]], _Corrections] = field(default_factory=OrderedDict)

    @property
    def version(self) -> str:
        """Names what was learned."""
        return f"{self.shipped.version}+{self.outcomes}"

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        return self.tables(board, tuple(belief)).expect(board, belief, features)

    def tables(self, board: Board, tasks: tuple[str, ...]) -> Tables:
        """As shipped, and what the outcomes move that by."""
        return self._corrections(board, tasks).tables

    def basis(self, board: Board, belief: TaskProbabilities) -> Sequence[Basis]:
        """As shipped, with the outcomes that moved it."""
        corrections = self._corrections(board, tuple(belief))
        shares = np.fromiter(belief.values(), np.float64, len(belief))
        moved = shares @ corrections.weight
        return [
            replace(basis, sources=(*basis.sources, "outcomes"), outcomes=float(weight))
            if weight > 0
            else basis
            for basis, weight in zip(self.shipped.basis(board, belief), moved, strict=True)
        ]

    def _corrections(self, board: Board, tasks: tuple[str, ...]) -> _Corrections:
        key = (id(board), tasks)
        found = self._tables.get(key)
        if found is None or found.board is not board:
            rows = [self.evidence.corrections({task: 1.0}, board.model_names) for task in tasks]
            moves = Moves(
                np.stack([mean for mean, _ in rows]),
                np.asarray(NINETY_PERCENT * np.stack([deviation for _, deviation in rows]), np.float64),
            )
            found = self._tables[key] = _Corrections(
                board,
                replace(self.shipped.tables(board, tasks), outcomes=moves),
                np.stack([self.evidence.weights(task, board.model_names) for task in tasks]),
            )
            while len(self._tables) > TABLES_KEPT:
                self._tables.popitem(last=False)
        return found


class EstimatorBook:
    """The estimator of each organisation, on what is shipped or was promoted."""

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

    def ship(self, shipped: Estimator) -> None:
        """Another prior is in force; what was a surprise against the one before is forgotten with it."""
        self.shipped, self._learned = shipped, {}
