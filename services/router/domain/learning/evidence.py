"""What outcomes have taught since the prior was trained: per task and model, forgotten at a stated pace.

A model may get worse without notice. So every outcome of a task makes that task's older evidence count a little
less, for all models alike: a fall shows within some tens of outcomes, and a model that was left becomes uncertain
again and is tried again. What all tasks say of a model (its general drift) is the starting point of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.router.domain.learning.text import FloatArray

UNKNOWN = "unknown"
MODELS_MAX = (
    4_096  # columns; more distinct models than any catalogue has. Feedback on further ones is not kept.
)
RETENTION = (
    0.97  # of a task's evidence per outcome of it: a memory of about 1 / (1 - RETENTION) = 33 outcomes.
)
GENERAL_RETENTION = 0.99  # of a model's evidence over all tasks per outcome of that model.
PRIOR_OUTCOMES = 8.0  # what the prior weighs, in outcomes; small, for a prior cannot know today's model.
GENERAL_OUTCOMES = 4.0  # small: a vendor that swaps a model swaps it for all tasks.
OUTCOME_VARIANCE = (
    0.16  # of one outcome round its expectation: between 0.25 (a coin) and 0.09 (a model 90 % right).
)
BELIEF_MIN = 0.02  # a task believed less than this learns nothing from an outcome.


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of one answer.

    belief: the request's task belief.  prior_quality: what was expected before any evidence: a surprise against an
    expectation that had learned already would teach less than half of a change.
    outcome: 0..1, as a rating, an edit, a retry or a validator tells.  weight: 1 is a verdict, less is a weak sign.
    """

    model: str
    belief: Mapping[str, float]
    prior_quality: float
    outcome: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.outcome <= 1 or not 0 < self.weight <= 1:
            raise ValueError(
                f"an outcome lies in 0..1 and its weight in 0..1, not {self.outcome}, {self.weight}"
            )


@dataclass(slots=True)
class Evidence:
    """Sums of surprises (outcome minus the prior's expectation) and how much they weigh. Not safe for two threads."""

    tasks: tuple[str, ...]
    _columns: dict[str, int] = field(default_factory=dict)
    _surprise: FloatArray = field(init=False)
    _weight: FloatArray = field(init=False)
    _general: FloatArray = field(init=False)  # rows: sum, weight

    def __post_init__(self) -> None:
        if UNKNOWN not in self.tasks:
            self.tasks = (*self.tasks, UNKNOWN)
        self._surprise = np.zeros((len(self.tasks), 0))
        self._weight = np.zeros((len(self.tasks), 0))
        self._general = np.zeros((2, 0))

    def update(self, feedback: Feedback) -> bool:
        """Learns from one outcome; False if it could not be kept (MODELS_MAX is reached)."""
        column = self._column(feedback.model)
        if column is None:
            return False
        surprise = feedback.outcome - feedback.prior_quality
        for row, share in self._rows(feedback.belief):
            self._surprise[row] *= RETENTION**share
            self._weight[row] *= RETENTION**share
            self._surprise[row, column] += share * feedback.weight * surprise
            self._weight[row, column] += share * feedback.weight
        self._general[:, column] *= GENERAL_RETENTION
        self._general[:, column] += (feedback.weight * surprise, feedback.weight)
        return True

    def corrections(
        self, belief: Mapping[str, float], models: Sequence[str]
    ) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of what to add to the prior's quality, arrays over `models`."""
        columns = np.array([self._columns.get(model, -1) for model in models])
        known = columns >= 0
        mean = np.zeros(len(models))
        variance = np.full(len(models), OUTCOME_VARIANCE / PRIOR_OUTCOMES)
        if known.any():
            at = columns[known]
            general = self._general[0, at] / (self._general[1, at] + GENERAL_OUTCOMES)
            shares = np.zeros(len(self.tasks))
            for row, share in self._rows(belief):
                shares[row] += share
            total = shares.sum()
            weights = self._weight[:, at] + PRIOR_OUTCOMES
            posterior = (self._surprise[:, at] + PRIOR_OUTCOMES * general) / weights
            mean[known] = shares @ posterior + (1 - total) * general
            variance[known] = (
                shares @ (OUTCOME_VARIANCE / weights) + (1 - total) * OUTCOME_VARIANCE / PRIOR_OUTCOMES
            )
        return mean, np.sqrt(variance)

    def weights(self, task: str, models: Sequence[str]) -> FloatArray:
        """How much the outcomes of a task weigh per model, after forgetting; 0 where there were none."""
        row = self.tasks.index(task) if task in self.tasks else self.tasks.index(UNKNOWN)
        found = np.zeros(len(models))
        for at, model in enumerate(models):
            if (column := self._columns.get(model)) is not None:
                found[at] = self._weight[row, column]
        return found

    def copy(self) -> "Evidence":
        """A snapshot that later outcomes do not change: what decisions are made on and replayed from."""
        twin = Evidence(self.tasks, dict(self._columns))
        twin._surprise, twin._weight = self._surprise.copy(), self._weight.copy()
        twin._general = self._general.copy()
        return twin

    def _rows(self, belief: Mapping[str, float]) -> list[tuple[int, float]]:
        found: dict[int, float] = {}
        for task, share in belief.items():
            if share >= BELIEF_MIN:
                row = self.tasks.index(task) if task in self.tasks else self.tasks.index(UNKNOWN)
                found[row] = found.get(row, 0.0) + share
        return list(found.items())

    def _column(self, model: str) -> int | None:
        column = self._columns.get(model)
        if column is None:
            if len(self._columns) >= MODELS_MAX:
                return None
            column = self._columns[model] = len(self._columns)
            self._surprise = np.pad(self._surprise, ((0, 0), (0, 1)))
            self._weight = np.pad(self._weight, ((0, 0), (0, 1)))
            self._general = np.pad(self._general, ((0, 0), (0, 1)))
        return column
