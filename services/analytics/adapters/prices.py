"""The list prices of a time, from the budget service, on behalf of the admin who asks."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from services.analytics.convert import to_pb_time
from services.analytics.convert_reports import from_pb_list_price
from services.analytics.domain.queries import TimeRange
from services.chassis.call import current_call
from services.chassis.channel import Remote
from services.kernel.errors import InvalidRequest
from services.kernel.pricing import ModelPrice
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.budget.v1.budget_pb2 import PriceBookEntry

PAGE_SIZE = 1000
PAGE_TIMEOUT_S = 10.0
MOMENTS_MAX = 100  # prices change with a vendor's announcement, some times a month
_INSTANT = timedelta(microseconds=1)


class RemotePriceBook:
    """The price book's list prices. Who may read them is decided there, by the admin's own token.

    Raises ServiceUnavailable when the budget service is down: without prices nothing can be compared.
    """

    def __init__(self, budget: Remote) -> None:
        self._budget = budget

    async def listed(self, span: TimeRange) -> Sequence[ModelPrice]:
        """All list prices that were in force at some moment of the span; those that begin together in revisions' order.

        The book is asked for a moment at a time: the end of the span, its start, just before each price began, and when
        one ended. Raises InvalidRequest for a span with more than MOMENTS_MAX such moments.
        """
        call = current_call()
        asked = Remote(self._budget.service, self._budget.channel, None if call is None else call.bearer())
        found: dict[tuple[str, int], tuple[int, ModelPrice]] = {}
        moments, known = [span.end - _INSTANT, span.start], set[datetime]()
        while moments:
            moment = moments.pop()
            if moment in known or not span.start <= moment < span.end:
                continue
            if len(known) >= MOMENTS_MAX:
                raise InvalidRequest.of("range", f"has more than {MOMENTS_MAX} changes of prices")
            known.add(moment)
            for entry in await _in_force(asked, to_pb_time(moment)):
                price = from_pb_list_price(entry.price)
                found[price.model, entry.revision] = (entry.revision, price)
                if price.effective_from is not None:
                    moments.append(price.effective_from - _INSTANT)
                if price.effective_until is not None:
                    moments.append(price.effective_until)
        return [price for _, price in sorted(found.values(), key=lambda dated: dated[0])]


async def _in_force(budget: Remote, moment: Timestamp) -> list[PriceBookEntry]:
    stub = BudgetAdminServiceStub(budget.channel)
    entries: list[PriceBookEntry] = []
    token = ""
    while True:
        request = pb.ListPricesRequest(page_size=PAGE_SIZE, page_token=token, as_of=moment)
        page = await budget.unary(stub.ListPrices, request, timeout_s=PAGE_TIMEOUT_S)
        entries.extend(page.prices)
        token = page.next_page_token
        if not token:
            return entries
