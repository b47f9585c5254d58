"""A stream of requests while the best single model silently gets worse: a static table beside what learns on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.evidence import Evidence, Feedback
from services.router.domain.learning.exploration import draw
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.prior import Prior
from services.router.domain.learning.text import text_features

LOST = 0.4  # quality the best single model loses, without notice and from the first request on.
CONTEXT = "paretobandit"


@dataclass(frozen=True, slots=True)
class Drift:
    """Mean quality per policy over the stream. best: always the model that is best after the fall, in hindsight."""

    rows: int
    static: float
    learning: float
    late: float
    best: float
    explored: float


def simulate(prior: Prior, outcomes: Sequence[Outcome], seed: int) -> Drift:
    """Plays the rows in random order; the learner sees the outcome of the model it called, and no other."""
    random = np.random.default_rng(seed)
    rows = [outcome for outcome in outcomes if outcome.context == CONTEXT]
    models = tuple(sorted({model for row in rows for model in row.arms}))
    rows = [rows[index] for index in random.permutation(len(rows)) if len(rows[index].arms) == len(models)]
    truth = np.array([[row.arms[model][0] for model in models] for row in rows])
    fallen = int(truth.mean(axis=0).argmax())
    truth[:, fallen] = np.maximum(truth[:, fallen] - LOST, 0.0)
    estimator, evidence = Estimator(prior), Evidence(prior.tasks)
    chosen = np.empty((2, len(rows)), dtype=int)
    explored = 0
    for at, row in enumerate(rows):
        belief = {row.task or "unknown": 1.0}
        expected = estimator.estimate(belief, text_features(row.prompt), models).quality
        chosen[0, at] = expected.argmax()
        mean, deviation = evidence.corrections(belief, models)
        allowed = np.ones(len(models), dtype=bool)
        drawn = draw(expected + mean, deviation, allowed, int(random.integers(2**63)))
        chosen[1, at] = drawn.chosen
        explored += drawn.explored
        model = models[drawn.chosen]
        evidence.update(
            Feedback(model, belief, float(expected[drawn.chosen]), float(truth[at, drawn.chosen]))
        )
    index = np.arange(len(rows))
    learned = truth[index, chosen[1]]
    return Drift(
        rows=len(rows),
        static=float(truth[index, chosen[0]].mean()),
        learning=float(learned.mean()),
        late=float(learned[len(rows) // 2 :].mean()),
        best=float(truth.mean(axis=0).max()),
        explored=explored / len(rows),
    )
