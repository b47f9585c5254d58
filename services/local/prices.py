"""Puts the catalogue's list prices into the price book: on a machine of one's own nobody else would.

The budget service owns the prices in force; the catalogue only ships what vendors publish.

Prices already in force are left alone, an operator's own among them, so this runs at every start.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from services.chassis.channel import Remote
from turnpike.budget.v1 import budget_admin_pb2
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.providers.v1 import catalogue_pb2, providers_pb2
from turnpike.providers.v1.providers_pb2_grpc import ProviderServiceStub

PAGE_SIZE = 1000
PRICES_PER_IMPORT = 500
RPC_TIMEOUT_S = 10.0


async def import_list_prices(providers: Remote, budget: Remote) -> int:
    """Import every list price of the catalogue; return how many were new.

    `providers` is a connection as a service, `budget` one with the operator's token. Raises TurnpikeError when either
    refuses or cannot be reached.
    """
    prices = [price async for model in _models(providers) for price in model.list_prices]
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


async def usable_models(providers: Remote) -> Counter[str]:
    """Return how many models of each provider can be called here. Raises TurnpikeError as `import_list_prices`."""
    return Counter([model.model.partition("/")[0] async for model in _models(providers, usable_only=True)])


async def _models(providers: Remote, *, usable_only: bool = False) -> AsyncIterator[catalogue_pb2.Model]:
    stub = ProviderServiceStub(providers.channel)
    request = providers_pb2.ListModelsRequest(page_size=PAGE_SIZE, usable_only=usable_only)
    while True:
        page = await providers.unary(stub.ListModels, request, timeout_s=RPC_TIMEOUT_S)
        for model in page.models:
            yield model
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
