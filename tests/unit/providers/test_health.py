"""An endpoint's state: learnt, half-open, never shortened."""

import pytest

from services.providers.domain.failure import Failure, Reason
from services.providers.domain.health import (
    ASKED_REST_S_MAX,
    BACK_OFF_S_MAX,
    BACK_OFF_S_MIN,
    FAILURES_TO_DOWN,
    PROBE_S_MAX,
    REST_S_MIN,
    EndpointState,
    EndpointTracker,
)
from services.providers.domain.rate_limits import RateLimits

BROKEN = Failure(Reason.ERROR_REASON_VENDOR_ERROR, "500")
LIMITED = Failure(Reason.ERROR_REASON_VENDOR_RATE_LIMITED, "slow", retry_after_s=10.0)
CALLERS = Failure(Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST, "wrong", http_status=400)


def down(tracker: EndpointTracker, now: float) -> None:
    for _ in range(FAILURES_TO_DOWN):
        tracker.begin(now)
        tracker.end(now, BROKEN)


def test_one_failure_is_chance_five_in_a_row_are_down() -> None:
    tracker = EndpointTracker()
    tracker.learn(0.0, BROKEN)
    assert tracker.state(0.0) == EndpointState.ENDPOINT_STATE_HEALTHY
    down(tracker, 0.0)
    assert tracker.state(0.0) == EndpointState.ENDPOINT_STATE_DOWN
    assert not tracker.may_call(0.0)


def test_a_callers_deadline_says_nothing_of_it() -> None:
    tracker = EndpointTracker()
    for callers, state in (
        (True, EndpointState.ENDPOINT_STATE_HEALTHY),
        (False, EndpointState.ENDPOINT_STATE_DOWN),
    ):
        late = Failure(Reason.ERROR_REASON_VENDOR_TIMEOUT, "late", phase="total", callers_deadline=callers)
        for _ in range(FAILURES_TO_DOWN):
            tracker.begin(0.0)
            tracker.end(0.0, late)
        assert tracker.state(0.0) == state


def test_after_its_rest_one_probe_heals_it() -> None:
    tracker = EndpointTracker()
    down(tracker, 0.0)
    later = REST_S_MIN + 0.1
    assert tracker.may_call(later)
    tracker.begin(later)
    assert not tracker.may_call(later), "one probe at a time"
    tracker.end(later + 1, None)
    assert tracker.may_call(later + 1)
    assert tracker.state(later + 1) != EndpointState.ENDPOINT_STATE_DOWN


def test_a_failed_probe_doubles_the_rest() -> None:
    tracker = EndpointTracker()
    down(tracker, 0.0)
    first = tracker.retry_in_s(0.0)
    tracker.begin(first or 0.0)
    tracker.end(first or 0.0, BROKEN)
    second = tracker.retry_in_s(first or 0.0)
    assert first == REST_S_MIN
    assert second == 2 * REST_S_MIN


def test_a_failure_that_comes_late_does_not_shorten_the_rest() -> None:
    tracker = EndpointTracker()
    tracker.begin(0.0)  # a call that was under way before
    down(tracker, 0.0)
    before = tracker.retry_in_s(1.0)
    tracker.end(1.0, BROKEN)
    assert (tracker.retry_in_s(1.0) or 0.0) >= (before or 0.0)


def test_a_lost_probe_does_not_close_it_for_good() -> None:
    tracker = EndpointTracker()
    down(tracker, 0.0)
    tracker.begin(3.0)
    assert not tracker.may_call(4.0)
    assert tracker.may_call(3.0 + PROBE_S_MAX + 1)


def test_a_cancelled_probe_frees_the_place() -> None:
    tracker = EndpointTracker()
    down(tracker, 0.0)
    tracker.begin(3.0)
    tracker.abandon()
    assert tracker.may_call(3.0)
    assert tracker.in_flight == 0


def test_it_rests_when_the_vendor_asks_and_not_shorter_by_a_later_hint() -> None:
    tracker = EndpointTracker()
    tracker.learn(0.0, LIMITED)
    tracker.learn(1.0, Failure(Reason.ERROR_REASON_VENDOR_RATE_LIMITED, "", retry_after_s=1.0))
    assert tracker.state(5.0) == EndpointState.ENDPOINT_STATE_RESTING
    assert not tracker.may_call(9.9)
    assert tracker.may_call(10.1)
    assert tracker.state(10.1) == EndpointState.ENDPOINT_STATE_HEALTHY


