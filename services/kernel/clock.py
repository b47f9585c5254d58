"""Time as a parameter, so that a test can hold it still.

Two clocks are told apart: the wall clock says which day a budget's window is in, the monotonic clock measures how long
something took and never goes back.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The wall clock's time, in UTC, with its zone."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some moment; only differences mean something."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The wall clock's time in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        if now.tzinfo is None:
            raise ValueError("a clock's time needs a time zone")
        self._now = now.astimezone(UTC)
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        """The time it was set to, in UTC."""
        return self._now

    def monotonic_s(self) -> float:
        """Seconds it was advanced in all."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass on both clocks; they cannot go back."""
        if seconds < 0:
            raise ValueError("time does not go back; use set_wall to set the wall clock")
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def set_wall(self, now: datetime) -> None:
        """Sets the wall clock as an operator or NTP may, also backwards; the monotonic clock does not notice."""
        self._now = now.astimezone(UTC)
