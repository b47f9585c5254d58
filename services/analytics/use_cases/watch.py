"""Shows usage as it happens: what the ledger's tail brings is counted for each watcher, and told as fast as he reads.

The tail hands over each page that it has stored (`UsageFeed.stored`). Another replica may store what this one never
sees: that shows as a gap in the sequence, and is read from the store. So a watcher is told every entry once, and his
sums are those of a query, however many replicas there are.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime

from services.analytics.domain.queries import Scope, TimeRange, UsageQuery
from services.analytics.domain.usage import LedgerPage, UsageEntry
from services.analytics.domain.watching import EVENTS_MAX, Matches, Untold, UsageNews
from services.analytics.ports import UsageEntries, UsageStore
from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest, Overloaded

RATE_DEFAULT = 2  # messages a second
RATE_MAX = 10
WATCHERS_MAX = 200  # each looks at every entry of its organisation, for some microseconds
WATCHERS_OF_ONE_MAX = 50  # of an organisation, so that none keeps the others from watching
CATCH_UP_ENTRIES = 1000  # read at once where the tail left a gap
HEARTBEAT_S = 10.0
"""After so long without usage an empty message says that the ledger is followed; as often the caller is rechecked."""

Recheck = Callable[[], Awaitable[object]]
"""Raises what authentication raises once the caller's token works no more."""


class Watcher:
    """One watch: up to where it has counted, and what it has not told yet."""

    def __init__(self, scope: Scope, since: datetime | None, seen: int) -> None:
        self.untold = Untold()
        self.seen = seen
        """Last sequence that is counted."""
        self.head = seen
        """Last sequence that is known to be in the store."""
        self._matches = Matches(scope)
        self._since = since

    @property
    def behind(self) -> bool:
        """Whether the store has what is not counted."""
        return self.seen < self.head

    def stored(self, page: LedgerPage) -> None:
        """Counts a page that follows on what is counted; one beyond leaves a gap to be read."""
        self.head = max(self.head, page.last_sequence)
        if page.after_sequence <= self.seen:
            self.count(page.usage, up_to=page.last_sequence)

    def count(self, entries: Sequence[UsageEntry], up_to: int) -> None:
        """Counts what is of the scope and was not counted. `entries` are all there are of a stretch up to `up_to`."""
        for entry in entries:
            fresh = entry.sequence > self.seen and (self._since is None or entry.occurred_at >= self._since)
            if fresh and self._matches(entry):
                self.untold.add(entry)
        self.seen = max(self.seen, up_to)


