"""Follows the ledger for readers: first what there is after their positions, then what comes, in each chain's order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

POLL_S = 0.1
"""How soon an entry is passed on at the latest."""
HEARTBEAT_S = 1.0
"""An empty batch says that the ledger was read and has nothing new."""
BATCH_MAX = 500
"""Entries in one message: about 300 kB."""


class LedgerReader(Protocol):
    """Where entries are read; StoreUnavailable when Postgres does not answer."""

    async def heads(self) -> dict[str, int]:
        """The last sequence of every organisation."""
        ...

    async def after(self, organisation_id: str, sequence: int, count: int) -> Sequence[Any]:
        """At most `count` entries after a sequence, in order, as contract messages."""
        ...


class LedgerTail:
    """Reads on behalf of any number of readers."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader

    async def follow(self, after: dict[str, int], stopping: asyncio.Event) -> AsyncIterator[Sequence[Any]]:
        """Batches of entries; an empty one at least once a second. Ends when the process drains."""
        positions = dict(after)
        loop = asyncio.get_running_loop()
        silent_since = loop.time()
        while not stopping.is_set():
            behind = False
            for organisation_id, head in (await self._reader.heads()).items():
                while positions.get(organisation_id, 0) < head:
                    entries = await self._reader.after(
                        organisation_id, positions.get(organisation_id, 0), BATCH_MAX
                    )
                    if not entries:
                        break
                    positions[organisation_id] = entries[-1].sequence
                    behind = behind or len(entries) == BATCH_MAX
                    silent_since = loop.time()
                    yield entries
            if loop.time() - silent_since >= HEARTBEAT_S:
                silent_since = loop.time()
                yield ()
            # A reader that has caught up is fed in batches: a read for each entry would cost more than the entry did.
            if not behind:
                # Not wait_for, which on Python 3.11 loses a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await stopping.wait()
