"""Measures a prior on outcomes it was not trained on, per set, with intervals and every control beside the figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.router.domain.learning.encoder import Coordinates
from services.router.domain.learning.estimator import Estimator, safe
from services.router.domain.learning.metrics import (
    PRICES,
    Kept,
    Table,
    area,
    calibration_error,
    choices,
    frozen_price,
    gap_closed,
    kept_floor,
    points,
    recovered,
    singles,
)
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.text import FloatArray, text_features

FLOORS = (0.98, 1.0)
BOOTSTRAPS = 200  # resamples of the rows; the interval's ends then move by about a tenth of its width.
ARM_SHARE_MIN = 0.95  # of a set's rows a model must be in to be compared; the other rows are left out.
ROWS_MIN = 20  # fewer rows of a set measure nothing.
TABLE_SHRINKAGE = 5.0

Interval = tuple[float, float]
Predicted = Mapping[str, tuple[FloatArray, FloatArray, FloatArray]]
"""Row id → bid, price, expected quality, each in the order of the row's arms."""


@dataclass(frozen=True, slots=True)
class Report:
    """One set's figures; None where the set cannot give one (no costs, not two models). Shares, not percent."""

    context: str
    rows: int
    models: int
    gap: float | None
    gap_interval: Interval | None
    zero: float | None
    routed: float | None
    oracle: float | None
    gap_by_task: float | None
    frozen: Mapping[float, Kept | None]
    apgr: float | None
    apgr_interval: Interval | None
    apgr_by_task: float | None
    calibration: float


def predicted(
    estimator: Estimator,
    outcomes: Sequence[Outcome],
    *,
    declared: bool,
    read: dict[str, tuple[Coordinates, float]] | None = None,
) -> Predicted:
    """What the estimator says of the rows; `declared`: whether it may see their task.

    `read` keeps what was read of the prompts, for priors that share an encoder.
    """
    found = {}
    read = {} if read is None else read
    for outcome in outcomes:
        if outcome.id not in read:
            features = text_features(outcome.prompt)
            read[outcome.id] = (estimator.prior.encoder.encode(features), float(features.scalars[0]))
        at, log_chars = read[outcome.id]
        tasks, unknown = estimator.tasks({outcome.task: 1.0} if declared and outcome.task else None, at)
        estimate = estimator.estimate_at(at, tasks, unknown, log_chars, tuple(outcome.arms))
        found[outcome.id] = (safe(estimate), estimate.cost, estimate.quality)
    return found


def tables(
    outcomes: Sequence[Outcome], said: Predicted
) -> dict[str, tuple[Table, FloatArray, list[Outcome]]]:
    """Per set: outcomes and predictions as matrices, the expected qualities, and the rows."""
    contexts: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        contexts.setdefault(outcome.context, []).append(outcome)
    result: dict[str, tuple[Table, FloatArray, list[Outcome]]] = {}
    for context, rows in sorted(contexts.items()):
        count: dict[str, int] = {}
        for row in rows:
            for model in row.arms:
                count[model] = count.get(model, 0) + 1
        models = tuple(sorted(model for model, times in count.items() if times >= ARM_SHARE_MIN * len(rows)))
        whole = [row for row in rows if all(model in row.arms for model in models)]
        if len(whole) < ROWS_MIN or len(models) < 2:
            continue
        shape = (len(whole), len(models))
        quality, cost, bid, price, expected = (np.empty(shape) for _ in range(5))
        for at, row in enumerate(whole):
            bids, prices, means = said[row.id]
            where = {model: index for index, model in enumerate(row.arms)}
            for column, model in enumerate(models):
                quality[at, column] = row.arms[model][0]
                recorded = row.arms[model][1]
                cost[at, column] = np.nan if recorded is None else recorded
                index = where[model]
                bid[at, column], price[at, column], expected[at, column] = (
                    bids[index],
                    prices[index],
                    means[index],
                )
        result[context] = (Table(models, quality, cost, bid, price), expected, whole)
    return result


