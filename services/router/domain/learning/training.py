"""Fits a prior to recorded outcomes: ridge regressions in closed form, no randomness but a seed, one core, seconds.

The model, for prompt x and model m in its context:

    quality(x, m) = mean(m) + level(x) + gain(x, m)

`level` is what all models share (task and difficulty), `gain` what sets them apart; only gains decide between
models. Both are ridge regressions, which is the same as hierarchical shrinkage: a task's effect counts
n / (n + κ) of its mean. To it come a rank-1 residual (difficulty, fitted out of sample) and weak effects of style
and topic. Everything is fitted per context, so renaming models or tasks changes nothing.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.router.domain.learning.encoder import (
    QUESTION_AXES,
    STYLE_WAVES,
    TASK_AXES,
    TOPIC_AXES,
    Encoder,
    softmax,
    style_waves,
)
from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.heads import UNTOLD, Design, fit_arms
from services.router.domain.learning.outcomes import Outcome, normal
from services.router.domain.learning.prior import Prior
from services.router.domain.learning.steps import Doubtful, doubtful_prices
from services.router.domain.learning.text import BUCKETS, SCALARS, FloatArray, text_features

TRAINING_ROWS_MIN = 20  # fewer rows say nothing; a prior trained on them would only look like one.
TASK_RIDGE = 2.0
DIFFICULTY_RIDGE = 12.0
TASK_SHRINKAGE = 5.0  # κ: outcomes a task needs before its own mean counts as much as its parent's.
GRAM_ROWS = 2_048  # rows made dense at a time: 34 MB, so memory does not grow with the data.
TOPIC_ROWS_MAX = 4_096  # rows that topic axes are found on; more move them little.
UNSEEN_ROWS_MAX = 2_500  # rows that show what an unseen task looks like: two numbers are learned from them.
LATENT_ROUNDS = 8  # of subspace iteration; the axes' spectrum falls fast.
SHARPNESSES = (2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 24.0)
UNSEEN_FOLDS = 4  # tasks left out in turn to learn what an unseen task looks like.

Folds = npt.NDArray[np.intp]
ParentOf = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class _Matrix:
    """Rows of hashed words and waves, dense a block at a time."""

    buckets: list[npt.NDArray[np.int32]]
    weight: FloatArray
    waves: FloatArray

    def block(self, rows: npt.NDArray[np.intp]) -> FloatArray:
        dense = np.zeros((len(rows), BUCKETS + self.waves.shape[1]), dtype=np.float32)
        for at, row in enumerate(rows):
            found = self.buckets[row]
            values = self.weight[found]
            dense[at, found] = values / (np.sqrt(values @ values) + 1e-9)
        dense[:, BUCKETS:] = self.waves[rows]
        return dense

    def fit(self, rows: npt.NDArray[np.intp], targets: FloatArray, strengths: Sequence[float]) -> FloatArray:
        """Ridge weights (width, k) of targets (n, k), each with its strength; primal or dual, whichever is smaller."""
        width = BUCKETS + self.waves.shape[1]
        wide = len(rows) < width
        blocks = [rows[start : start + GRAM_ROWS] for start in range(0, len(rows), GRAM_ROWS)]
        if wide:
            dense = self.block(rows)
            square = dense @ dense.T
            product = targets[rows]
        else:
            square = np.zeros((width, width), dtype=np.float32)
            product = np.zeros((width, targets.shape[1]), dtype=np.float32)
            for block in blocks:
                dense = self.block(block)
                square += dense.T @ dense
                product += dense.T @ targets[block]
        weights = np.empty((len(square), targets.shape[1]), dtype=np.float32)
        for strength in sorted(set(strengths)):
            columns = [index for index, each in enumerate(strengths) if each == strength]
            ridged = square + np.float32(strength) * np.eye(len(square), dtype=np.float32)
            weights[:, columns] = np.linalg.solve(ridged, product[:, columns])
        return dense.T @ weights if wide else weights

    def times(self, rows: npt.NDArray[np.intp], weights: FloatArray) -> FloatArray:
        return np.concatenate(
            [
                self.block(rows[start : start + GRAM_ROWS]) @ weights
                for start in range(0, len(rows), GRAM_ROWS)
            ]
            or [np.zeros((0, weights.shape[1]), dtype=np.float32)]
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What does not depend on which model did well on which prompt, but for the difficulty's direction."""

    encoder: Encoder
    tasks: tuple[str, ...]
    parents: tuple[str, ...]
    unfamiliar: tuple[float, float]
    design: Design