def test_a_hint_is_believed_up_to_a_bound() -> None:
    tracker = EndpointTracker()
    tracker.learn(0.0, Failure(Reason.ERROR_REASON_VENDOR_RATE_LIMITED, "", retry_after_s=1e9))
    assert tracker.may_call(ASKED_REST_S_MAX + 1)


def test_what_the_caller_did_wrong_says_nothing_bad_about_it() -> None:
    tracker = EndpointTracker()
    for _ in range(50):
        tracker.begin(0.0)
        tracker.end(0.0, CALLERS)
    assert tracker.state(0.0) == EndpointState.ENDPOINT_STATE_HEALTHY
    down(tracker, 0.0)
    tracker.begin(REST_S_MIN + 1)
    tracker.end(REST_S_MIN + 1, CALLERS)
    assert tracker.state(REST_S_MIN + 1) != EndpointState.ENDPOINT_STATE_DOWN, "it answers, so it is up"


def test_a_used_up_window_rests() -> None:
    tracker = EndpointTracker()
    tracker.observe(0.0, RateLimits(requests_left=0, requests_reset_s=4.0))
    assert not tracker.may_call(3.9)
    assert tracker.may_call(4.1)


UNREACHABLE = Failure(Reason.ERROR_REASON_VENDOR_UNREACHABLE, "refused")


def unreachable(tracker: EndpointTracker, now: float) -> None:
    for _ in range(FAILURES_TO_DOWN):
        tracker.begin(now)
        tracker.end(now, UNREACHABLE)


def test_where_nobody_answers_somebody_looks_when_the_rest_is_over() -> None:
    tracker = EndpointTracker()
    unreachable(tracker, 0.0)
    assert not tracker.wants_look(1.0)
    assert tracker.wants_look(REST_S_MIN + 0.1)
    tracker.looked(REST_S_MIN + 0.1, reachable=False)
    assert tracker.retry_in_s(REST_S_MIN + 0.1) == pytest.approx(2 * REST_S_MIN)
    later = 4 * REST_S_MIN
    tracker.looked(later, reachable=True)
    assert tracker.may_call(later)
    tracker.learn(later, UNREACHABLE)
    assert tracker.state(later) == EndpointState.ENDPOINT_STATE_DOWN, "one more failure puts it down again"


def test_what_answers_with_errors_is_not_looked_at() -> None:
    tracker = EndpointTracker()
    down(tracker, 0.0)
    assert not tracker.wants_look(REST_S_MIN + 1)


def test_where_no_hint_comes_the_pause_doubles_until_a_call_succeeds() -> None:
    limited = Failure(Reason.ERROR_REASON_VENDOR_RATE_LIMITED, "")
    tracker = EndpointTracker()
    pauses = []
    now = 0.0
    for _ in range(10):
        tracker.learn(now, limited)
        pauses.append(tracker.retry_in_s(now) or 0.0)
        now += pauses[-1]
    assert pauses[:3] == [BACK_OFF_S_MIN, 2 * BACK_OFF_S_MIN, 4 * BACK_OFF_S_MIN]
    assert pauses[-1] == pytest.approx(BACK_OFF_S_MAX)
    tracker.learn(now, None)
    tracker.learn(now, limited)
    assert tracker.retry_in_s(now) == pytest.approx(BACK_OFF_S_MIN)


def test_a_burst_of_refusals_is_one() -> None:
    tracker = EndpointTracker()
    for _ in range(2000):
        tracker.learn(0.0, Failure(Reason.ERROR_REASON_VENDOR_RATE_LIMITED, ""))
    assert tracker.retry_in_s(0.0) == pytest.approx(BACK_OFF_S_MIN)


def test_what_refuses_and_fails_for_days_goes_on_resting() -> None:
    for failure in (Failure(Reason.ERROR_REASON_VENDOR_RATE_LIMITED, ""), UNREACHABLE):
        tracker, now = EndpointTracker(), 0.0
        for _ in range(3000):
            tracker.learn(now, failure)
            now += tracker.retry_in_s(now) or 0.0
            tracker.may_call(now)
            tracker.begin(now)
            tracker.in_flight -= 1
        assert not tracker.may_call(now - 1.0)
