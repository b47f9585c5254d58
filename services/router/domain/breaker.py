"""Circuit breakers: an endpoint that keeps failing is left alone for a while, then tried by one request at a time.

closed → open when failures dominate; open → half-open when its rest is over; half-open → closed after a few successes
in a row, → open again, for twice as long, at the first failure. A failure while open changes nothing: late news of old
calls neither shorten nor lengthen the rest.
"""

from dataclasses import dataclass, replace

from services.router.domain.conditions import BreakerState

FAILURES_TO_OPEN = 5
"""Failures in a row that open it, however much is asked of it."""

RATE_TO_OPEN = 0.5
SAMPLES_TO_OPEN = 10.0
"""Or: half of at least so many recent attempts."""

REST_S_FIRST = 2.0
REST_S_MAX = 5.0
"""The rest doubles from the first to the longest while probes fail. Short, so that recovery is found in seconds: a dead
endpoint costs one request in five seconds a fallback, and one that is well and left alone costs them all."""

SUCCESSES_TO_CLOSE = 2

PROBES_UNDER_WAY_MAX = 1
"""Requests that may try a half-open endpoint at once, per replica."""

PROBE_GIVEN_UP_S = 30.0
"""A probe that has told nothing for so long does not keep others from trying."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """One endpoint's breaker. Times are seconds of one clock."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    """In a row, while closed."""
    successes: int = 0
    """In a row, while half-open."""
    opened_at_s: float = 0.0
    rest_s: float = REST_S_FIRST
    probes: int = 0
    probed_at_s: float = 0.0

    def at(self, now_s: float) -> "Breaker":
        """The breaker at this moment: half-open once its rest is over."""
        if self.state is BreakerState.OPEN and now_s - self.opened_at_s >= self.rest_s:
            return replace(self, state=BreakerState.HALF_OPEN, successes=0, probes=0)
        if (
            self.state is BreakerState.HALF_OPEN
            and self.probes
            and now_s - self.probed_at_s > PROBE_GIVEN_UP_S
        ):
            return replace(self, probes=0)
        return self

    @property
    def admits(self) -> bool:
        """True if a request may be sent now."""
        if self.state is BreakerState.HALF_OPEN:
            return self.probes < PROBES_UNDER_WAY_MAX
        return self.state is BreakerState.CLOSED

    def begun(self, now_s: float) -> "Breaker":
        """A request was sent."""
        if self.state is not BreakerState.HALF_OPEN:
            return self
        return replace(self, probes=self.probes + 1, probed_at_s=now_s)

    def abandoned(self) -> "Breaker":
        """A request that was sent has told nothing: another one may try."""
        return self if self.probes == 0 else replace(self, probes=self.probes - 1)

    def succeeded(self) -> "Breaker":
        """An attempt has answered."""
        if self.state is BreakerState.CLOSED:
            return self if self.failures == 0 else replace(self, failures=0)
        if self.state is BreakerState.OPEN:
            return self
        if self.successes + 1 >= SUCCESSES_TO_CLOSE:
            return Breaker()
        return replace(self, successes=self.successes + 1, probes=max(0, self.probes - 1))

    def failed(self, now_s: float, *, failure_rate: float, samples: float) -> "Breaker":
        """An attempt has failed through the endpoint's fault."""
        if self.state is BreakerState.OPEN:
            return self
        if self.state is BreakerState.HALF_OPEN:
            return Breaker(BreakerState.OPEN, opened_at_s=now_s, rest_s=min(self.rest_s * 2, REST_S_MAX))
        failures = self.failures + 1
        if failures >= FAILURES_TO_OPEN or (samples >= SAMPLES_TO_OPEN and failure_rate >= RATE_TO_OPEN):
            return Breaker(BreakerState.OPEN, opened_at_s=now_s, rest_s=REST_S_FIRST)
        return replace(self, failures=failures)
