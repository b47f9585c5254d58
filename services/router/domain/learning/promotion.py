"""Whether a new prior may be used: it must keep the promised floor on later rows than it learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.evaluation import predicted, tables
from services.router.domain.learning.metrics import PRICES, frozen_price, kept_floor
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.prior import Prior

LEARN_SHARE = 0.7  # of the rows, in the order they happened; the candidate is trained on these ...
FREEZE_SHARE = 0.1  # ... the price of money is frozen on the next, and the floor is judged on the rest.
FLOOR = 0.98
FLOOR_SLACK = (
    0.005  # a floor is missed below FLOOR - FLOOR_SLACK: the promise was measured to about this much.
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """promoted: may it be used.  reasons: one sentence per set, the deciding ones first."""

    promoted: bool
    reasons: tuple[str, ...]


def time_split(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
    """Rows to learn from, to freeze on and to judge on, in the order given: earlier ones never see later ones.

    Split within each set, so that every set is judged.
    """
    contexts: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        contexts.setdefault(outcome.context, []).append(outcome)
    learn: list[Outcome] = []
    freeze: list[Outcome] = []
    judge: list[Outcome] = []
    for rows in contexts.values():
        first, second = int(len(rows) * LEARN_SHARE), int(len(rows) * (LEARN_SHARE + FREEZE_SHARE))
        learn += rows[:first]
        freeze += rows[first:second]
        judge += rows[second:]
    return learn, freeze, judge


def judge(
    candidate: Prior, freeze: Sequence[Outcome], later: Sequence[Outcome], *, floor: float = FLOOR
) -> Verdict:
    """Freezes λ per set on `freeze` and looks whether `floor` × the best single model's quality is kept `later`.

    A set without costs has nothing to trade and is not judged. A candidate that no set can judge is refused.
    """
    estimator = Estimator(candidate)
    held = tables(freeze, predicted(estimator, freeze, declared=True))
    missed: list[str] = []
    kept: list[str] = []
    random = np.random.default_rng(0)
    for context, (table, _, _) in tables(later, predicted(estimator, later, declared=True)).items():
        name = context or "the outcomes"
        if not table.priced:
            continue
        if context not in held or not held[context][0].priced:
            missed.append(f"{name}: too few rows to freeze a price on")
            continue
        index = frozen_price(held[context][0], floor)
        if index is None:
            missed.append(f"{name}: no price of money keeps {floor:.0%} of the best single model's quality")
            continue
        found = kept_floor(table, index, random)
        sentence = (
            f"{name}: {found.ratio:.3f} of the best single model's quality at {1 - found.saved:.0%} of its cost "
            f"(λ = {PRICES[index]:.3g} per USD, {len(table.quality)} later rows)"
        )
        (kept if found.ratio >= floor - FLOOR_SLACK else missed).append(sentence)
    if not missed and not kept:
        missed.append("no set has enough later rows with costs to judge a floor on")
    return Verdict(promoted=not missed, reasons=(*missed, *kept))
