"""Reports from Postgres; reports.sql says what each statement does."""

from services.analytics.adapters.postgres_entries import of_scope
from services.analytics.domain.queries import Breakdown
from services.analytics.domain.reports import REPORT_ROWS_MAX, WasteRow
from services.chassis.postgres import Database


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


def _of_breakdown(asked: Breakdown) -> tuple[object, ...]:
    """What statements of reports take first, $1 to $11."""
    groupings = [grouping.value for grouping in asked.group_by]
    return (*of_scope(asked.scope), asked.range.start, asked.range.end, groupings, asked.dimension)
