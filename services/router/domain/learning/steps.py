"""Leaves out the prices of money at which a floor is neither kept nor clearly missed: there a sample decides by luck.

Whoever freezes a price of money on some hundred rows, as the cheapest that keeps 98 % there, finds it to within several
points of quality: at a price that is expected to keep 97 % the rows keep 98 % in two samples of five. So between the
last price expected to keep the floor and the first expected to miss it clearly, nothing is traded a little: all changes
of mind come at one price in the middle. The models' order, and every trade at other prices, stay as they are.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np

from services.router.domain.learning.metrics import PRICES
from services.router.domain.learning.text import FloatArray

KEPT = 0.985  # the floor of 98 % that priors are promoted by, and what rows of the training flatter by.
MISSED = 0.96  # 2 % below the floor: what several hundred rows tell from it.
WIDTH = 0.25  # of the best single model's cost: a wider step leaves out trades that are worth having.

Doubtful = tuple[float, float]
"""Two prices of money, quality per USD: below the first the floor is kept, above the second it is missed."""


def doubtful_prices(quality: FloatArray, cost: FloatArray) -> Doubtful | None:
    """The prices between which a floor of 98 % is in doubt; None where no price is, or where nothing can be traded.

    quality, cost: (n, M), expected per row of the training and model, USD.
    """
    if not len(quality) or np.isnan(cost).any():
        return None
    rows = np.arange(len(quality))
    best = int(quality.mean(axis=0).argmax())
    chosen = [(quality - price * cost).argmax(axis=1) for price in PRICES]
    kept = np.array([quality[rows, each].mean() for each in chosen]) / quality[:, best].mean()
    paid = np.array([cost[rows, each].mean() for each in chosen]) / cost[:, best].mean()
    short = np.flatnonzero(kept < KEPT)
    if (
        not len(short) or short[0] < 2
    ):  # nothing to trade, or nothing but money counts from the first price on.
        return None
    low = short[0] - 1
    ends = np.flatnonzero((kept < MISSED) | (paid < paid[low] - WIDTH))
    return (float(PRICES[low]), float(PRICES[ends[0]])) if len(ends) else None


def stepped(bids: FloatArray, prices: FloatArray, doubtful: Doubtful) -> FloatArray:
    """Bids of one row, under which no choice changes at a price of money between the two but at one in the middle.

    bids, prices: (M,). A row that has no change of mind there keeps its bids, and so does one of an unknown price.
    """
    if np.isnan(prices).any():
        return bids
    chosen, changes = _path(bids, prices)
    low, high = doubtful
    if not any(low < change < high for change in changes):
        return bids
    middle = sqrt(low * high)
    moved = [0.0]
    for (dearer, cheaper), change in zip(pairwise(chosen), changes, strict=True):
        late = (middle if low < change < high else change) - change
        moved.append(moved[-1] - late * float(prices[dearer] - prices[cheaper]))
    # A model that no price chooses keeps its distance from those on either side of it.
    shifts = np.interp(prices, prices[chosen][::-1], moved[::-1])
    return bids + shifts


def _path(bids: FloatArray, prices: FloatArray) -> tuple[list[int], Sequence[float]]:
    """The models that rising prices of money choose, dearest first, and the prices of money at which each gives way."""
    chosen = [int(np.lexsort((prices, -bids))[0])]
    changes: list[float] = []
    while True:
        at = chosen[-1]
        saved = prices[at] - prices
        cheaper = np.flatnonzero(saved > 0)
        if not len(cheaper):
            return chosen, changes
        costs = (bids[at] - bids[cheaper]) / saved[cheaper]
        least = costs.min()
        nearest = cheaper[costs <= least]
        chosen.append(int(nearest[prices[nearest].argmin()]))
        changes.append(float(least))
