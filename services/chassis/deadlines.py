"""Many deadlines for the price of one timer.

A timer of the event loop costs some 9 µs to set and cancel, and almost none of them ever goes off. Here deadlines that
fall into the same GRAIN_S share one; adding and removing one is a set operation. They go off late by at most GRAIN_S,
never early.
"""

import asyncio
import time
from collections.abc import Callable

GRAIN_S = 0.02  # well under what anyone gives a call, and well above what a timer costs

Fire = Callable[[], None]


class Deadlines:
    """Deadlines within one event loop."""

    def __init__(self) -> None:
        self._buckets: dict[int, set[Fire]] = {}

    def add(self, moment: float, fire: Fire) -> int:
        """Calls `fire` once `moment` of time.monotonic() has passed; returns what `remove` wants."""
        number = int(moment / GRAIN_S) + 1
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            delay_s = number * GRAIN_S - time.monotonic()
            asyncio.get_running_loop().call_later(max(0.0, delay_s), self._go_off, number)
        bucket.add(fire)
        return number

    def remove(self, number: int, fire: Fire) -> None:
        """Forgets a deadline; one that went off already is no error."""
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.discard(fire)

    def _go_off(self, number: int) -> None:
        for fire in self._buckets.pop(number):
            fire()
