"""How good a router is on recorded outcomes, beside every control that keeps one honest. Pure arithmetic on matrices.

Rows are prompts (n), columns models (M). `quality` and `cost` are what happened, `bid` and `price` what was predicted;
a router with price λ of money chooses argmax(bid - λ · price). Definitions follow RouterBench (Hu et al. 2024) and
RouteLLM (Ong et al. 2024):

* zero router: the upper concave hull of the always-one-model points, the best that chance can do without reading;
* AIQ: mean height of a router's hull between the cheapest and the dearest model's cost;
* gap closed: (AIQ - AIQ of the zero router) / (AIQ of the oracle - AIQ of the zero router);
* frozen floor: λ is chosen on other rows as the cheapest that keeps the floor there, then applied unchanged;
* APGR: area under the performance gap recovered over the share of calls to the strong model, for two models.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.router.domain.learning.text import FloatArray

PRICES = np.concatenate([[0.0], np.logspace(-2, 6, 161)])
"""λ, quality per USD: from "money is no matter" to "only money matters"."""
GRID = 2_000  # points of the integral over cost; finer changes the fourth digit.
GAP_MIN = 1e-3  # two models this close have no gap to recover.

Choices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Table:
    """One set's rows: outcomes and predictions, all (n, M). cost and price may be all NaN: none was recorded."""

    models: tuple[str, ...]
    quality: FloatArray
    cost: FloatArray
    bid: FloatArray
    price: FloatArray

    @property
    def priced(self) -> bool:
        """Whether every outcome has a cost."""
        return not bool(np.isnan(self.cost).any())

    def filled_price(self) -> FloatArray:
        """Predicted costs; a model without one gets its mean cost."""
        filled: FloatArray = np.where(np.isnan(self.price), self.cost.mean(0), self.price)
        return filled


def choices(bid: FloatArray, price: FloatArray) -> Choices:
    """Chosen column per λ and row, (len(PRICES), n)."""
    return np.stack([(bid - price_of_money * price).argmax(1) for price_of_money in PRICES])


def points(table: Table, chosen: Choices, weight: FloatArray | None = None) -> FloatArray:
    """Mean cost and quality per λ, (len(PRICES), 2); `weight` (n,) sums to 1 and resamples rows."""
    rows = np.arange(len(table.quality))
    share = np.full(len(rows), 1 / len(rows)) if weight is None else weight
    return np.stack([table.cost[rows, chosen] @ share, table.quality[rows, chosen] @ share], axis=1)


def hull(found: FloatArray) -> FloatArray:
    """The upper concave, non-decreasing hull of (cost, quality) points, cheapest first."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted({(float(x), float(y)) for x, y in found}):
        while len(kept) > 1 and (kept[-1][1] - kept[-2][1]) * (x - kept[-2][0]) <= (y - kept[-2][1]) * (
            kept[-1][0] - kept[-2][0]
        ):
            kept.pop()
        if not kept or y > kept[-1][1]:
            kept.append((x, y))
    return np.array(kept)


def area(found: FloatArray, low: float, high: float) -> float:
    """AIQ: mean height of the hull between two costs."""
    corners = hull(found)
    return float(np.interp(np.linspace(low, high, GRID), corners[:, 0], corners[:, 1]).mean())


def singles(table: Table, weight: FloatArray | None = None) -> FloatArray:
    """Cost and quality of always one model, (M, 2)."""
    share = np.full(len(table.quality), 1 / len(table.quality)) if weight is None else weight
    return np.stack([share @ table.cost, share @ table.quality], axis=1)


def gap_closed(table: Table, chosen: Choices, oracle: Choices, weight: FloatArray | None = None) -> float:
    """Gap closed by the choices; NaN where the oracle is no better than the zero router."""
    alone = singles(table, weight)
    low, high = alone[:, 0].min(), alone[:, 0].max()
    zero, best = area(alone, low, high), area(points(table, oracle, weight), low, high)
    routed = area(points(table, chosen, weight), low, high)
    return (routed - zero) / (best - zero) if best > zero else float("nan")


def cost_for(found: FloatArray, quality: float) -> float:
    """Least cost at which the hull reaches a quality; infinity if it never does."""
    corners = hull(found)
    if corners[-1, 1] < quality - 1e-12:
        return float("inf")
    if corners[0, 1] >= quality:
        return float(corners[0, 0])
    return float(np.interp(quality, corners[:, 1], corners[:, 0]))


def frozen_price(table: Table, floor: float) -> int | None:
    """Index of the λ that keeps `floor` × the best single model's quality on these rows at the least cost."""
    found = points(table, choices(table.bid, table.filled_price()))
    kept = np.flatnonzero(found[:, 1] >= floor * table.quality.mean(0).max() - 1e-9)
    return int(kept[found[kept, 0].argmin()]) if len(kept) else None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a frozen λ delivered elsewhere. ratio: of the best single model's quality.  saved: share of its cost.

    matched: ratio of the same calls dealt to other prompts at random, the cost-matched control.
    """

    ratio: float
    saved: float
    matched: float


def kept_floor(table: Table, price_index: int, random: np.random.Generator) -> Kept:
    """Applies the frozen λ to a table."""
    price_of_money = PRICES[price_index]
    chosen = (table.bid - price_of_money * table.filled_price()).argmax(1)
    rows = np.arange(len(chosen))
    best = int(table.quality.mean(0).argmax())
    top, dear = table.quality[:, best].mean(), table.cost[:, best].mean()
    dealt = np.mean([table.quality[rows, random.permutation(chosen)].mean() for _ in range(20)])
    return Kept(
        ratio=float(table.quality[rows, chosen].mean() / top),
        saved=float(1 - table.cost[rows, chosen].mean() / dear),
        matched=float(dealt / top),
    )


def recovered(gain: FloatArray, weak: FloatArray, strong: FloatArray) -> float:
    """APGR when the prompts of the highest predicted gain go to the strong model first; ties share their mean."""
    gap = strong.mean() - weak.mean()
    if abs(gap) < GAP_MIN:
        return float("nan")
    _, group, size = np.unique(-gain, return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=strong - weak) / size)[group]
    order = np.argsort(-gain, kind="stable")
    share = np.arange(len(gain) + 1) / len(gain)
    curve = np.concatenate([[0.0], np.cumsum(shared[order])]) / len(gain) / gap
    return float(np.trapezoid(curve, share))


def calibration_error(expected: FloatArray, happened: FloatArray, bins: int = 10) -> float:
    """Mean distance of expectation and outcome over equally filled bins of the expectation."""
    order = np.argsort(expected, kind="stable")
    parts = zip(np.array_split(expected[order], bins), np.array_split(happened[order], bins), strict=True)
    return float(sum(abs(e.mean() - h.mean()) * len(e) for e, h in parts if len(e)) / max(len(order), 1))
