"""Answers what the same tokens would have cost elsewhere."""

from collections.abc import Sequence

from services.analytics.domain.queries import Breakdown
from services.analytics.domain.reports import REPORT_ROWS_MAX, check_size
from services.analytics.domain.savings import PriceList, SavingsRow, savings
from services.analytics.ports import PriceBook, Reports


class QuerySavings:
    """Compares what requests cost with what a baseline would have cost for their answers' tokens, at list prices."""

    def __init__(self, reports: Reports, prices: PriceBook) -> None:
        self._reports = reports
        self._prices = prices

    async def __call__(self, asked: Breakdown, baseline_model: str) -> Sequence[SavingsRow]:
        """The baseline is one model or, if that is empty, the ablest that was permitted for each request.

        The latter is read from decision records, once each: a first question about a long time takes longer, and if it
        is given up the next one goes on from there.
        """
        asked.check()
        if not baseline_model:
            await self._reports.learn_ablest(asked)
        prices = PriceList(await self._prices.listed(asked.range))
        rows = savings(await self._reports.compared(asked, baseline_model, prices))
        check_size(len(rows), REPORT_ROWS_MAX)
        return rows
