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
    output_tokens: float | Floats
    """One number where it is the same for all."""
    shipped: Floats | None = None
    """Quality before the organisation's own outcomes. None: there were none, it is the same."""
    complete: bool = False
    """True: no quality is unknown. False: one may be."""

    def tokens_of(self, index: int) -> int:
        """The expected length of a candidate's answer."""
        tokens = self.output_tokens
        return int(tokens if isinstance(tokens, float) else tokens[index])

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


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What an organisation's own outcomes move expectations by: tasks (rows) × candidates (columns)."""

    mean: Floats
    half_width: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Expectations laid out by task, so that a request's are its belief's means of them. NaN is unknown."""

    tasks: tuple[str, ...]
    quality: Floats
    """Tasks (rows) × candidates (columns)."""
    half_width: Floats
    """The same, or one row that stands for every task."""
    complete: bool = False
    """True: no quality is unknown. False: one may be."""
    outcomes: Moves | None = None

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        """What is expected of a request: the one sum that live decisions and replays share."""
        shares = np.fromiter(belief.values(), np.float64, len(belief))
        quality = shares @ self.quality
        half_width = self.half_width if self.half_width.ndim == 1 else shares @ self.half_width
        tokens = float(features.output_tokens_hint or OUTPUT_TOKENS_TYPICAL)
        moves = self.outcomes
        if moves is None:
            return Expectation(quality, half_width, tokens, complete=self.complete)
        # A correction of the unknown is unknown: outcomes alone say too little to satisfy a floor.
        moved = np.minimum(np.maximum(quality + shares @ moves.mean, 0.0), 1.0)
        half_width = np.minimum(half_width, shares @ moves.half_width)
        return Expectation(moved, half_width, tokens, quality, self.complete)


class Estimator(Protocol):
    """Predicts quality and length. Pure: the same board, belief and features give the same expectation."""

    @property
    def version(self) -> str:
        """Names what was learned; recorded with every decision."""
        ...

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        """What is expected of every candidate."""
        ...

    def tables(self, board: Board, tasks: tuple[str, ...]) -> Tables:
        """What `expect` looks up: the same arrays for the same board and tasks, so that they are kept once."""
        ...

    def basis(self, board: Board, belief: TaskProbabilities) -> Sequence[Basis]:
        """Where that comes from, per candidate; computed when somebody looks."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Expects what was expected once, from the tables that were kept of it."""

    version: str
    kept: Tables

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        return self.kept.expect(board, belief, features)

    def tables(self, board: Board, tasks: tuple[str, ...]) -> Tables:
        return self.kept

    def basis(self, board: Board, belief: TaskProbabilities) -> Sequence[Basis]:
        """Where it came from was not kept, beside its version."""
        return [Basis()] * len(board)


class CataloguePriors:
    """Expects what the catalogue ships: a quality per task and model, mixed by how likely each task is."""

    version = "catalogue"

    def expect(self, board: Board, belief: TaskProbabilities, features: Features) -> Expectation:
        return self.tables(board, tuple(belief)).expect(board, belief, features)

    def tables(self, board: Board, tasks: tuple[str, ...]) -> Tables:
        """The catalogue's."""
        return Tables(tasks, board.priors(tasks), board.filled(PRIOR_HALF_WIDTH))

    def basis(self, board: Board, belief: TaskProbabilities) -> Sequence[Basis]:
        known = ~np.isnan(np.array(list(belief.values())) @ board.priors(tuple(belief)))
        return [Basis(("catalogue",)) if each else Basis() for each in known]
