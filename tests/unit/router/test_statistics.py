import pytest

from services.router.domain.conditions import TTFT_S_DEFAULT
from services.router.domain.statistics import HALF_LIFE_S, Sums


def measured(ttft_s: float, times: int = 50, *, at_s: float = 0.0, failed: bool = False) -> Sums:
    sums = Sums()
    for _ in range(times):
        sums.add(at_s, failed=failed, ttft_s=None if failed else ttft_s, tokens=100, seconds=1.0)
    return sums


def test_nothing_measured_is_the_default_and_uncertain() -> None:
    speed = Sums().speed()
    assert speed.ttft_s == TTFT_S_DEFAULT
    assert speed.samples == 0
    assert speed.ttft_s_spread > measured(0.5).speed().ttft_s_spread


def test_measurements_move_the_mean_and_one_does_not_make_a_star() -> None:
    assert measured(0.2).speed().ttft_s == pytest.approx(0.2, abs=0.05)
    assert measured(0.01, 1).speed().ttft_s > 0.4


def test_old_news_fade() -> None:
    sums = measured(5.0)
    before = sums.speed().samples
    sums.decay(HALF_LIFE_S)
    assert sums.speed().samples == pytest.approx(before / 2)
    for _ in range(50):
        sums.add(3 * HALF_LIFE_S, failed=False, ttft_s=0.2, tokens=None, seconds=None)
    assert sums.speed().ttft_s < 1.2


def test_failures_are_a_share() -> None:
    assert measured(1.0, failed=True).failure_rate > 0.9
    assert measured(1.0).failure_rate < 0.02


def test_replicas_add_up() -> None:
    one, other = measured(0.2, 30), measured(1.0, 30)
    both = one.merged(other, 0.0)
    assert both.attempts == 60
    assert one.speed().ttft_s < both.speed().ttft_s < other.speed().ttft_s
    assert one.attempts == 30


def test_the_rate_is_tokens_by_seconds() -> None:
    assert measured(0.5).speed().tokens_per_s == pytest.approx(100, rel=0.05)
