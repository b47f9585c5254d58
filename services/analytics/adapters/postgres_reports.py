"""Reports from Postgres; reports.sql says what each statement does."""

from datetime import timedelta

import asyncpg

from services.analytics.adapters.postgres_entries import of_scope
from services.analytics.convert_reports import ablest_of
from services.analytics.domain.queries import Breakdown
from services.analytics.domain.reports import REPORT_ROWS_MAX, WasteRow, check_size
from services.analytics.domain.savings import ComparedTokens, PriceList
from services.chassis.postgres import Database

SUMS_MAX = (
    100_000  # sums that a comparison is made of: groups times models times prices; some tens of megabytes
)
RECORDS_A_PAGE = (
    200  # a record has some kilobytes, and reading it some tens of microseconds: the loop is not held up
)
DECIDED_BEFORE_MAX = timedelta(hours=1)
"""How long before its charge a request may have been decided: no hold lives longer without renewal."""


class PostgresReports:
    """Sums over usage entries that rollups cannot answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries

    async def waste(self, asked: Breakdown) -> list[WasteRow]:
        """Charges that bought nothing, dearest first; one row more than a report may have shows that there are more."""
        rows = await self._database.fetch(self._sql["sum_waste"], *_of_breakdown(asked), REPORT_ROWS_MAX + 1)
        return [
            WasteRow(tuple(row["grouped"]), row["kind"], row["cost_nanos"], row["attempts"]) for row in rows
        ]

    async def learn_ablest(self, asked: Breakdown) -> None:
        """Reads the ablest model out of decision records that were not looked at yet, page by page."""
        organisation_id = asked.scope.organisation_id
        start = asked.range.start - DECIDED_BEFORE_MAX
        before = (asked.range.end, "")
        while True:
            rows = await self._database.fetch(
                self._sql["decisions_without_ablest"], organisation_id, start, *before, RECORDS_A_PAGE
            )
            ablest = {row["request_id"]: row["record"] for row in reversed(rows)}
            models = [ablest_of(record) for record in ablest.values()]
            await self._database.execute(self._sql["keep_ablest"], organisation_id, list(ablest), models)
            if len(rows) < RECORDS_A_PAGE:
                return
            before = (rows[-1]["decided_at"], rows[-1]["decision_id"])

    async def compared(
        self, asked: Breakdown, baseline_model: str, prices: PriceList
    ) -> list[ComparedTokens]:
        """Sums by group and prices."""
        rows = await self._database.fetch(
            self._sql["sum_savings"],
            *_of_breakdown(asked),
            baseline_model,
            prices.moments,
            prices.sizes,
            SUMS_MAX + 1,
        )
        check_size(len(rows), SUMS_MAX)
        return [_compared(row, prices) for row in rows]


def _compared(row: asyncpg.Record, prices: PriceList) -> ComparedTokens:
    baseline, own = (
        prices.tier(model, row["dated"], row["sized"]) for model in (row["baseline_model"], row["model"])
    )
    return ComparedTokens(
        group=tuple(row["grouped"]),
        baseline=baseline if row["known"] else None,
        own=own,
        requests=row["requests"],
        cost_nanos=row["cost_nanos"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_read_tokens=row["cache_read_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
    )


def _of_breakdown(asked: Breakdown) -> tuple[object, ...]:
    """What statements of reports take first, $1 to $11."""
    groupings = [grouping.value for grouping in asked.group_by]
    return (*of_scope(asked.scope), asked.range.start, asked.range.end, groupings, asked.dimension)
