"""Moments as microseconds since 1970, which is how trees and the ledger keep them."""

from datetime import UTC, datetime, timedelta

from services.budget.domain.windows import EPOCH

NEVER_US = 2**62
"""Later than any window ends."""
_MICROSECOND = timedelta(microseconds=1)


def to_us(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // _MICROSECOND


def from_us(at_us: int) -> datetime:
    """The moment, in UTC."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
