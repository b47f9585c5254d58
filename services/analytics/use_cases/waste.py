"""Answers what money bought nothing."""

from collections.abc import Sequence

from services.analytics.domain.queries import Breakdown
from services.analytics.domain.reports import REPORT_ROWS_MAX, WasteRow, check_size
from services.analytics.ports import Reports


class QueryWaste:
    """Sums charges by kind of waste. An attempt is of one kind at most: the sums never exceed what was spent."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def __call__(self, asked: Breakdown) -> Sequence[WasteRow]:
        asked.check()
        rows = await self._reports.waste(asked)
        check_size(len(rows), REPORT_ROWS_MAX)
        return rows