def train(
    outcomes: Sequence[Outcome],
    *,
    seed: int = 0,
    parent_of: ParentOf | None = None,
    provenance: Mapping[str, object] | None = None,
) -> Prior:
    """Fits a prior. `parent_of(task, prompts)` names the natural task a task belongs to, or "".

    Raises ValueError if there are fewer than TRAINING_ROWS_MIN rows.
    """
    prepared = prepare(outcomes, seed=seed, parent_of=parent_of)
    return fit(prepared, outcomes, {"rows": len(outcomes), "seed": seed, **(provenance or {})})


def fit(prepared: Prepared, outcomes: Sequence[Outcome], provenance: Mapping[str, object]) -> Prior:
    """The prior of prepared rows; `outcomes` are those rows, or the same with other outcomes (a control)."""
    prior = Prior(
        encoder=prepared.encoder,
        tasks=prepared.tasks,
        parents=prepared.parents,
        arms=fit_arms(outcomes, prepared.design),
        unfamiliar=prepared.unfamiliar,
        provenance=dict(provenance),
    )
    return replace(prior, doubtful=_doubtful(prior, outcomes, prepared.design))


def _doubtful(prior: Prior, outcomes: Sequence[Outcome], design: Design) -> dict[str, Doubtful]:
    """Per context, the prices of money between which it is in doubt on its own rows whether a floor is kept."""
    estimator = Estimator(prior)
    contexts: dict[str, list[int]] = {}
    for row, outcome in enumerate(outcomes):
        contexts.setdefault(outcome.context, []).append(row)
    found: dict[str, Doubtful] = {}
    for context, rows in contexts.items():
        named = zip(prior.arms.name, prior.arms.context, strict=True)
        models = tuple(name for name, measured_in in named if measured_in == context)
        estimates = [estimator.estimate_at(*design.reading(row), models) for row in rows]
        prices = doubtful_prices(
            np.stack([estimate.quality for estimate in estimates]),
            np.stack([estimate.cost for estimate in estimates]),
        )
        if prices is not None:
            found[context] = prices
    return found