class UsageFeed:
    """Hands what the tail has stored to whoever watches; costs nothing while nobody does."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        self._admitted: Counter[str] = Counter()

    def stored(self, page: LedgerPage) -> None:
        """This replica has stored a page."""
        for watcher in self._watchers.get(page.organisation_id, ()):
            watcher.stored(page)

    def reached(self, positions: Mapping[str, int]) -> None:
        """The store has everything up to these positions, whoever stored it."""
        for organisation_id, watchers in self._watchers.items():
            for watcher in watchers:
                watcher.head = max(watcher.head, positions.get(organisation_id, 0))

    @contextlib.contextmanager
    def admitted(self, organisation_id: str) -> Iterator[None]:
        """A place for one watcher for the length of the block, before anything is read for him.

        Raises Overloaded beyond WATCHERS_MAX, or WATCHERS_OF_ONE_MAX of the organisation's.
        """
        if self._admitted.total() >= WATCHERS_MAX:
            raise Overloaded(f"watches of usage: {WATCHERS_MAX}")
        if self._admitted[organisation_id] >= WATCHERS_OF_ONE_MAX:
            raise Overloaded(f"watches of one organisation's usage: {WATCHERS_OF_ONE_MAX}")
        self._admitted[organisation_id] += 1
        try:
            yield
        finally:
            self._admitted[organisation_id] -= 1
            if not self._admitted[organisation_id]:
                del self._admitted[organisation_id]

    @contextlib.contextmanager
    def watched(self, organisation_id: str, watcher: Watcher) -> Iterator[None]:
        """Feeds a watcher for the length of the block."""
        watchers = self._watchers.setdefault(organisation_id, set())
        watchers.add(watcher)
        try:
            yield
        finally:
            watchers.remove(watcher)
            if not watchers:
                del self._watchers[organisation_id]


class WatchUsage:
    """Serves watchers, each from memory while it can keep up with the tail."""

    def __init__(
        self,
        store: UsageStore,
        entries: UsageEntries,
        feed: UsageFeed,
        followed: Callable[[], bool],
        clock: Clock,
        stopping: asyncio.Event,
    ) -> None:
        """`followed` says whether the ledger is heard of."""
        self._store = store
        self._entries = entries
        self._feed = feed
        self._followed = followed
        self._clock = clock
        self._stopping = stopping

    async def __call__(
        self, scope: Scope, since: datetime | None, rate: int, recheck: Recheck
    ) -> AsyncGenerator[UsageNews, None]:
        """News, at most `rate` a second (0: RATE_DEFAULT); the first at once, with what came since `since`.

        What a slow reader has not taken yet is added up, in constant memory. Ends when the process drains. While the
        ledger cannot be read there is no news, not even an empty one. Raises what `recheck` does, StoreUnavailable, and
        Overloaded where too many watch.
        """
        if not 0 <= rate <= RATE_MAX:
            raise InvalidRequest.of("updates_per_second", f"must be between 0 and {RATE_MAX}")
        with self._feed.admitted(scope.organisation_id):
            watcher = await self._begin(scope, since)
            with self._feed.watched(scope.organisation_id, watcher):
                telling = self._news(scope.organisation_id, watcher, rate or RATE_DEFAULT, recheck)
                async with contextlib.aclosing(telling) as all_news:
                    async for news in all_news:
                        yield news

    async def _news(
        self, organisation_id: str, watcher: Watcher, rate: int, recheck: Recheck
    ) -> AsyncGenerator[UsageNews, None]:
        await self._catch_up(watcher, organisation_id, anew=True)
        told_s = checked_s = self._clock.monotonic_s()
        yield watcher.untold.tell(self._clock.now())
        while not await self._drains(1 / rate):
            now_s = self._clock.monotonic_s()
            if now_s - checked_s >= HEARTBEAT_S:
                checked_s = now_s
                await recheck()
            await self._catch_up(watcher, organisation_id)
            if watcher.untold.entries or (now_s - told_s >= HEARTBEAT_S and self._followed()):
                told_s = now_s
                yield watcher.untold.tell(self._clock.now())

    async def _begin(self, scope: Scope, since: datetime | None) -> Watcher:
        """A watcher who has counted what is before the newest entry's time: times never fall along a ledger."""
        read = await self._store.freshness(scope.organisation_id)
        if read is None or read.occurred_at is None:
            return Watcher(scope, since, 0 if read is None else read.sequence)
        if since is None or since > read.occurred_at:
            return Watcher(scope, since, read.sequence)
        seen = await self._entries.last_before(scope.organisation_id, read.occurred_at)
        watcher = Watcher(scope, since, seen)
        if since < read.occurred_at:
            query = UsageQuery(scope, TimeRange(since, read.occurred_at))
            _, watcher.untold.totals = await self._store.sum(query, query.rollups, None)
            watcher.untold.events.extend(await self._entries.newest(scope, query.range, EVENTS_MAX))
        return watcher

    async def _catch_up(self, watcher: Watcher, organisation_id: str, *, anew: bool = False) -> None:
        if anew:  # what was stored before the watcher was fed
            read = await self._store.freshness(organisation_id)
            watcher.head = max(watcher.head, 0 if read is None else read.sequence)
        while watcher.behind:
            head = watcher.head
            entries = await self._entries.after(organisation_id, watcher.seen, head, CATCH_UP_ENTRIES)
            more = len(entries) == CATCH_UP_ENTRIES
            watcher.count(entries, up_to=entries[-1].sequence if more else head)

    async def _drains(self, within_s: float) -> bool:
        # Not wait_for, which on Python 3.11 loses a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._stopping.wait()
        return self._stopping.is_set()
