"""The state of one endpoint: learnt from its calls, half-open after a rest, never shortened by a later failure.

    HEALTHY ──failures──▶ DEGRADED ──FAILURES_TO_DOWN in a row──▶ DOWN
    DOWN ──its rest over: one probe──▶ HEALTHY, or DOWN for longer
    any ──the vendor asked to wait──▶ RESTING ──wait over──▶ HEALTHY

Only what the endpoint is to blame for counts: a bad request, a filter or a cancelled call says nothing about it.
Times are of a monotonic clock, in seconds.
"""

from typing import Final

from services.providers.domain.failure import Failure, Reason
from services.providers.domain.rate_limits import RateLimits
from turnpike.providers.v1 import providers_pb2

EndpointState = providers_pb2.EndpointState

FAILURES_TO_DOWN: Final = 5
"""Failures in a row after which an endpoint counts as down: one is chance, five are a pattern."""
DEGRADED_ABOVE: Final = 0.2
"""Share of recent calls that failed from which on an endpoint is called degraded."""
WEIGHT_OF_LATEST: Final = 0.1
"""Of the latest call in the share of failures: it remembers about the last twenty calls."""
REST_S_MIN: Final = 2.0
REST_S_MAX: Final = 5.0
"""A rest doubles from MIN to MAX with each probe that fails: a restart is noticed in seconds, a dead host is cheap."""
ASKED_REST_S_MAX: Final = 600.0
"""A vendor's hint is believed up to this; then one call tries again."""
BACK_OFF_S_MIN: Final = 0.5
BACK_OFF_S_MAX: Final = 30.0
"""Where a vendor asks for a pause and does not say how long, it doubles from MIN to MAX until a call succeeds."""
DOUBLINGS_MAX = 16
"""Any shortest rest is beyond its longest by then."""
PROBE_S_MAX: Final = 120.0
"""A probe that has not come back after this is given up, so that a lost one does not close the endpoint for good."""

_TO_BLAME = {
    Reason.ERROR_REASON_VENDOR_UNREACHABLE,
    Reason.ERROR_REASON_VENDOR_TIMEOUT,
    Reason.ERROR_REASON_VENDOR_ERROR,
    Reason.ERROR_REASON_VENDOR_OVERLOADED,
    Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR,
    Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED,
}
_ASKS_TO_WAIT = {Reason.ERROR_REASON_VENDOR_RATE_LIMITED, Reason.ERROR_REASON_VENDOR_OVERLOADED}


class EndpointTracker:
    """One endpoint's state. Not shared between threads."""

    __slots__ = (
        "_down_until",
        "_failures_in_row",
        "_probe_since",
        "_refusals",
        "_resting_until",
        "_rests",
        "_unreachable",
        "failure_share",
        "in_flight",
        "limits",
        "message",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.failure_share = 0.0
        self.message = ""
        self.limits: RateLimits | None = None
        self._failures_in_row = 0
        self._down_until: float | None = None
        self._resting_until = 0.0
        self._rests = 0
        self._probe_since: float | None = None
        self._unreachable = False
        self._refusals = 0

    def state(self, now: float) -> EndpointState.ValueType:
        """What it is now."""
        if self._down_until is not None:
            return providers_pb2.ENDPOINT_STATE_DOWN
        if now < self._resting_until:
            return providers_pb2.ENDPOINT_STATE_RESTING
        if self.failure_share >= DEGRADED_ABOVE:
            return providers_pb2.ENDPOINT_STATE_DEGRADED
        return providers_pb2.ENDPOINT_STATE_HEALTHY

    def retry_in_s(self, now: float) -> float | None:
        """Seconds until it may be tried again; None: at once."""
        until = max(self._resting_until, self._down_until or 0.0)
        return until - now if until > now else None

    def may_call(self, now: float) -> bool:
        """True if a call may be made. While it is down: only when its rest is over, and only one at a time."""
        if now < self._resting_until:
            return False
        if self._down_until is None:
            return True
        if now < self._down_until:
            return False
        return self._probe_since is None or now - self._probe_since > PROBE_S_MAX

    def begin(self, now: float) -> None:
        """A call is being made."""
        self.in_flight += 1
        if self._down_until is not None:
            self._probe_since = now

    def end(self, now: float, failure: Failure | None) -> None:
        """The call ended; None: it succeeded."""
        self.in_flight -= 1
        self.learn(now, failure)

    def wants_look(self, now: float) -> bool:
        """True if it is down because nobody answers there, and its rest is over: to look costs no caller anything."""
        return self._unreachable and self._down_until is not None and self.may_call(now)

    def looked(self, now: float, *, reachable: bool) -> None:
        """Somebody looked. If it answers it may be called again, and the first failure puts it down once more."""
        if not reachable:
            self._probe_since = now
            self.learn(now, Failure(Reason.ERROR_REASON_VENDOR_UNREACHABLE, self.message))
            return
        self._down_until = None
        self._probe_since = None
        self._failures_in_row = FAILURES_TO_DOWN - 1

    def abandon(self) -> None:
        """The call ended without saying anything about the endpoint: it was cancelled, or failed on our side."""
        self.in_flight -= 1
        self._probe_since = None

    def learn(self, now: float, failure: Failure | None) -> None:
        """Takes the outcome of a call, or of an active check, into account."""
        if failure is None:
            self.failure_share *= 1 - WEIGHT_OF_LATEST
            self._failures_in_row = 0
            self._rests = 0
            self._refusals = 0
            self._down_until = None
            self._probe_since = None
            self.message = ""
            return
        if failure.reason in _ASKS_TO_WAIT:
            if now >= self._resting_until:  # calls that were under way when the rest began say nothing new
                self._refusals += 1
            asked = failure.retry_after_s
            if asked is None:
                asked = _doubled(BACK_OFF_S_MIN, self._refusals - 1, BACK_OFF_S_MAX)
            self._resting_until = max(self._resting_until, now + min(asked, ASKED_REST_S_MAX))
            self.message = failure.message
        if failure.reason not in _TO_BLAME or failure.callers_deadline:
            self._probe_since = None
            if failure.http_status is not None:
                # It answers, so it is not down, whatever it thinks of this request.
                self._down_until = None
                self._failures_in_row = 0
            return
        self.failure_share += WEIGHT_OF_LATEST * (1 - self.failure_share)
        self._failures_in_row += 1
        self.message = failure.message
        self._unreachable = (
            failure.reason == Reason.ERROR_REASON_VENDOR_UNREACHABLE or failure.phase == "connect"
        )
        probed = self._probe_since is not None
        if probed or self._failures_in_row >= FAILURES_TO_DOWN:
            if probed or self._down_until is None:
                rest = _doubled(REST_S_MIN, self._rests, REST_S_MAX)
                self._rests += 1
                self._down_until = max(self._down_until or 0.0, now + rest)
            self._probe_since = None

    def observe(self, now: float, limits: RateLimits) -> None:
        """Takes a response's rate-limit headers into account: what is used up rests until its window resets."""
        self.limits = limits
        rest = limits.rest_s
        if rest is not None:
            self._resting_until = max(self._resting_until, now + min(rest, ASKED_REST_S_MAX))
            self.message = "the vendor's window is used up"


def _doubled(shortest_s: float, times: int, longest_s: float) -> float:
    """`shortest_s` doubled so many times, at most `longest_s`. What has failed for days fits no float otherwise."""
    return min(shortest_s * 2.0 ** min(max(times, 0), DOUBLINGS_MAX), longest_s)
