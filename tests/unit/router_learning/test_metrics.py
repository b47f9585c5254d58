"""The measures on cases whose answer is known by heart."""

import numpy as np
import pytest

from services.router.domain.learning.metrics import (
    Table,
    area,
    choices,
    cost_for,
    frozen_price,
    gap_closed,
    hull,
    kept_floor,
    recovered,
)


def table(quality: list[list[float]], cost: list[float], bid: list[list[float]]) -> Table:
    rows = np.array(quality)
    costs = np.tile(np.array(cost), (len(rows), 1))
    return Table(("cheap", "dear"), rows, costs, np.array(bid), costs)


HALF = [[1.0, 1.0], [0.0, 1.0]] * 20
"""The cheap model is right on every second prompt, the dear one always."""


def test_the_hull_drops_what_a_mix_beats() -> None:
    found = hull(np.array([[1, 0.2], [2, 0.3], [3, 0.9], [4, 0.8]]))
    assert found.tolist() == [[1, 0.2], [3, 0.9]]
    assert area(np.array([[0, 0.0], [1, 1.0]]), 0, 1) == pytest.approx(0.5)
    assert cost_for(np.array([[0, 0.0], [1, 1.0]]), 0.25) == pytest.approx(0.25)
    assert cost_for(np.array([[0, 0.0], [1, 0.5]]), 0.75) == float("inf")


def test_an_oracle_closes_the_whole_gap_and_a_constant_none_of_it() -> None:
    knowing = table(HALF, [1e-4, 1e-3], HALF)
    oracle = choices(knowing.quality, knowing.cost)
    assert gap_closed(knowing, oracle, oracle) == pytest.approx(1.0)
    blind = table(HALF, [1e-4, 1e-3], [[0.5, 1.0]] * 40)
    assert gap_closed(blind, choices(blind.bid, blind.price), oracle) == pytest.approx(0.0, abs=1e-9)


def test_a_frozen_floor_is_kept_where_the_future_is_like_the_past() -> None:
    knowing = table(HALF, [1e-4, 1e-3], HALF)
    index = frozen_price(knowing, 1.0)
    assert index is not None
    kept = kept_floor(knowing, index, np.random.default_rng(0))
    assert kept.ratio == 1.0
    assert kept.saved == pytest.approx(0.45)
    assert kept.matched < 0.9


def test_recovery_is_one_half_by_chance_and_more_by_knowledge() -> None:
    weak, strong = np.array(HALF)[:, 0], np.array(HALF)[:, 1]
    assert recovered(np.zeros(40), weak, strong) == pytest.approx(0.5)
    assert recovered(strong - weak, weak, strong) == pytest.approx(0.75)
    assert recovered(weak - strong, weak, strong) == pytest.approx(0.25)
