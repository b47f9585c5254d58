"""Answers questions about usage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.analytics.domain.queries import TimeRange, UsageQuery
from services.analytics.domain.usage import Freshness, UsageRow, UsageTotals
from services.analytics.ports import UsageStore
from services.kernel.pages import key_time, page_key, page_token


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    """A page of sums, the sums of all pages, and up to where the ledger is in them."""

    rows: Sequence[UsageRow]
    totals: UsageTotals
    next_page_token: str
    freshness: Freshness | None


class QueryUsage:
    """Sums usage: from rollups where they can answer, from single entries at the edges and where they cannot."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    async def __call__(self, query: UsageQuery, token: str) -> UsageAnswer:
        """A page. The token of the next holds the end of the range, which may have been "now": all pages are of one."""
        place = page_key(token, 2 + len(query.group_by))
        after = None
        if place is not None:
            query = replace(query, range=TimeRange(query.range.start, key_time(place[0])))
            after = (key_time(place[1]), place[2:])
        query.check()
        # Read first: the sums may then hold more than the position says, never less.
        freshness = await self._store.freshness(query.scope.organisation_id)
        rows, totals = await self._store.sum(query, query.rollups, after)
        full = len(rows) == query.rows
        next_token = ""
        if full:
            last = rows[-1]
            next_token = page_token((query.range.end.isoformat(), last.start.isoformat(), *last.group))
        return UsageAnswer(rows, totals, next_token, freshness)
