"""What a router does on tasks it was not trained on: tasks are left out in turn, in all sets that have them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.evaluation import Report, evaluate, predicted
from services.router.domain.learning.outcomes import Outcome, normal
from services.router.domain.learning.text import FloatArray
from services.router.domain.learning.training import train

FOLDS = 4
DEV_SHARE = 0.15


def left_out(outcomes: Sequence[Outcome], seed: int, *, declared: bool) -> list[Report]:
    """Figures per set over rows whose task was unseen; λ is frozen on held-out rows of seen tasks."""
    random = np.random.default_rng(seed)
    tasks = sorted({outcome.task or "" for outcome in outcomes})
    fold = dict(zip(tasks, random.integers(FOLDS, size=len(tasks)), strict=True))
    prompts = sorted({normal(outcome.prompt) for outcome in outcomes})
    kept_back = dict(zip(prompts, random.random(len(prompts)) < DEV_SHARE, strict=True))
    dev: list[Outcome] = []
    test: list[Outcome] = []
    said: dict[str, tuple[FloatArray, FloatArray, FloatArray]] = {}
    for out in range(FOLDS):
        seen = [outcome for outcome in outcomes if fold[outcome.task or ""] != out]
        frozen = [outcome for outcome in seen if kept_back[normal(outcome.prompt)]]
        estimator = Estimator(train([outcome for outcome in seen if not kept_back[normal(outcome.prompt)]]))
        unseen = [outcome for outcome in outcomes if fold[outcome.task or ""] == out]
        said.update(predicted(estimator, unseen, declared=declared))
        for key, value in predicted(estimator, frozen, declared=declared).items():
            said[f"{key} without {out}"] = value
        dev += [replace(outcome, id=f"{outcome.id} without {out}") for outcome in frozen]
        test += unseen
    return evaluate([], dev, test, said, seed=seed)
