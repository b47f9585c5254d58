"""Fits what sets models apart, per context: ridge regressions of gains, levels and costs on coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.router.domain.learning.encoder import TOPIC_AXES, Coordinates
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.prior import Arms
from services.router.domain.learning.scales import evident_scales
from services.router.domain.learning.text import FloatArray

UNTOLD = "untold"  # the task of training rows that name none.
NOISE = 15.0  # ridge strength: the variance of one outcome over that of an effect, found on held-out splits.
GAIN_SHRINKAGE = 5.0  # κ of a task's gain and of its level.
STYLE_SCALE = 0.5  # this and the next three: where evidence begins to look for a context's own.
TOPIC_SCALE = 2.0
DIFFICULTY_SCALE = 1.0
SLOPE_SCALE = 0.5
COST_STYLE_SCALE = 1.0
COST_TOPIC_SCALE = 1.0
MEAN_SHRINKAGE = 5.0  # outcomes before a model's own mean counts as much as its context's.

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Design:
    """Coordinates of the training rows. task: one-hot (n, T); difficulty: out of sample, standardised, (n,)."""

    task: FloatArray
    style: FloatArray
    topic: FloatArray
    difficulty: FloatArray
    log_chars: FloatArray
    tasks: npt.NDArray[np.intp]

    def reading(self, row: int) -> tuple[Coordinates, FloatArray, float, float]:
        """A row as the estimator would read it with its task declared: coordinates, tasks, unknown, log_chars."""
        at = Coordinates(
            tasks=self.task[row],
            style=self.style[row],
            topic=self.topic[row],
            difficulty=float(self.difficulty[row]),
            familiarity=1.0,
        )
        return at, self.task[row], 0.0, float(self.log_chars[row])


@dataclass(frozen=True, slots=True)
class _Columns:
    """Named blocks of a design matrix, each with the scale that says how much its effects may vary."""

    matrix: Array
    scales: Array
    ends: tuple[int, ...]

    def fit(self, rows: npt.NDArray[np.bool_], targets: Array) -> list[Array]:
        """Coefficients per block in the blocks' own units; NaN targets are rows the arm has no outcome for."""
        design = self.matrix[rows]
        square = design.T @ design + NOISE * np.eye(design.shape[1])
        solved = np.linalg.solve(square, design.T @ targets) * self.scales[:, None]
        return np.split(solved, self.ends[:-1])


def _columns(*blocks: tuple[npt.NDArray[np.floating], float]) -> _Columns:
    widths = [block.shape[1] for block, _ in blocks]
    scales = np.concatenate([np.full(width, scale) for width, (_, scale) in zip(widths, blocks, strict=True)])
    return _Columns(np.hstack([block * scale for block, scale in blocks]), scales, tuple(np.cumsum(widths)))


def fit_arms(outcomes: Sequence[Outcome], design: Design) -> Arms:
    """One column per model and context. Contexts do not mix, so each keeps its own scale of quality."""
    contexts: dict[str, list[int]] = {}
    for row, outcome in enumerate(outcomes):
        contexts.setdefault(outcome.context, []).append(row)
    parts = [
        _fit_context(context, [outcomes[row] for row in rows], np.array(rows), design)
        for context, rows in sorted(contexts.items())
    ]
    joined = {
        name: np.concatenate([part[1][name] for part in parts], axis=-1).astype(np.float32)
        for name in parts[0][1]
    }
    return Arms(
        name=tuple(name for part in parts for name in part[0]),
        context=tuple(
            context for context, part in zip(sorted(contexts), parts, strict=True) for _ in part[0]
        ),
        **joined,
    )