def prepare(outcomes: Sequence[Outcome], *, seed: int = 0, parent_of: ParentOf | None = None) -> Prepared:
    """Reads the prompts and fits the encoder."""
    if len(outcomes) < TRAINING_ROWS_MIN:
        raise ValueError(
            f"training needs at least {TRAINING_ROWS_MIN} rows with outcomes, got {len(outcomes)}"
        )
    random = np.random.default_rng(seed)
    labels = [outcome.task or UNTOLD for outcome in outcomes]
    tasks = tuple(sorted(set(labels)))
    position = {task: index for index, task in enumerate(tasks)}
    task_of = np.array([position[label] for label in labels])
    features = [text_features(outcome.prompt) for outcome in outcomes]
    scalars = np.stack([each.scalars for each in features])
    mean, deviation = scalars.mean(0), scalars.std(0) + np.float32(1e-6)
    frequencies = np.sqrt(2.0 / len(SCALARS)) * random.normal(size=(len(SCALARS), STYLE_WAVES))
    phases = random.uniform(0, 2 * np.pi, STYLE_WAVES).astype(np.float32)
    waves = style_waves(scalars, mean, deviation, frequencies.astype(np.float32), phases)
    weight = _rarity([each.buckets for each in features])
    question_weight = _rarity([each.question for each in features])
    matrix = _Matrix([each.buckets for each in features], weight, waves)
    asked = _Matrix([each.question for each in features], question_weight, waves[:, :0])
    fold = np.array([zlib.crc32(normal(outcome.prompt).encode()) % 2 for outcome in outcomes])

    share = np.bincount(task_of, minlength=len(tasks)).astype(np.float32) / len(outcomes)
    one_hot = np.eye(len(tasks), dtype=np.float32)[task_of]
    level = _levels(outcomes, task_of)
    targets = np.hstack([one_hot - share, level[:, None]])
    strengths = [TASK_RIDGE] * len(tasks) + [DIFFICULTY_RIDGE]
    everything = np.arange(len(outcomes))
    weights = matrix.fit(everything, targets, strengths)
    task_weights, difficulty_weights = weights[:, :-1], weights[:, -1:]
    held_out = np.zeros((len(outcomes), len(strengths)), dtype=np.float32)
    for half in (0, 1):
        rows = np.flatnonzero(fold == half)
        held_out[rows] = matrix.times(rows, matrix.fit(np.flatnonzero(fold != half), targets, strengths))
    held_scores, held_difficulty = held_out[:, :-1] + share, held_out[:, -1]
    scale = float(held_difficulty.std()) or 1.0
    sharpness = _sharpness(held_scores, task_of)
    unfamiliar = _unfamiliarity(matrix, targets[:, :-1], fold, task_of, share, random)

    left, singular, right = np.linalg.svd(task_weights, full_matrices=False)
    rank = min(TASK_AXES, len(singular))
    task_axes = left[:, :rank] * singular[:rank]
    topic_axes = _latent_axes(matrix, TOPIC_AXES, random)
    question_axes = _latent_axes(asked, QUESTION_AXES, random)
    encoder = Encoder(
        weight=weight,
        words=np.hstack([task_axes[:BUCKETS], topic_axes, difficulty_weights[:BUCKETS]]).astype(np.float32),
        question_weight=question_weight,
        questions=question_axes,
        scalar_mean=mean,
        scalar_deviation=deviation,
        waves=frequencies.astype(np.float32),
        phases=phases,
        style=np.hstack([task_axes[BUCKETS:], difficulty_weights[BUCKETS:]]).astype(np.float32),
        task_map=right[:rank].astype(np.float32),
        task_share=share,
        sharpness=sharpness,
        difficulty_scale=scale,
    )
    padded = np.vstack([topic_axes, np.zeros((STYLE_WAVES, topic_axes.shape[1]), dtype=np.float32)])
    design = Design(
        task=one_hot,
        style=waves,
        topic=np.hstack([matrix.times(everything, padded), asked.times(everything, question_axes)]),
        difficulty=held_difficulty / scale,
        log_chars=scalars[:, 0],
        tasks=task_of,
    )
    prompts: dict[int, list[str]] = {}
    for outcome, task in zip(outcomes, task_of, strict=True):
        prompts.setdefault(int(task), []).append(outcome.prompt)
    parents = tuple(
        parent_of(task, prompts.get(index, [])) if parent_of else "" for index, task in enumerate(tasks)
    )
    return Prepared(encoder, tasks, parents, unfamiliar, design)


def _levels(outcomes: Sequence[Outcome], task_of: npt.NDArray[np.intp]) -> FloatArray:
    """How much better than usual the models did on a row, its context and task set aside: minus its difficulty."""
    totals: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes:
        for model, (quality, _) in outcome.arms.items():
            totals.setdefault((outcome.context, model), []).append(quality)
    means = {key: sum(values) / len(values) for key, values in totals.items()}
    level = np.array(
        [
            np.mean([quality - means[outcome.context, model] for model, (quality, _) in outcome.arms.items()])
            for outcome in outcomes
        ],
        dtype=np.float32,
    )
    groups: dict[tuple[str, int], list[int]] = {}
    for row, (outcome, task) in enumerate(zip(outcomes, task_of, strict=True)):
        groups.setdefault((outcome.context, int(task)), []).append(row)
    for rows in groups.values():
        level[rows] -= level[rows].sum() / (len(rows) + TASK_SHRINKAGE)
    return level


