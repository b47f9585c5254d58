"""How much of the time a thread wants a CPU: what it gets of one, and what it waits for one.

Near 1 its process has no time left, or the machine has none left for it. Whoever waits a little then, so that work can
be done together, delays nothing that would not have waited anyway.
"""

import time
from pathlib import Path
from typing import Final

SAMPLE_S: Final = 0.1
"""A share is of at least so long: a look costs some 30 µs, and a shorter one would follow single bursts."""
_SCHEDSTAT = Path("/proc/thread-self/schedstat")  # nanoseconds on a CPU, and waiting for one; slices of time


class Demand:
    """The share of the thread that asks, from 0 to 1. Always 0 on systems that do not tell: anything but Linux."""

    def __init__(self) -> None:
        self._share = 0.0
        self._wanted_s = _wanted_s()
        self._looked_at = time.monotonic()

    def share(self) -> float:
        """What it was when somebody asked last, at most every SAMPLE_S. Never waits."""
        now = time.monotonic()
        passed_s = now - self._looked_at
        if passed_s >= SAMPLE_S:
            wanted_s = _wanted_s()
            self._share = min(1.0, (wanted_s - self._wanted_s) / passed_s)
            self._wanted_s, self._looked_at = wanted_s, now
        return self._share


def _wanted_s() -> float:
    try:
        running_ns, waiting_ns, _ = _SCHEDSTAT.read_bytes().split()
    except OSError:
        return 0.0
    return (int(running_ns) + int(waiting_ns)) / 1e9
