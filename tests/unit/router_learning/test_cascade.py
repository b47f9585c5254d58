"""When asking a cheap model first pays, by arithmetic that fits on an envelope."""

import pytest

from services.router.domain.learning.cascade import CHECKS, Check, Way, agreement, decide

CHEAP, STRONG = Way(cost=1.0, quality=0.9), Way(cost=20.0, quality=0.95)


def test_a_good_check_on_a_good_cheap_model_pays() -> None:
    found = decide(CHEAP, STRONG, CHECKS["tests"])
    assert found.use
    assert found.escalation == pytest.approx(1 - 0.9 * 0.97 - 0.1 * 0.10)
    assert found.cascade.cost == pytest.approx(1 + found.escalation * 20)
    assert found.cascade.quality > 0.95 - 0.01


def test_what_cannot_be_checked_is_called_directly() -> None:
    assert not decide(CHEAP, STRONG, None).use


def test_a_check_that_accepts_anything_loses_quality() -> None:
    found = decide(Way(1.0, 0.6), STRONG, Check("anything", 1.0, 1.0))
    assert not found.use
    assert "quality" in found.reason


def test_a_cheap_model_that_is_hardly_cheaper_does_not_pay() -> None:
    found = decide(Way(18.0, 0.9), STRONG, CHECKS["tests"])
    assert not found.use
    assert "costs" in found.reason


def test_a_floor_is_kept_or_the_cascade_is_not_used() -> None:
    assert not decide(CHEAP, Way(20.0, 0.90), CHECKS["schema"], quality_min=0.99).use


def test_two_agreeing_models_are_a_check_that_costs_a_call() -> None:
    check = agreement(0.85, 0.86, second_cost=1.0, wrong_alike=0.05)
    found = decide(Way(1.0, 0.85), Way(25.0, 0.90), check)
    assert found.use
    assert found.cascade.cost == pytest.approx(2 + found.escalation * 25)


def test_rates_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="rates"):
        Check("x", 1.2, 0.0)
