"""Watching usage over a real store: what is told adds up to what a query says."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta

import pytest

from services.analytics.adapters.postgres import PostgresUsage
from services.analytics.adapters.postgres_entries import PostgresEntries
from services.analytics.domain.queries import Scope, TimeRange, UsageQuery
from services.analytics.domain.usage import UsageEntry
from services.analytics.domain.watching import EVENTS_MAX, UsageNews
from services.analytics.use_cases.usage import QueryUsage
from services.analytics.use_cases.watch import UsageFeed, WatchUsage
from services.chassis.postgres import Database
from services.kernel.clock import ManualClock
from services.kernel.errors import CredentialsRevoked, InvalidRequest
from tests.support.usage import START, page, usage

SCOPE = Scope("org_1")
PATIENCE_S = 20.0


class World:
    """A replica's part of it: the store, what its tail would do, and a watch."""

    def __init__(self, database: Database) -> None:
        self.store = PostgresUsage(database)
        self.feed = UsageFeed()
        self.stopping = asyncio.Event()
        self.clock = ManualClock(START)
        self.revoked = False
        self._watch = WatchUsage(
            self.store, PostgresEntries(database), self.feed, lambda: True, self.clock, self.stopping
        )
        self._last = 0

    def watch(
        self, scope: Scope = SCOPE, since: datetime | None = None, rate: int = 10
    ) -> AsyncGenerator[UsageNews, None]:
        async def recheck() -> None:
            if self.revoked:
                raise CredentialsRevoked("admt_1")

        return self._watch(scope, since, rate, recheck)

    async def happens(self, *entries: UsageEntry, here: bool = True) -> None:
        """The ledger grows; this replica stores it, or another does."""
        grown = page(*entries, after=self._last)
        assert await self.store.store(grown)
        self._last = grown.last_sequence
        if here:
            self.feed.stored(grown)
        else:
            self.feed.reached(await self.store.positions())


async def next_of(news: AsyncGenerator[UsageNews, None]) -> UsageNews:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(news)


async def test_every_charge_is_told_whoever_stored_it(database: Database) -> None:
    world, told, events = World(database), 0, []
    await world.happens(usage(1, cost_nanos=1_000))
    async with aclosing(world.watch()) as news:
        first = await next_of(news)
        assert (first.events, first.totals.cost_nanos) == ((), 0)
        await world.happens(usage(2, cost_nanos=1))
        await world.happens(usage(3, cost_nanos=10), here=False)
        await world.happens(usage(4, cost_nanos=100, team_id="team_2"))
        await world.happens(usage(5, cost_nanos=1000))
        while told < 1111:
            more = await next_of(news)
            told += more.totals.cost_nanos
            events += [entry.sequence for entry in more.events]
    assert (told, events) == (1111, [2, 3, 4, 5])


@pytest.mark.parametrize("count", [3, EVENTS_MAX + 20])
async def test_a_watch_that_begins_in_the_past_adds_up_to_the_query(database: Database, count: int) -> None:
    world = World(database)
    await world.happens(
        *(usage(number, START + timedelta(minutes=number // 2)) for number in range(1, count + 1))
    )
    for since in (START - timedelta(days=1), START + timedelta(minutes=1, seconds=1)):
        for scope in (SCOPE, Scope("org_1", dimensions={"task": "chat"}), Scope("org_1", team_id="other")):
            async with aclosing(world.watch(scope, since)) as news:
                first = await next_of(news)
            span = TimeRange(since, START + timedelta(days=1))
            answer = await QueryUsage(world.store)(UsageQuery(scope, span), "")
            assert first.totals == answer.totals
            assert len(first.events) == min(EVENTS_MAX, answer.totals.attempts)
            sequences = [entry.sequence for entry in first.events]
            assert sequences == sorted(sequences)
            assert not sequences or sequences[-1] == count


async def test_a_slow_reader_gets_one_sum_of_all_he_missed(database: Database) -> None:
    world = World(database)
    async with aclosing(world.watch()) as news:
        await next_of(news)
        for number in range(1, 301):
            await world.happens(usage(number))
        more = await next_of(news)
    assert more.totals.requests == 300
    assert [entry.sequence for entry in more.events] == list(range(201, 301))


async def test_silence_is_told_and_a_revoked_token_ends_the_watch(database: Database) -> None:
    world = World(database)
    async with aclosing(world.watch()) as news:
        await next_of(news)
        world.clock.advance(10)
        heartbeat = await next_of(news)
        assert (heartbeat.events, heartbeat.totals.attempts) == ((), 0)
        world.revoked = True
        world.clock.advance(10)
        with pytest.raises(CredentialsRevoked):
            await next_of(news)


async def test_a_watch_ends_when_the_process_drains(database: Database) -> None:
    world = World(database)
    async with aclosing(world.watch()) as news:
        await next_of(news)
        world.stopping.set()
        with pytest.raises(StopAsyncIteration):
            await next_of(news)


async def test_a_rate_beyond_the_bound_is_refused(database: Database) -> None:
    with pytest.raises(InvalidRequest):
        await anext(World(database).watch(rate=11))
