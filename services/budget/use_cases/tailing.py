"""Follows the ledger for readers: first what there is after their positions, then what comes, in each chain's order.

What an owner in this process has just written is passed on from memory (`Fresh`); the rest is read from the store.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

from services.budget.domain.entries import Entry

ROUND_S = 0.1
"""How soon an entry of an owner here is passed on at the latest."""
LOOK_EVERY = 5
"""Rounds between looks at the store for what others wrote: half a second."""
HEARTBEAT_S = 1.0
"""An empty batch says that the ledger was read and has nothing new."""
BATCH_MAX = 500
"""Entries in one message: about 300 kB."""
FRESH_MAX = 5_000
"""Entries of one organisation that are kept in memory for readers who keep up: about 4 MB."""


class LedgerReader(Protocol):
    """Where entries are read; StoreUnavailable when Postgres does not answer. Pages are contract messages."""

    async def heads(self) -> dict[str, int]:
        """The last sequence of every organisation."""
        ...

    async def page_after(
        self, organisation_id: str, sequence: int, count: int, *, usage_only: bool
    ) -> tuple[Any, int, int]:
        """A page of at most `count` entries after a sequence, in order; how many these are, and the last's sequence.

        Raises EntriesArchived if the first of them has left.
        """
        ...

    def page_of(self, organisation_id: str, entries: Sequence[Entry]) -> Any:
        """A page of these entries, for readers of usage only."""
        ...

    def empty_page(self) -> Any:
        """A heartbeat."""
        ...


class Fresh:
    """What owners in this process wrote last, for tails; nothing while nobody follows."""

    def __init__(self) -> None:
        self._followers = 0
        self._entries: dict[str, deque[Entry]] = {}

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Keeps entries for the length of the block."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._entries.clear()

    def written(self, organisation_id: str, entries: Sequence[Entry]) -> None:
        """The store has these."""
        if not self._followers or not entries:
            return
        kept = self._entries.get(organisation_id)
        if kept is None:
            kept = self._entries[organisation_id] = deque(maxlen=FRESH_MAX)
        elif kept and kept[-1].sequence + 1 != entries[0].sequence:
            kept.clear()  # another wrote in between
        kept.extend(entries)

    def organisations(self) -> list[str]:
        """Those of which something is here."""
        return list(self._entries)

    def after(self, organisation_id: str, sequence: int, count: int) -> list[Entry]:
        """At most `count` entries that follow on `sequence`; none if they are not here."""
        kept = self._entries.get(organisation_id)
        if not kept or not kept[0].sequence <= sequence + 1 <= kept[-1].sequence:
            return []
        first = sequence + 1 - kept[0].sequence
        return [kept[place] for place in range(first, min(first + count, len(kept)))]


class LedgerTail:
    """Reads on behalf of any number of readers."""

    def __init__(self, reader: LedgerReader, fresh: Fresh) -> None:
        self._reader = reader
        self._fresh = fresh

    async def follow(
        self, after: dict[str, int], stopping: asyncio.Event, *, usage_only: bool = False
    ) -> AsyncIterator[Any]:
        """Pages of entries; an empty one after 1.5 s without any at the latest. Ends when the process drains.

        Raises EntriesArchived where what follows on a position has left the ledger: nothing is passed over.
        """
        positions = dict(after)
        loop = asyncio.get_running_loop()
        silent_since, rounds = loop.time(), 0
        with self._fresh.followed():
            while not stopping.is_set():
                behind = False
                if usage_only:
                    for page in self._from_memory(positions):
                        silent_since = loop.time()
                        yield page
                looking = rounds % LOOK_EVERY == 0 or not usage_only
                if looking:
                    for organisation_id, head in (await self._reader.heads()).items():
                        while (position := positions.get(organisation_id, 0)) < head:
                            page, count, last = await self._reader.page_after(
                                organisation_id, position, BATCH_MAX, usage_only=usage_only
                            )
                            if not count:
                                break
                            positions[organisation_id] = last
                            behind = behind or count == BATCH_MAX
                            silent_since = loop.time()
                            yield page
                if looking and loop.time() - silent_since >= HEARTBEAT_S:
                    silent_since = loop.time()
                    yield self._reader.empty_page()
                rounds += 1
                # A reader that has caught up is fed in batches: a look for each entry would cost more than the entry.
                if not behind:
                    # Not wait_for, which on Python 3.11 loses a cancellation that comes together with the event.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ROUND_S):
                            await stopping.wait()

    def _from_memory(self, positions: dict[str, int]) -> Iterator[Any]:
        for organisation_id in self._fresh.organisations():
            while entries := self._fresh.after(organisation_id, positions.get(organisation_id, 0), BATCH_MAX):
                positions[organisation_id] = entries[-1].sequence
                yield self._reader.page_of(organisation_id, entries)
