"""Whether a new prior may be used: it must keep the promised floor on later rows than it learned from.

Two splits in time tell. Training sets the last rows of its file aside, and the finding travels in the prior. And what a
router's users said of answers since is held against what the prior expects of the same models at the same tasks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.evaluation import predicted, tables
from services.router.domain.learning.metrics import PRICES, frozen_price, kept_floor
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.prior import Prior

JUDGED = "judged"
"""Name of the finding in a prior's provenance."""

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

    A set without costs has nothing to trade: there the model of the best expectation must keep it. A candidate that no
    set can judge is refused.
    """
    estimator = Estimator(candidate)
    held = tables(freeze, predicted(estimator, freeze, declared=True))
    missed: list[str] = []
    kept: list[str] = []
    random = np.random.default_rng(0)
    for context, (table, _, _) in tables(later, predicted(estimator, later, declared=True)).items():
        name = context or "the outcomes"
        if not table.priced:
            rows = np.arange(len(table.quality))
            chosen = table.quality[rows, table.bid.argmax(axis=1)].mean()
            ratio = float(chosen / max(table.quality.mean(axis=0).max(), 1e-9))
            sentence = f"{name}: {ratio:.3f} of the best single model's quality, costs unknown ({len(rows)} later rows)"
            (kept if ratio >= floor - FLOOR_SLACK else missed).append(sentence)
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
        missed.append("no set has enough later rows to judge a floor on")
    return Verdict(promoted=not missed, reasons=(*missed, *kept))


def judge_by_time(
    outcomes: Sequence[Outcome], train: Callable[[Sequence[Outcome]], Prior], *, floor: float = FLOOR
) -> Verdict:
    """Trains on the earlier rows and judges on the later ones; `outcomes` are in the order things happened."""
    learn, freeze, later = time_split(outcomes)
    try:
        candidate = train(learn)
    except ValueError as too_few:
        return Verdict(False, (str(too_few),))
    return judge(candidate, freeze, later, floor=floor)


def to_provenance(verdict: Verdict, floor: float) -> dict[str, Any]:
    """The finding as it travels in a prior."""
    return {"promoted": verdict.promoted, "floor": floor, "reasons": list(verdict.reasons)}


def told_by(prior: Prior) -> Verdict:
    """What training found of the prior on its own split in time; a prior that tells nothing is refused."""
    judged = prior.provenance.get(JUDGED)
    if not isinstance(judged, Mapping):
        return Verdict(
            False, ("the prior does not say how it did on later rows: train it with `turnpike route train`",)
        )
    floor = float(judged.get("floor", 0.0))
    reasons = tuple(str(reason) for reason in judged.get("reasons", ()))
    if floor < FLOOR:
        return Verdict(False, (f"it was judged by a floor of {floor:.0%}, {FLOOR:.0%} is asked", *reasons))
    return Verdict(bool(judged.get("promoted")), reasons)


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said of an answer of `model` to work of `task`, and what the prior expects there; all in 0..1."""

    model: str
    task: str
    expected: float
    outcome: float


SAID_MIN = 20  # outcomes of a model at a task before they can refuse a prior.
PROMISE_SLACK = (
    0.10  # by how much a prior may expect more than was found: people rate by another scale than tests.
)
OUTCOME_DEVIATION = 0.4  # of one outcome round its expectation.


def held_against(said: Iterable[Said]) -> Verdict:
    """Whether a prior promises more than was found, by model and task: a floor promised on it would then be missed."""
    cells: dict[tuple[str, str], list[Said]] = {}
    for each in said:
        cells.setdefault((each.model, each.task), []).append(each)
    missed: list[str] = []
    judged = 0
    for (model, task), found in sorted(cells.items()):
        if len(found) < SAID_MIN:
            continue
        judged += 1
        expected = sum(each.expected for each in found) / len(found)
        outcome = sum(each.outcome for each in found) / len(found)
        doubt = 1.645 * OUTCOME_DEVIATION / sqrt(len(found))
        if expected - outcome > PROMISE_SLACK + doubt:
            missed.append(
                f"{model} at {task}: expects {expected:.2f}, {len(found)} outcomes were {outcome:.2f} on average"
            )
    kept = f"{judged} pairs of model and task with {SAID_MIN} outcomes or more keep what it expects"
    return Verdict(not missed, tuple(missed) or (kept,))
