"""Brings the list prices of the providers' catalogue into the budget service's price book.

The budget service owns the prices in force; the catalogue only ships what vendors publish. Prices that are in force
already are left alone, so an operator's own stay, and doing it again changes nothing.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence

from services.chassis.channel import Remote
from turnpike.budget.v1 import budget_admin_pb2
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import price_pb2
from turnpike.providers.v1 import catalogue_pb2, providers_pb2
from turnpike.providers.v1.providers_pb2_grpc import ProviderServiceStub

RPC_TIMEOUT_S = 15.0  # hundreds of prices in one transaction
PAGE_SIZE = 1000  # the largest that ListModels gives: the shipped catalogue fits in one page


async def bring_list_prices(providers: Remote, budget: Remote) -> int:
    """Import the list prices of every model; return how many were new.

    `providers` is a connection with a service's token, `budget` one with the operator's. Raises TurnpikeError when
    either refuses or cannot be reached; nothing is half done.
    """
    prices = [price async for model in _models(providers) for price in model.list_prices]
    request = budget_admin_pb2.ImportPricesRequest(request_id=_name(prices), prices=prices)
    stub = BudgetAdminServiceStub(budget.channel)
    response = await budget.unary(stub.ImportPrices, request, timeout_s=RPC_TIMEOUT_S)
    return response.added


async def _models(providers: Remote) -> AsyncIterator[catalogue_pb2.Model]:
    stub = ProviderServiceStub(providers.channel)
    request = providers_pb2.ListModelsRequest(page_size=PAGE_SIZE)
    while True:
        page = await providers.unary(stub.ListModels, request, timeout_s=RPC_TIMEOUT_S)
        for model in page.models:
            yield model
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _name(prices: Sequence[price_pb2.ModelPrice]) -> str:
    """Name a price list by its content: the same list again is the same request."""
    digest = hashlib.sha256()
    for price in prices:
        digest.update(price.SerializeToString(deterministic=True))
    return f"list-prices-{digest.hexdigest()[:32]}"
