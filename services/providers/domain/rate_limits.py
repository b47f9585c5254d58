"""What vendors' headers say about how much may still be asked, whatever units they use."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.providers.domain.classify import duration_s

EPOCH_MS_MIN: Final = 1e11
"""A bare number above this is a moment in milliseconds since 1970 (OpenRouter); below it, seconds to wait."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What is left in the vendor's windows. None: it does not say."""

    requests_left: int | None = None
    tokens_left: int | None = None
    requests_limit: int | None = None
    tokens_limit: int | None = None
    requests_reset_s: float | None = None
    tokens_reset_s: float | None = None

    @property
    def rest_s(self) -> float | None:
        """How long nothing can succeed, if something is used up and it is known until when."""
        waits = [
            reset
            for left, reset in (
                (self.requests_left, self.requests_reset_s),
                (self.tokens_left, self.tokens_reset_s),
            )
            if left == 0 and reset is not None and reset > 0
        ]
        return max(waits, default=None)


# (limit, remaining, reset) of requests and tokens, by what the vendor calls them; the first that is there counts.
_REQUESTS: Final = (
    ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    (
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
    ("x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute", ""),
    ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
)
_TOKENS: Final = (
    ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ),
    ("x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute", ""),
    ("x-tokenlimit-limit", "x-tokenlimit-remaining", "x-tokenlimit-reset"),
)


def rate_limits(headers: Mapping[str, str], now: datetime | None = None) -> RateLimits | None:
    """The limits in a response's headers; None if there are none."""
    requests = _read(headers, _REQUESTS, now)
    tokens = _read(headers, _TOKENS, now)
    if requests is None and tokens is None:
        return None
    requests_limit, requests_left, requests_reset_s = requests or (None, None, None)
    tokens_limit, tokens_left, tokens_reset_s = tokens or (None, None, None)
    return RateLimits(
        requests_left, tokens_left, requests_limit, tokens_limit, requests_reset_s, tokens_reset_s
    )


def _read(
    headers: Mapping[str, str], spellings: tuple[tuple[str, str, str], ...], now: datetime | None
) -> tuple[int | None, int | None, float | None] | None:
    for limit, left, reset in spellings:
        if left in headers:
            return _number(headers.get(limit)), _number(headers[left]), reset_s(headers.get(reset, ""), now)
    return None


def _number(text: str | None) -> int | None:
    try:
        value = int(float(text)) if text else None
    except (ValueError, OverflowError):
        return None
    return value if value is None or value >= 0 else 0


def reset_s(text: str, now: datetime | None = None) -> float | None:
    """Seconds until a window resets: a Go duration, a bare number of seconds, a moment as RFC 3339 or epoch ms."""
    text = text.strip()
    if not text:
        return None
    now = now or datetime.now(UTC)
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if number >= EPOCH_MS_MIN:
            return max(0.0, number / 1000 - now.timestamp())
        return max(0.0, number)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return duration_s(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
