"""Follows the ledger: every settlement becomes a usage entry, once, whatever crashes.

The position moves in the transaction that stores the entries, so a crash reads a page again and stores it once. When
several replicas follow the same ledger, the one that is first stores a page and the others find that out and go on from
the position that holds. When the budget service or the store is down, this waits and begins again from the position.
"""

import asyncio
import random
import time

import structlog

from services.analytics.domain.usage import LedgerPage
from services.analytics.ports import EntriesLeft, LedgerTail, UsageStore
from services.analytics.use_cases.watch import UsageFeed
from services.kernel.errors import TurnpikeError

RETRY_S_MIN = 0.2
RETRY_S_MAX = 5.0  # the budget service restarts within seconds; longer waits only make figures old
SILENCE_S_MAX = 10.0  # the tail sends a heartbeat every second; after ten without one it is not followed

log = structlog.get_logger()


class FollowLedger:
    """Runs for as long as the process does."""

    def __init__(self, tail: LedgerTail, store: UsageStore, feed: UsageFeed) -> None:
        """`feed` is told what the store has."""
        self._tail = tail
        self._store = store
        self._feed = feed
        self._heard_at: float | None = None
        self._failed_at: float | None = None

    @property
    def silence_s(self) -> float | None:
        """How long ago the ledger was last heard of, in seconds. None: never."""
        return None if self._heard_at is None else time.monotonic() - self._heard_at

    @property
    def followed(self) -> bool:
        """Whether the ledger is heard of, and nothing unforeseen has kept it from being stored lately."""
        failed = self._failed_at is not None and time.monotonic() - self._failed_at < SILENCE_S_MAX
        return self.silence_s is not None and self.silence_s < SILENCE_S_MAX and not failed

    async def run(self) -> None:
        """Follows the ledger until cancelled. Whatever stops it is logged, shows in `followed`, and is tried again."""
        wait_s = RETRY_S_MIN
        while True:
            heard_at = self._heard_at
            try:
                await self._follow()
            except EntriesLeft as left:
                await self._pass_over(left)
            except TurnpikeError as error:
                log.warning("ledger tail lost", reason=error.reason, error=error.message)
            except Exception:  # a fault of ours: usage of everybody must not end with it
                log.exception("ledger tail failed")
                self._failed_at = time.monotonic()
                heard_at = self._heard_at  # what was heard did not help
            wait_s = RETRY_S_MIN if self._heard_at != heard_at else min(RETRY_S_MAX, wait_s * 2)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _follow(self) -> None:
        positions = await self._store.positions()
        self._feed.reached(positions)
        async for pages in self._tail.read(positions):
            self._heard_at = time.monotonic()
            for page in pages:
                if not await self._store.store(page):
                    log.info("another replica is ahead", organisation=page.organisation_id)
                    return
                self._feed.stored(page)

    async def _pass_over(self, left: EntriesLeft) -> None:
        """Goes on from what there is, and says so: usage of what has left before it was read is in archives alone."""
        organisation_id, last = left.organisation_id, left.first_sequence - 1
        position = (await self._store.positions()).get(organisation_id, 0)
        log.error(
            "usage is missing: entries left the ledger before they were read",
            organisation_id=organisation_id,
            after_sequence=position,
            last_sequence=last,
            whole_from=left.whole_from.isoformat(),
        )
        await self._store.store(LedgerPage(organisation_id, position, last, left.whole_from, ()))
