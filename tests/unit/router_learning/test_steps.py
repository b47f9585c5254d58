"""Between a price of money that keeps a floor and one that clearly misses it, choices change at one price alone."""

import numpy as np
import pytest

from services.router.domain.learning.metrics import PRICES
from services.router.domain.learning.steps import KEPT, MISSED, WIDTH, doubtful_prices, stepped

DOUBTFUL = (10.0, 100.0)
MIDDLE = 31.6
ROWS, MODELS = 400, 6


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Expected qualities and costs of rows, dearer models better on the whole; a row differs from the whole."""
    random = np.random.default_rng(seed)
    cost = np.sort(random.lognormal(-6.5, 1.5, MODELS)) * random.uniform(0.8, 1.2, (ROWS, 1))
    quality = np.linspace(0.5, 0.8, MODELS) + random.normal(0, 0.08, (ROWS, MODELS))
    return quality, cost


def choice(bids: np.ndarray, prices: np.ndarray, price_of_money: float) -> int:
    return int((bids - price_of_money * prices).argmax())


@pytest.mark.parametrize("seed", range(3))
def test_choices_change_in_the_middle_of_the_doubt_and_nowhere_else_in_it(seed: int) -> None:
    for quality, cost in zip(*rows(seed), strict=True):
        bids = stepped(quality, cost, DOUBTFUL)
        before, after = choice(quality, cost, 10.0), choice(quality, cost, 100.0)
        assert {choice(bids, cost, price) for price in np.linspace(10.0, 31.0, 20)} == {before}
        assert {choice(bids, cost, price) for price in np.linspace(32.0, 100.0, 20)} == {after}


@pytest.mark.parametrize("seed", range(3))
def test_choices_at_other_prices_stay_what_they_were(seed: int) -> None:
    for quality, cost in zip(*rows(seed), strict=True):
        bids = stepped(quality, cost, DOUBTFUL)
        for price in (0.0, 0.5, 3.0, 9.9, 101.0, 400.0, 3_000.0, 1e5):
            assert choice(bids, cost, price) == choice(quality, cost, price)


def test_a_row_without_a_change_of_mind_in_doubt_keeps_its_bids() -> None:
    quality, cost = np.array([0.9, 0.5]), np.array([0.001, 0.0001])  # gives way at 444 per USD.
    assert (stepped(quality, cost, DOUBTFUL) == quality).all()


def test_an_unknown_price_leaves_bids_alone() -> None:
    quality, cost = np.array([0.9, 0.88]), np.array([0.001, np.nan])
    assert (stepped(quality, cost, DOUBTFUL) == quality).all()


def test_the_doubt_lies_between_a_floor_kept_and_one_missed_or_a_quarter_of_the_cost() -> None:
    quality, cost = rows(0)
    doubtful = doubtful_prices(quality, cost)
    assert doubtful is not None
    best = int(quality.mean(axis=0).argmax())

    def at(price: float) -> tuple[float, float]:
        chosen = (quality - price * cost).argmax(axis=1)
        every = np.arange(len(quality))
        return (
            float(quality[every, chosen].mean() / quality[:, best].mean()),
            float(cost[every, chosen].mean() / cost[:, best].mean()),
        )

    (low, high), steps = doubtful, list(PRICES)
    assert at(low)[0] >= KEPT > at(steps[steps.index(low) + 1])[0]
    kept, paid = at(high)
    assert kept < MISSED or paid < at(low)[1] - WIDTH
    kept, paid = at(steps[steps.index(high) - 1])
    assert kept >= MISSED
    assert paid >= at(low)[1] - WIDTH


def test_nothing_is_in_doubt_without_prices_or_where_no_price_misses_the_floor() -> None:
    quality, cost = rows(1)
    unpriced = cost.copy()
    unpriced[3, 2] = np.nan
    assert doubtful_prices(quality, unpriced) is None
    assert doubtful_prices(np.full_like(quality, 0.8), cost) is None
    assert doubtful_prices(quality[:0], cost[:0]) is None
