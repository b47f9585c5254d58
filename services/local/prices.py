"""Puts the catalogue's list prices into the price book: on a machine of one's own nobody else would.

Prices already in force are left alone, an operator's own among them, so this runs at every start.
"""

import hashlib
from datetime import UTC, datetime

from services.chassis.channel import Remote
from turnpike.budget.v1 import budget_admin_pb2
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import price_pb2
from turnpike.providers.v1 import providers_pb2
from turnpike.providers.v1.providers_pb2_grpc import ProviderServiceStub

PAGE_SIZE = 1000
PRICES_PER_IMPORT = 500
RPC_TIMEOUT_S = 10.0


async def import_list_prices(providers: Remote, budget: Remote) -> int:
    """Import every list price of the catalogue; return how many were new.

    `providers` is a connection as a service, `budget` one with the operator's token. Raises TurnpikeError when either
    refuses or cannot be reached.
    """
    prices = await _list_prices(providers)
    stub = BudgetAdminServiceStub(budget.channel)
    added = 0
    for first in range(0, len(prices), PRICES_PER_IMPORT):
        part = prices[first : first + PRICES_PER_IMPORT]
        request = budget_admin_pb2.ImportPricesRequest(prices=part)
        # The id follows from the content and the day: a start that was cut short goes on, a new catalogue is new.
        digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()[:32]
        request.request_id = f"list-prices-{datetime.now(UTC):%Y%m%d}-{digest}"
        response = await budget.unary(stub.ImportPrices, request, timeout_s=RPC_TIMEOUT_S)
        added += response.added
    return added


async def _list_prices(providers: Remote) -> list[price_pb2.ModelPrice]:
    stub = ProviderServiceStub(providers.channel)
    found: list[price_pb2.ModelPrice] = []
    token = ""
    while True:
        request = providers_pb2.ListModelsRequest(page_size=PAGE_SIZE, page_token=token)
        response = await providers.unary(stub.ListModels, request, timeout_s=RPC_TIMEOUT_S)
        for model in response.models:
            found.extend(model.list_prices)
        token = response.next_page_token
        if not token:
            return found
