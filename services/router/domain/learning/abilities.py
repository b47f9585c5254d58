"""What a prior says of models per natural task, prompts aside: a small table that is laid out once per prior.

Reading each prompt pays in `turnpike route predict`, which has the benchmark's own tasks; a live request has a belief
over natural tasks, and there prompts explained half a per cent of what sets models apart (ADR 0031). So a decision
looks tasks up and reads nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from services.router.domain.learning.prior import Prior
from services.router.domain.learning.text import FloatArray

EFFECT_SHRINKAGE = 5.0  # κ of training: outcomes that weigh as much as the parent's mean.


@dataclass(frozen=True, slots=True)
class Ability:
    """Of K arms at one task, arrays (K,): expected quality on the context's own scale, the variance of that
    expectation, and the outcomes it comes from; 0 where none was of this task and the mean over all stands in."""

    quality: FloatArray
    variance: FloatArray
    outcomes: FloatArray


def abilities(prior: Prior) -> Mapping[str, Ability]:
    """Per natural task and per task of the prior's own; the empty task stands for all others."""
    children: dict[str, list[int]] = {"": []}
    for index, (task, parent) in enumerate(zip(prior.tasks, prior.parents, strict=True)):
        children.setdefault(task, []).append(index)
        if parent and parent != task:
            children.setdefault(parent, []).append(index)
    return {task: _ability(prior, rows) for task, rows in children.items()}


def _ability(prior: Prior, tasks: Iterable[int]) -> Ability:
    arms = prior.arms
    rows = list(tasks)
    everywhere = arms.rows.sum(axis=0)
    seen = arms.rows[rows] if rows else np.zeros((1, len(arms.name)), dtype=np.float32)
    outcomes = seen.sum(axis=0)
    effect = (arms.gain_task[rows] + arms.level_task[rows]) if rows else np.zeros_like(seen)
    known = outcomes > 0
    told = (effect * seen).sum(axis=0) / np.maximum(outcomes, 1.0)
    # A natural task is more than the benchmarks that stand for it: the more of them, the less another may differ.
    alike = np.maximum((seen > 0).sum(axis=0), 1)
    itself = len(rows) == 1 and alike.max(initial=1) == 1
    transfer = np.zeros_like(outcomes) if itself else arms.deviation**2 / alike
    return Ability(
        quality=arms.quality + np.where(known, told, 0.0),
        variance=np.where(
            known,
            arms.noise / (outcomes + EFFECT_SHRINKAGE) + transfer,
            arms.noise / (everywhere + EFFECT_SHRINKAGE) + arms.deviation**2,
        ),
        outcomes=outcomes,
    )
