"""Answers questions about usage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.analytics.domain.queries import UsageQuery
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
        query.check()
        after = self._after(token, len(query.group_by))
        # Read first: the sums may then hold more than the position says, never less.
        freshness = await self._store.freshness(query.scope.organisation_id)
        rows, totals = await self._store.sum(query, query.rollups, after)
        full = len(rows) == query.rows
        next_token = page_token((rows[-1].start.isoformat(), *rows[-1].group)) if full else ""
        return UsageAnswer(rows, totals, next_token, freshness)

    @staticmethod
    def _after(token: str, groups: int) -> tuple[datetime, Sequence[str]] | None:
        key = page_key(token, 1 + groups)
        return None if key is None else (key_time(key[0]), key[1:])
