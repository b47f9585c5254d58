"""How far doubts are stretched on an unknown task: as far as a frozen price needs, and no further."""

import numpy as np
import pytest

from services.router.domain.learning.metrics import PRICES
from services.router.domain.learning.stretch import FLOOR, LOSS, STRETCHES, least_stretch

# Two equally common tasks. The small model is as good as the large one at the first, and much worse at the second.
QUALITY = np.array([[0.8, 0.8], [0.4, 0.8]])
COST = np.array([[0.0001, 0.002], [0.0001, 0.002]])
SHARE = np.array([0.5, 0.5])


def boldest_price() -> float:
    """The highest price of money that keeps the floor on the known tasks."""
    kept = []
    for price in PRICES:
        chosen = (QUALITY - price * COST).argmax(axis=1)
        if QUALITY[[0, 1], chosen] @ SHARE >= FLOOR * 0.8:
            kept.append(float(price))
    return max(kept)


def test_the_default_wins_at_a_price_that_was_frozen_on_known_tasks() -> None:
    stretch = least_stretch(QUALITY, COST, SHARE)
    alone, paid = SHARE @ QUALITY, SHARE @ COST
    assert (stretch * alone - boldest_price() * paid).argmax() == 1
    assert stretch < STRETCHES[-1]


def test_a_bolder_trade_on_known_tasks_needs_a_wider_stretch() -> None:
    worth_less = QUALITY.copy()
    worth_less[1, 0] = 0.7
    assert least_stretch(worth_less, COST, SHARE) >= least_stretch(QUALITY, COST, SHARE)


def test_models_as_good_as_the_default_need_no_stretch() -> None:
    alike = np.array([[0.8, 0.8 * (1 - LOSS / 2)], [0.8, 0.8]])
    assert least_stretch(alike, COST, SHARE) == 1.0


@pytest.mark.parametrize("column", [0, 1])
def test_without_a_price_bids_stay_what_they_are(column: int) -> None:
    unpriced = COST.copy()
    unpriced[:, column] = np.nan
    assert least_stretch(QUALITY, unpriced, SHARE) == 1.0
