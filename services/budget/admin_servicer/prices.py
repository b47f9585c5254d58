"""RPCs for the price book."""

from google.protobuf.timestamp_pb2 import Timestamp

from services.budget.admin_servicer.calls import asking, changing
from services.budget.convert_entities import (
    check_request_id,
    from_pb_page,
    from_pb_timestamp,
    to_pb_page_token,
)
from services.budget.convert_prices import from_pb_price, to_pb_price_entry
from services.budget.domain.checks import Checks
from services.budget.use_cases.prices import Prices
from services.kernel.clock import Clock
from services.kernel.ids import OrganisationId
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc

# The largest catalogue has some hundred models with a handful of prices each.
IMPORTED_PRICES_MAX = 10_000


class PriceRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """The price book."""

    def __init__(self, prices: Prices, clock: Clock) -> None:
        self._prices = prices
        self._clock = clock

    async def ListPrices(self, request: pb.ListPricesRequest, context: object) -> pb.ListPricesResponse:
        checks = Checks()
        after, count = from_pb_page(checks, request)
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
        as_of: Timestamp | None = request.as_of if request.HasField("as_of") else None
        at = from_pb_timestamp(checks, "as_of", as_of)
        if request.model_pattern:
            checks.model_patterns("model_pattern", [request.model_pattern])
        checks.done()
        page = await self._prices.page(
            asking(),
            organisation_id=organisation_id,
            pattern=request.model_pattern,
            as_of=at,
            after=after,
            count=count,
        )
        last = page.prices[-1].price.model if page.prices else ""
        return pb.ListPricesResponse(
            prices=[to_pb_price_entry(stored) for stored in page.prices],
            next_page_token=to_pb_page_token(last, more=page.more),
            price_revision=page.price_revision,
        )

    async def SetPrice(self, request: pb.SetPriceRequest, context: object) -> pb.SetPriceResponse:
        checks = Checks()
        check_request_id(checks, request)
        price = from_pb_price(checks, "price", request.price)
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
        checks.done()
        assert price is not None, "what is wrong with it was said"
        stored = await self._prices.set(price, organisation_id, changing(request, self._clock))
        return pb.SetPriceResponse(price=to_pb_price_entry(stored))

    async def ImportPrices(self, request: pb.ImportPricesRequest, context: object) -> pb.ImportPricesResponse:
        checks = Checks()
        check_request_id(checks, request)
        good = len(request.prices) <= IMPORTED_PRICES_MAX
        checks.require(good, "prices", f"must be at most {IMPORTED_PRICES_MAX}")
        read = [
            from_pb_price(checks, f"prices[{index}]", price) for index, price in enumerate(request.prices)
        ]
        checks.done()
        prices = [price for price in read if price is not None]
        imported = await self._prices.import_list(prices, changing(request, self._clock))
        return pb.ImportPricesResponse(
            added=imported.added, unchanged=imported.unchanged, price_revision=imported.price_revision
        )