def evaluate(
    train: Sequence[Outcome],
    dev: Sequence[Outcome],
    test: Sequence[Outcome],
    said: Predicted,
    *,
    seed: int = 0,
) -> list[Report]:
    """Figures per set on `test`; λ is frozen on `dev`; `train` feeds only the control that knows the task."""
    random = np.random.default_rng(seed)
    held = tables(dev, said)
    by_task = tables(test, _task_table(train, test))
    reports = []
    for context, (table, expected, _) in tables(test, said).items():
        count = len(table.quality)
        resampled = random.multinomial(count, np.full(count, 1 / count), BOOTSTRAPS) / count
        gap = gap_interval = zero = routed = best = gap_by_task = None
        frozen: dict[float, Kept | None] = {}
        if table.priced:
            chosen, oracle = choices(table.bid, table.filled_price()), choices(table.quality, table.cost)
            gap = gap_closed(table, chosen, oracle)
            gap_interval = _interval([gap_closed(table, chosen, oracle, weight) for weight in resampled])
            alone = singles(table)
            low, high = float(alone[:, 0].min()), float(alone[:, 0].max())
            zero, best = area(alone, low, high), area(points(table, oracle), low, high)
            routed = area(points(table, chosen), low, high)
            control = by_task[context][0]
            gap_by_task = gap_closed(control, choices(control.bid, control.filled_price()), oracle)
            for floor in FLOORS:
                index = (
                    frozen_price(held[context][0], floor)
                    if context in held and held[context][0].priced
                    else None
                )
                frozen[floor] = None if index is None else kept_floor(table, index, random)
        apgr = apgr_interval = apgr_by_task = None
        if len(table.models) == 2:
            weak, strong = np.argsort(table.quality.mean(0), kind="stable")
            gain = table.bid[:, strong] - table.bid[:, weak]
            apgr = recovered(gain, table.quality[:, weak], table.quality[:, strong])
            drawn = [random.integers(len(gain), size=len(gain)) for _ in range(BOOTSTRAPS)]
            apgr_interval = _interval(
                [recovered(gain[at], table.quality[at, weak], table.quality[at, strong]) for at in drawn]
            )
            told = by_task[context][0].bid
            apgr_by_task = recovered(
                told[:, strong] - told[:, weak], table.quality[:, weak], table.quality[:, strong]
            )
        reports.append(
            Report(
                context=context,
                rows=len(table.quality),
                models=len(table.models),
                gap=gap,
                gap_interval=gap_interval,
                zero=zero,
                routed=routed,
                oracle=best,
                gap_by_task=gap_by_task,
                frozen=frozen,
                apgr=apgr,
                apgr_interval=apgr_interval,
                apgr_by_task=apgr_by_task,
                calibration=calibration_error(expected.ravel(), table.quality.ravel()),
            )
        )
    return reports


def shuffled_null(
    test: Sequence[Outcome], refit: Callable[[int], Predicted], rounds: int
) -> dict[str, tuple[float, float]]:
    """Mean and 95th percentile per set of what routers learn from labels dealt to other prompts: gap, or APGR.

    `refit(seed)` trains on shuffled labels and predicts `test`.
    """
    found: dict[str, list[float]] = {}
    for round_seed in range(rounds):
        for context, (table, _, _) in tables(test, refit(round_seed)).items():
            if table.priced:
                value = gap_closed(
                    table, choices(table.bid, table.filled_price()), choices(table.quality, table.cost)
                )
            elif len(table.models) == 2:
                weak, strong = np.argsort(table.quality.mean(0), kind="stable")
                value = recovered(
                    table.bid[:, strong] - table.bid[:, weak],
                    table.quality[:, weak],
                    table.quality[:, strong],
                )
            else:
                continue
            found.setdefault(context, []).append(value)
    return {context: (float(np.mean(v)), float(np.percentile(v, 95))) for context, v in found.items()}


def shuffled(outcomes: Sequence[Outcome], seed: int) -> list[Outcome]:
    """The same rows with outcomes dealt to other prompts of their set."""
    random = np.random.default_rng(seed)
    contexts: dict[str, list[int]] = {}
    for row, outcome in enumerate(outcomes):
        contexts.setdefault(outcome.context, []).append(row)
    dealt = list(outcomes)
    for rows in contexts.values():
        for to, source in zip(rows, random.permutation(rows), strict=True):
            own = outcomes[to]
            dealt[to] = Outcome(own.id, own.prompt, outcomes[int(source)].arms, own.task, own.context)
    return dealt


def _task_table(train: Sequence[Outcome], test: Sequence[Outcome]) -> Predicted:
    """The control that knows each row's true task and nothing else: shrunk means per set, task and model."""
    sums: dict[tuple[str, str | None, str], list[float]] = {}
    for outcome in train:
        for model, (quality, cost) in outcome.arms.items():
            for task in (outcome.task, None):
                entry = sums.setdefault((outcome.context, task, model), [0.0, 0.0, 0.0])
                entry[0] += 1
                entry[1] += quality
                entry[2] += cost or 0.0
                if task is None and outcome.task is None:
                    break
    empty = [0.0, 0.0, 0.0]
    said = {}
    for outcome in test:
        bids, prices = [], []
        for model in outcome.arms:
            whole = sums.get((outcome.context, None, model), empty)
            part = sums.get((outcome.context, outcome.task, model), empty) if outcome.task else empty
            count = max(whole[0], 1.0)
            bids.append((part[1] + TABLE_SHRINKAGE * whole[1] / count) / (part[0] + TABLE_SHRINKAGE))
            prices.append((part[2] + TABLE_SHRINKAGE * whole[2] / count) / (part[0] + TABLE_SHRINKAGE))
        said[outcome.id] = (np.array(bids), np.array(prices), np.array(bids))
    return said


def _interval(values: Sequence[float]) -> Interval:
    return float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5))


__all__ = ["PRICES", "Predicted", "Report", "evaluate", "predicted", "shuffled", "shuffled_null", "tables"]