def _fit_context(
    context: str, outcomes: list[Outcome], rows: npt.NDArray[np.intp], design: Design
) -> tuple[list[str], dict[str, Array]]:
    models = sorted({model for outcome in outcomes for model in outcome.arms})
    quality, cost = np.full((2, len(outcomes), len(models)), np.nan)
    for at, outcome in enumerate(outcomes):
        for column, model in enumerate(models):
            if (pair := outcome.arms.get(model)) is not None:
                quality[at, column] = pair[0]
                cost[at, column] = np.nan if pair[1] is None else pair[1]
    known = ~np.isnan(quality)
    counts = known.sum(0)
    overall = np.nanmean(quality)
    mean = (np.nansum(quality, 0) + MEAN_SHRINKAGE * overall) / (counts + MEAN_SHRINKAGE)
    excess = quality - mean
    level = np.nanmean(excess, 1, keepdims=True)
    task, style, topic = design.task[rows], design.style[rows], design.topic[rows]
    difficulty = design.difficulty[rows, None]
    task_scale = np.sqrt(NOISE / GAIN_SHRINKAGE)
    blocks = (task, style, topic[:, :TOPIC_AXES], topic[:, TOPIC_AXES:], difficulty, task * difficulty)
    starts = (task_scale, STYLE_SCALE, TOPIC_SCALE, TOPIC_SCALE, DIFFICULTY_SCALE, SLOPE_SCALE)
    noise_deviation = np.sqrt(NOISE)
    whole = known.all(axis=1)
    scales = evident_scales(
        [block[whole].astype(np.float64) for block in blocks],
        (excess - level)[whole],
        [start / noise_deviation for start in starts],
    )
    gains = _columns(*((block, scale * noise_deviation) for block, scale in zip(blocks, scales, strict=True)))
    by_task, by_style, by_words, by_question, by_difficulty, by_slope = _fit_masked(gains, excess - level)
    levels = _columns((task, task_scale), (difficulty, DIFFICULTY_SCALE)).fit(
        np.ones(len(rows), dtype=bool), level
    )
    costs = _columns(
        (task, task_scale),
        (style, COST_STYLE_SCALE),
        (topic, COST_TOPIC_SCALE),
        (design.log_chars[rows, None] - LOG_CHARS_CENTRE, 1.0),
    )
    priced = ~np.isnan(cost)
    mean_cost = np.array(
        [
            cost[priced[:, column], column].mean() if priced[:, column].any() else np.nan
            for column in range(len(models))
        ]
    )
    fitted_costs = _fit_masked(costs, cost / np.where(mean_cost > 0, mean_cost, 1.0) - 1.0)
    seen = task.T @ known
    expected = mean + levels[0].T[0][design.tasks[rows]][:, None] + by_task[design.tasks[rows]]
    noise = np.nanmean((quality - expected) ** 2, axis=0) + 1e-3
    arms = len(models)
    return models, {
        "quality": mean,
        "cost": mean_cost,
        "gain_task": by_task,
        "gain_style": by_style,
        "gain_topic": np.vstack([by_words, by_question]),
        "gain_difficulty": by_difficulty[0],
        "gain_slope": by_slope,
        "level_task": np.repeat(levels[0], arms, axis=1),
        "level_difficulty": np.repeat(levels[1][0], arms),
        "cost_task": fitted_costs[0],
        "cost_style": fitted_costs[1],
        "cost_topic": fitted_costs[2],
        "cost_length": fitted_costs[3][0],
        "rows": seen,
        "deviation": _between_tasks(by_task, seen),
        "noise": noise,
    }


LOG_CHARS_CENTRE = (
    6.0  # log of about 400 characters: an ordinary prompt, so that the intercept means something.
)


def _fit_masked(columns: _Columns, targets: Array) -> list[Array]:
    """Fits each arm on the rows it has; arms with the same rows are solved together."""
    known = ~np.isnan(targets)
    together: dict[bytes, list[int]] = {}
    for column in range(targets.shape[1]):
        together.setdefault(known[:, column].tobytes(), []).append(column)
    widths = np.diff((0, *columns.ends))
    result = [np.zeros((width, targets.shape[1])) for width in widths]
    for arms in together.values():
        mask = known[:, arms[0]]
        if not mask.any():
            continue
        for block, found in zip(result, columns.fit(mask, targets[mask][:, arms]), strict=True):
            block[:, arms] = found
    return result


def _between_tasks(gain_task: Array, seen: Array) -> Array:
    """Standard deviation of gains between tasks, at least a little: an unseen task may differ by so much."""
    shares = seen / np.maximum(seen.sum(0), 1.0)
    centre = (gain_task * shares).sum(0)
    present = seen > 0
    spread = np.where(present, (gain_task - centre) ** 2, 0.0).sum(0) / np.maximum(present.sum(0), 1)
    floored: Array = np.maximum(np.sqrt(spread), BETWEEN_TASKS_MIN)
    return floored


BETWEEN_TASKS_MIN = (
    0.05  # with a single task nothing is seen of how tasks differ; models always do by a little.
)
