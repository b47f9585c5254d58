"""Brings the prior that admins put in force into memory, on every replica within a second.

While Postgres is away the one in memory stays in force. A prior that this version cannot read is logged, and the
shipped one stands in for it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.kernel.errors import StoreUnavailable
from services.router.adapters.learned import expectations_of, open_prior
from services.router.admin_ports import PriorStore
from services.router.domain.administered import SHIPPED_PRIOR
from services.router.domain.estimates import Estimator
from services.router.domain.learning.prior import PriorError

LOOK_EVERY_S = 0.4
"""Twice this, and the time it takes to load, is within the second that is promised."""

log = structlog.get_logger()


class PriorWatch:
    """Follows the version in force."""

    def __init__(self, store: PriorStore, take: Callable[[Estimator], Awaitable[None]]) -> None:
        self._store = store
        self._take = take
        self._version = SHIPPED_PRIOR
        """Of what was taken last; a router starts with what it ships."""
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        """Takes the prior in force, if it is another than before. Raises StoreUnavailable."""
        async with self._refreshing:  # or an older answer might be taken after a newer one
            version = await self._store.prior_version()
            if version != self._version:
                await self._take(await self._open(version))
                self._version = version
                log.info("prior in force", version=version)

    async def run(self) -> None:
        """Looks for ever, until it is cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable:
                log.warning("prior not refreshed", store="postgres")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _open(self, version: str) -> Estimator:
        content = await self._store.prior_content(version) if version != SHIPPED_PRIOR else None
        if content is not None:
            try:
                # Tens of milliseconds of unpacking, in which requests go on.
                return await asyncio.to_thread(expectations_of, content)
            except PriorError as error:
                log.error("prior unusable, the shipped one stands in", version=version, why=str(error))
        return await asyncio.to_thread(open_prior)
