"""Forgets decision records whose time is over, what only they were made from, and what was read from them.

Replicas may all do so: none waits for another's rows. While the store is down nothing is forgotten; it is later, and so
after a fault of ours.
"""

import asyncio
from datetime import timedelta

import structlog

from services.analytics.ports import DecisionStore
from services.kernel.clock import Clock
from services.kernel.errors import TurnpikeError

LOOK_EVERY_S = 600.0
"""Days are what is promised; minutes are soon enough."""

ROWS_MAX = 2_000
"""Deleted at once, some ten milliseconds; between two pieces others have their turn."""

PAUSE_S = 0.2

log = structlog.get_logger()


class Forget:
    """Runs for as long as the process does."""

    def __init__(self, store: DecisionStore, clock: Clock, kept: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._failed = False

    @property
    def works(self) -> bool:
        """False if a fault of ours kept it from forgetting when it last tried."""
        return not self._failed

    async def run(self) -> None:
        """Forgets until cancelled."""
        while True:
            try:
                forgotten = await self.once()
            except TurnpikeError as error:
                log.warning("nothing forgotten", reason=error.reason, error=error.message)
                forgotten = 0
            except Exception:  # what is not forgotten in time is a promise broken: it is tried again
                log.exception("forgetting failed")
                forgotten, self._failed = 0, True
            else:
                self._failed = False
            await asyncio.sleep(PAUSE_S if forgotten else LOOK_EVERY_S)

    async def once(self) -> int:
        """Deletes one piece; how many rows it had."""
        return await self._store.forget(self._clock.now() - self._kept, ROWS_MAX)
