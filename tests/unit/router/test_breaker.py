from services.router.domain.breaker import (
    FAILURES_TO_OPEN,
    PROBE_GIVEN_UP_S,
    REST_S_FIRST,
    REST_S_MAX,
    Breaker,
)
from services.router.domain.conditions import BreakerState


def broken(breaker: Breaker, now_s: float, times: int = FAILURES_TO_OPEN) -> Breaker:
    for _ in range(times):
        breaker = breaker.failed(now_s, failure_rate=0.1, samples=1)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    assert broken(Breaker(), 0, FAILURES_TO_OPEN - 1).state is BreakerState.CLOSED
    assert broken(Breaker(), 0).state is BreakerState.OPEN
    mixed = broken(broken(Breaker(), 0, FAILURES_TO_OPEN - 1).succeeded(), 0, FAILURES_TO_OPEN - 1)
    assert mixed.state is BreakerState.CLOSED


def test_it_opens_when_half_of_many_fail() -> None:
    assert Breaker().failed(0, failure_rate=0.5, samples=10).state is BreakerState.OPEN
    assert Breaker().failed(0, failure_rate=0.9, samples=3).state is BreakerState.CLOSED


def test_after_its_rest_one_request_at_a_time_may_try() -> None:
    breaker = broken(Breaker(), 100.0)
    assert not breaker.at(100.0 + REST_S_FIRST - 0.1).admits
    trying = breaker.at(100.0 + REST_S_FIRST)
    assert trying.state is BreakerState.HALF_OPEN
    assert trying.admits
    assert not trying.begun(103.0).admits
    assert trying.begun(103.0).at(103.0 + PROBE_GIVEN_UP_S + 1).admits


def test_two_successes_close_it() -> None:
    trying = broken(Breaker(), 0).at(REST_S_FIRST).begun(REST_S_FIRST)
    once = trying.succeeded()
    assert once.state is BreakerState.HALF_OPEN
    assert once.admits
    assert once.succeeded() == Breaker()


def test_a_failed_probe_doubles_the_rest_up_to_a_bound() -> None:
    breaker, now_s = broken(Breaker(), 0), 0.0
    rests = []
    for _ in range(8):
        rests.append(breaker.rest_s)
        now_s += breaker.rest_s
        breaker = broken(breaker.at(now_s), now_s, 1)
        assert breaker.state is BreakerState.OPEN
    assert rests[:3] == [REST_S_FIRST, 2 * REST_S_FIRST, min(4 * REST_S_FIRST, REST_S_MAX)]
    assert breaker.rest_s == REST_S_MAX


def test_late_news_neither_shorten_nor_lengthen_the_rest() -> None:
    breaker = broken(Breaker(), 0)
    assert breaker.succeeded() == breaker
    assert broken(breaker, 1.9, 3) == breaker
