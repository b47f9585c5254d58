"""What attempts have shown of an endpoint's speed and reliability, old news fading. Pure.

Sums with exponential decay: each measurement weighs half as much after HALF_LIFE_S. They add up, so replicas share them
by adding (`merged`), and no update is lost by being overwritten.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

from services.router.domain.conditions import (
    FAILURE_RATE_DEFAULT,
    TOKENS_PER_S_DEFAULT,
    TTFT_S_DEFAULT,
    TTFT_S_SPREAD_DEFAULT,
    Speed,
)

HALF_LIFE_S = 120.0
"""Vendors slow down and recover within minutes."""

PRIOR_WEIGHT = 2.0
"""The default counts as so many measurements, so that one lucky answer does not make a star."""

_DECAY = log(2.0) / HALF_LIFE_S


@dataclass(slots=True)
class Sums:
    """Decayed sums of one endpoint's measurements."""

    at_s: float = 0.0
    """Moment to which the sums are decayed."""
    attempts: float = 0.0
    failures: float = 0.0
    firsts: float = 0.0
    """Measurements of the time to the first token."""
    ttft_s: float = 0.0
    ttft_s_squared: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    """From the first token to the end, for `tokens`."""

    def decay(self, now_s: float) -> None:
        """Lets the sums fade to `now_s`."""
        passed = now_s - self.at_s
        if passed <= 0:
            return
        kept = exp(-_DECAY * passed)
        self.at_s = now_s
        self.attempts *= kept
        self.failures *= kept
        self.firsts *= kept
        self.ttft_s *= kept
        self.ttft_s_squared *= kept
        self.tokens *= kept
        self.seconds *= kept

    def add(
        self, now_s: float, *, failed: bool, ttft_s: float | None, tokens: int | None, seconds: float | None
    ) -> None:
        """Counts one attempt. `tokens` were produced in `seconds` after the first."""
        self.decay(now_s)
        self.attempts += 1.0
        if failed:
            self.failures += 1.0
        if ttft_s is not None:
            self.firsts += 1.0
            self.ttft_s += ttft_s
            self.ttft_s_squared += ttft_s * ttft_s
        if tokens is not None and seconds is not None and tokens > 1 and seconds > 0:
            self.tokens += tokens
            self.seconds += seconds

    def merged(self, other: "Sums", now_s: float) -> "Sums":
        """Both together, at `now_s`."""
        mine, theirs = self.copy(), other.copy()
        mine.decay(now_s)
        theirs.decay(now_s)
        return Sums(
            now_s,
            mine.attempts + theirs.attempts,
            mine.failures + theirs.failures,
            mine.firsts + theirs.firsts,
            mine.ttft_s + theirs.ttft_s,
            mine.ttft_s_squared + theirs.ttft_s_squared,
            mine.tokens + theirs.tokens,
            mine.seconds + theirs.seconds,
        )

    def copy(self) -> "Sums":
        """The same sums, apart."""
        return Sums(
            self.at_s,
            self.attempts,
            self.failures,
            self.firsts,
            self.ttft_s,
            self.ttft_s_squared,
            self.tokens,
            self.seconds,
        )

    @property
    def failure_rate(self) -> float:
        """Share of failures, the default counting as PRIOR_WEIGHT attempts."""
        return (self.failures + PRIOR_WEIGHT * FAILURE_RATE_DEFAULT) / (self.attempts + PRIOR_WEIGHT)

    def speed(self) -> Speed:
        """What a decision is made from."""
        weight = self.firsts + PRIOR_WEIGHT
        mean = (self.ttft_s + PRIOR_WEIGHT * TTFT_S_DEFAULT) / weight
        squares = self.ttft_s_squared + PRIOR_WEIGHT * (TTFT_S_DEFAULT**2 + TTFT_S_SPREAD_DEFAULT**2)
        variance = max(squares / weight - mean * mean, 0.0)
        # A second's worth of the default rate is the prior of the rate.
        tokens = self.tokens + TOKENS_PER_S_DEFAULT
        seconds = self.seconds + 1.0
        return Speed(
            ttft_s=mean,
            ttft_s_spread=sqrt(variance / weight),
            tokens_per_s=tokens / seconds,
            failure_rate=self.failure_rate,
            samples=self.attempts,
        )
