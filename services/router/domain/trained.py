"""What a trained prior adds to the catalogue's expectations, for the models it knows; pure.

Qualities of a prior are shares of right answers in the sets of outcomes that it was trained on. Sets differ in how hard
they are, so a set's scale is moved to the catalogue's by the models that both know, as far as they are many; then both
are weighed by how sure they are (the product of two normal distributions). A model that only one of both knows has that
one's quality, a model that neither knows has none.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.router.domain.board import Board
from services.router.domain.estimates import (
    PRIOR_HALF_WIDTH,
    Basis,
    Expectation,
    Tables,
    TaskProbabilities,
)
from services.router.domain.features import Features
from services.router.domain.learning.abilities import abilities
from services.router.domain.learning.names import same_model
from services.router.domain.learning.prior import Prior
from services.router.domain.utility import Floats

NINETY_PERCENT = 1.645
"""Standard deviations to either side of a mean that hold 90 %."""

CATALOGUE_VARIANCE = (PRIOR_HALF_WIDTH / NINETY_PERCENT) ** 2

SCALE_DEVIATION = 0.15
"""By how much the level of a public set differs from that of the natural task it stands for; benchmarks of one task
differ by as much. A prior of an organisation's own outcomes says 0: its qualities are what they are."""

VARIANCE_MIN = 0.02**2
"""Nobody is surer than this of tomorrow's model."""

TABLES_KEPT = 256
"""(board, tasks) pairs that stay laid out: a board a second at most, the classifier's tasks and each declared one."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Tasks (rows) × candidates (columns). NaN is unknown."""

    board: Board
    tables: Tables
    prior_outcomes: Floats
    """How many outcomes of the prior's training a quality rests on; 0: the catalogue alone."""


class TrainedExpectations:
    """The `Estimator` of a catalogue and a prior."""

    def __init__(self, prior: Prior, version: str) -> None:
        """`version` names the prior's content."""
        self.prior = prior
        self.content_version = version
        self.version = f"prior {version}"
        self._abilities = abilities(prior)
        self._scale_variance = float(prior.provenance.get("scale_deviation", SCALE_DEVIATION)) ** 2
        self._arms: dict[str, tuple[int, ...]] = {}
        self._tables: OrderedDict[tuple[int, tuple[str, ...]], Table] = OrderedDict()

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        """A look-up and two products: the text has been read by the classifier already."""
        return self.tables(board, tuple(belief)).expect(board, belief, features)

    def tables(self, board: Board, tasks: tuple[str, ...]) -> Tables:
        """The catalogue's and the prior's, weighed."""
        return self.table(board, tasks).tables

    def basis(self, board: Board, belief: TaskProbabilities) -> Sequence[Basis]:
        """Where each candidate's quality comes from; for people who look."""
        table = self.table(board, tuple(belief))
        shares = np.fromiter(belief.values(), np.float64, len(belief))
        outcomes = shares @ table.prior_outcomes
        catalogue = shares @ board.priors(tuple(belief))
        found = []
        for candidate in board.candidates:
            sets = sorted({self.prior.arms.context[arm] for arm in self._arms_of(candidate.name)})
            sources = []
            if not np.isnan(catalogue[candidate.index]):
                sources.append("catalogue")
            if sets:
                sources.append(self.version)
            found.append(
                Basis(tuple(sources), round(float(outcomes[candidate.index])), tuple(filter(None, sets)))
            )
        return found

    def table(self, board: Board, tasks: tuple[str, ...]) -> Table:
        """The expectations for a list of tasks, laid out at their first use."""
        key = (id(board), tasks)
        found = self._tables.get(key)
        if found is None or found.board is not board:
            found = self._tables[key] = self._lay_out(board, tasks)
            while len(self._tables) > TABLES_KEPT:
                self._tables.popitem(last=False)
        return found

    def _lay_out(self, board: Board, tasks: tuple[str, ...]) -> Table:
        catalogue = board.priors(tasks)
        quality = catalogue.copy()
        variance = np.full(quality.shape, CATALOGUE_VARIANCE)
        outcomes = np.zeros(quality.shape)
        known = {index: arms for index, name in enumerate(board.model_names) if (arms := self._arms_of(name))}
        for row, task in enumerate(tasks):
            self._add(task, known, catalogue[row], quality[row], variance[row], outcomes[row])
        half_width = NINETY_PERCENT * np.sqrt(np.maximum(variance, VARIANCE_MIN))
        tables = Tables(tasks, np.clip(quality, 0.0, 1.0), half_width, not np.isnan(quality).any())
        return Table(board, tables, outcomes)

    def _add(
        self,
        task: str,
        known: Mapping[int, tuple[int, ...]],
        catalogue: Floats,
        quality: Floats,
        variance: Floats,
        outcomes: Floats,
    ) -> None:
        """Adds what the prior says of a task to a row of each table."""
        ability = self._abilities.get(task, self._abilities[""])
        contexts = self.prior.arms.context
        differences: dict[str, dict[str, float]] = {}
        for index, arms in known.items():
            if not np.isnan(catalogue[index]):
                for arm in arms:
                    # By arm, so that a model at several endpoints counts once.
                    told = float(catalogue[index]) - float(ability.quality[arm])
                    differences.setdefault(contexts[arm], {})[self.prior.arms.name[arm]] = told
        moved = {context: self._scale(list(found.values())) for context, found in differences.items()}
        for index, arms in known.items():
            precision = total = 0.0
            if not np.isnan(catalogue[index]):
                precision = 1.0 / CATALOGUE_VARIANCE
                total = float(catalogue[index]) * precision
            for arm in arms:
                offset, doubt = moved.get(contexts[arm], (0.0, self._scale_variance))
                weight = 1.0 / (float(ability.variance[arm]) + doubt + VARIANCE_MIN)
                precision += weight
                total += weight * (float(ability.quality[arm]) + offset)
                outcomes[index] += float(ability.outcomes[arm])
            quality[index], variance[index] = total / precision, 1.0 / precision

    def _scale(self, differences: Sequence[float]) -> tuple[float, float]:
        """What a set's qualities are moved by, and the variance that is left of it."""
        trust = self._scale_variance / (self._scale_variance + CATALOGUE_VARIANCE / len(differences))
        return trust * sum(differences) / len(differences), self._scale_variance * (1.0 - trust)

    def _arms_of(self, model: str) -> tuple[int, ...]:
        found = self._arms.get(model)
        if found is None:
            names = self.prior.arms.name
            found = tuple(
                index for index, name in enumerate(names) if name == model or same_model(model, name)
            )
            self._arms[model] = found
        return found
