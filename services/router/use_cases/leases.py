"""Keeps the holds of long answers alive: a lease that ends is charged in full, as if nobody were left."""

import asyncio
from collections import defaultdict

import structlog

from services.kernel.clock import Clock
from services.kernel.errors import TurnpikeError
from services.router.ports import AttemptKey, Holds

LEASE_S = 120.0
"""How long a hold lives unattended: what a crash of this process leaves held."""

RENEW_AFTER_S = 40.0
"""A third of the lease: two renewals may fail before it ends."""

LOOK_EVERY_S = 10.0
KEYS_PER_RENEWAL = 500

log = structlog.get_logger()


class Leases:
    """The holds whose attempts are under way here."""

    def __init__(self, holds: Holds, clock: Clock) -> None:
        self._holds = holds
        self._clock = clock
        self._open: dict[AttemptKey, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, key: AttemptKey) -> None:
        """A hold was granted; it is renewed until `closed`."""
        self._open[key] = self._clock.monotonic_s()

    def closed(self, key: AttemptKey) -> None:
        """The attempt has ended; its settlement says the rest."""
        self._open.pop(key, None)

    async def run(self) -> None:
        """Renews for ever, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.renew_due()

    async def renew_due(self) -> None:
        """Renews the leases that are a third over. A failure is tried again the next time."""
        now_s = self._clock.monotonic_s()
        due: dict[str, list[AttemptKey]] = defaultdict(list)
        for key, since_s in self._open.items():
            if now_s - since_s >= RENEW_AFTER_S:
                due[key.organisation_id].append(key)
        for organisation_id, keys in due.items():
            for first in range(0, len(keys), KEYS_PER_RENEWAL):
                await self._renew(organisation_id, keys[first : first + KEYS_PER_RENEWAL], now_s)

    async def _renew(self, organisation_id: str, keys: list[AttemptKey], now_s: float) -> None:
        try:
            gone = await self._holds.renew(keys, LEASE_S)
        except TurnpikeError as error:
            log.warning(
                "leases not renewed", organisation_id=organisation_id, holds=len(keys), reason=error.reason
            )
            return
        for key in keys:
            if key in self._open:
                self._open[key] = now_s
        for key in gone:
            self._open.pop(key, None)
