"""How fast a budget is spent, and when it will be used up at that rate. Pure arithmetic over samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.budget.domain.standing import Standing
from services.budget.domain.windows import Rolling, Window

RECENT = timedelta(hours=1)
"""What counts as of late."""
KNOWN_AFTER = timedelta(minutes=1)
"""Less time than this says nothing about a rate."""
FASTER_THAN_USUAL = 5
"""How many times its usual rate makes a budget's rate worth an alert."""
NOTICEABLE_PERCENT = 1
"""An hour at a rate that does not even spend this share of the limit is worth none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a budget had spent in a window, at a moment."""

    at: datetime
    window_start: datetime
    spent: int


@dataclass(frozen=True, slots=True)
class Burn:
    """How fast, in the budget's unit, and until when."""

    per_hour: int | None
    """None: too little is known."""
    usual_per_hour: int | None
    """Before that, over the day. None: too little is known."""
    exhausted_at: datetime | None
    """When the limit is reached at this rate. None: not within the window."""

    @property
    def unusual(self) -> bool:
        """Whether money goes much faster than before."""
        if self.per_hour is None or self.usual_per_hour is None:
            return False
        return self.per_hour > FASTER_THAN_USUAL * max(1, self.usual_per_hour)


def spent_of(standing: Standing) -> int:
    """What is gone of a window: settled, and booked above holds."""
    return standing.spent + standing.overage


def burn(window: Window, standing: Standing, samples: Sequence[Sample], now: datetime) -> Burn:
    """The rate of the last hour within the window; a younger window's since its beginning.

    `samples` are the budget's, oldest first. A rolling window has its own rate: what it holds over its length.
    """
    spent = spent_of(standing)
    if isinstance(window, Rolling):
        hours = window.length / timedelta(hours=1)
        per_hour = round(spent / hours)
        return Burn(per_hour, None, _exhausted(standing, per_hour, now))
    known = [sample for sample in samples if sample.window_start == standing.window_start]
    begun = Sample(standing.window_start, standing.window_start, 0)
    recent = [sample for sample in known if sample.at >= now - RECENT]
    if standing.window_start >= now - RECENT:
        recent.insert(0, begun)
    per_hour_now = _rate(recent[0], now, spent) if recent else None
    usual = None
    if recent and recent[0] is not begun:
        earlier = [sample for sample in known if sample.at < recent[0].at]
        if standing.window_start >= now - timedelta(days=1):
            earlier.insert(0, begun)
        usual = _rate(earlier[0], recent[0].at, recent[0].spent) if earlier else None
    return Burn(per_hour_now, usual, _exhausted(standing, per_hour_now, now))


def _rate(since: Sample, until: datetime, spent: int) -> int | None:
    if until - since.at < KNOWN_AFTER:
        return None
    microseconds = (until - since.at) // timedelta(microseconds=1)
    return max(0, spent - since.spent) * 3_600_000_000 // microseconds


def _exhausted(standing: Standing, per_hour: int | None, now: datetime) -> datetime | None:
    if not per_hour:
        return None
    seconds = standing.left * 3600 // per_hour
    if standing.window_end is None:
        # Beyond a century nobody plans, and datetime's own end is near.
        return now + timedelta(seconds=seconds) if seconds < 100 * 366 * 86_400 else None
    moment = seconds < (standing.window_end - now).total_seconds()
    return now + timedelta(seconds=seconds) if moment else None
