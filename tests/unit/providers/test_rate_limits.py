"""What vendors' headers say is left, in all their units."""

from dataclasses import astuple
from datetime import UTC, datetime

import pytest

from services.providers.domain.rate_limits import RateLimits, rate_limits, reset_s

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-limit-tokens": "30000",
                "x-ratelimit-remaining-tokens": "29000",
                "x-ratelimit-reset-tokens": "1m0.052s",
            },
            RateLimits(499, 29000, 500, 30000, 0.12, 60.052),
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-24T08:00:30Z",
            },
            RateLimits(0, None, 50, None, 30.0, None),
        ),
        (
            {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59"},
            RateLimits(59, None, 60, None, None, None),
        ),
        (
            {"x-ratelimit-remaining": "0", "x-ratelimit-limit": "1", "x-ratelimit-reset": "1795507260000"},
            RateLimits(0, None, 1, None, 60.0, None),
        ),
        ({"x-ratelimit-remaining-tokens": "-5"}, RateLimits(None, 0, None, None, None, None)),
        ({"x-ratelimit-remaining-tokens": "many"}, RateLimits(None, None, None, None, None, None)),
        ({"content-type": "text/plain"}, None),
    ],
)
def test_headers(headers: dict[str, str], expected: RateLimits | None) -> None:
    found = rate_limits(headers, NOW)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert astuple(found) == pytest.approx(astuple(expected))


def test_what_is_used_up_rests_until_its_window_resets() -> None:
    assert RateLimits(requests_left=0, requests_reset_s=3.0).rest_s == 3.0
    assert RateLimits(requests_left=1, requests_reset_s=3.0).rest_s is None
    assert RateLimits(tokens_left=0).rest_s is None
    assert RateLimits(0, 0, requests_reset_s=3.0, tokens_reset_s=8.0).rest_s == 8.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6ms", 0.006),
        ("8.64s", 8.64),
        ("17.399999999s", 17.399999999),
        ("7", 7.0),
        ("", None),
        ("soon", None),
    ],
)
def test_resets(text: str, seconds: float | None) -> None:
    found = reset_s(text, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))
