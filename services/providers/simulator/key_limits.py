"""What each key has used in its minute, and whether a request still fits."""

from dataclasses import dataclass, field
from typing import Final

from services.providers.simulator.formats import Left
from services.providers.simulator.scenario import Limits

KEYS_MAX: Final = 10_000
"""Keys whose minutes are counted; beyond, the counters begin anew."""

WINDOW_S: Final = 60.0


@dataclass(slots=True)
class _Window:
    """One key's minute."""

    began_s: float
    requests: int = 0
    tokens: int = 0


@dataclass(slots=True)
class KeyLimits:
    """Counts requests and tokens by key."""

    _windows: dict[str, _Window] = field(default_factory=dict)

    def clear(self) -> None:
        """Every minute begins anew."""
        self._windows.clear()

    def take(self, limits: Limits, key: str, tokens: int, now_s: float) -> tuple[bool, Left]:
        """Counts a request if it fits, and what is left after it; one that does not fit counts for nothing."""
        if len(self._windows) > KEYS_MAX:
            self._windows.clear()
        window = self._windows.get(key)
        if window is None or now_s - window.began_s >= WINDOW_S:
            window = self._windows[key] = _Window(now_s)
        requests_max, tokens_max = limits.requests_per_minute, limits.tokens_per_minute
        fits = (requests_max is None or window.requests < requests_max) and (
            tokens_max is None or window.tokens + tokens <= tokens_max
        )
        if fits:
            window.requests += 1
            window.tokens += tokens
        return fits, Left(
            requests_max,
            None if requests_max is None else requests_max - window.requests,
            tokens_max,
            None if tokens_max is None else tokens_max - window.tokens,
            max(0.0, window.began_s + WINDOW_S - now_s),
        )