def _sharpness(scores: FloatArray, task_of: npt.NDArray[np.intp]) -> float:
    """The inverse temperature under which held-out tasks are likeliest."""
    rows = np.arange(len(scores))

    def surprise(sharpness: float) -> float:
        return float(-np.log(softmax(scores * np.float32(sharpness))[rows, task_of] + 1e-9).mean())

    return min(SHARPNESSES, key=surprise)


def _rarity(buckets: Sequence[npt.NDArray[np.int32]]) -> FloatArray:
    """Inverse document frequencies, (BUCKETS,)."""
    seen = np.zeros(BUCKETS)
    for each in buckets:
        seen[each] += 1
    return np.log((1 + len(buckets)) / (1 + seen)).astype(np.float32)


def _latent_axes(matrix: _Matrix, axes_count: int, random: np.random.Generator) -> FloatArray:
    """Leading right singular vectors of the hashed words, (BUCKETS, axes_count)."""
    count = len(matrix.buckets)
    sample = np.sort(random.permutation(count)[:TOPIC_ROWS_MAX])
    dense = matrix.block(sample)[:, :BUCKETS]
    basis = random.normal(size=(BUCKETS, axes_count + 10)).astype(np.float32)
    for _ in range(LATENT_ROUNDS):
        basis, _ = np.linalg.qr(dense.T @ (dense @ basis))
    reduced = dense @ basis
    _, vectors = np.linalg.eigh(reduced.T @ reduced)
    axes: FloatArray = (basis @ vectors)[:, ::-1][:, :axes_count]
    return axes


def _unfamiliarity(
    matrix: _Matrix,
    targets: FloatArray,
    fold: Folds,
    task_of: npt.NDArray[np.intp],
    share: FloatArray,
    random: np.random.Generator,
) -> tuple[float, float]:
    """Slope and offset of P(task unseen | best score), learned by leaving tasks out in turn.

    Both kinds weigh the same, so 0.5 is the point where an unseen task and a seen one are equally likely.
    """
    group = random.permutation(np.arange(len(share)) % UNSEEN_FOLDS)[task_of]
    best, unseen = [], []
    judged = random.permutation(np.flatnonzero(fold == 1))[:UNSEEN_ROWS_MAX]
    learned = random.permutation(np.flatnonzero(fold == 0))[:UNSEEN_ROWS_MAX]
    for left_out in range(UNSEEN_FOLDS):
        rows = learned[group[learned] != left_out]
        absent = group[judged] == left_out
        if len(rows) < TRAINING_ROWS_MIN or not absent.any() or absent.all():
            continue
        weights = matrix.fit(rows, targets, [TASK_RIDGE] * len(share))
        best.append((matrix.times(judged, weights) + share).max(axis=1))
        unseen.append(absent)
    if not best:
        return 0.0, -1.0  # nothing can be said of unseen tasks: with one task all prompts count as familiar.
    x, y = np.concatenate(best), np.concatenate(unseen).astype(np.float64)
    weight = np.where(y > 0, 0.5 / max(y.sum(), 1), 0.5 / max((1 - y).sum(), 1))
    slope, offset = 0.0, 0.0
    for _ in range(50):  # Newton's method; the problem is two-dimensional and convex.
        p = 1 / (1 + np.exp(-np.clip(slope * x + offset, -30, 30)))
        gradient = np.array([(weight * (p - y) * x).sum() + 1e-4 * slope, (weight * (p - y)).sum()])
        curve = weight * p * (1 - p)
        hessian = np.array(
            [[(curve * x * x).sum() + 1e-4, (curve * x).sum()], [(curve * x).sum(), curve.sum() + 1e-9]]
        )
        step = np.linalg.solve(hessian, gradient)
        slope, offset = slope - step[0], offset - step[1]
        if np.abs(step).max() < 1e-8:
            break
    return float(slope), float(offset)
