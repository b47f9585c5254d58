"""One service over a real Postgres for the whole suite; a tenant for each test; both ways to call."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.budget import Budgets, serving_budget
from tests.support.budget_admin import Tenant, make_tenant
from tests.support.databases import Databases


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def budgets(databases: Databases) -> AsyncIterator[Budgets]:
    with databases.fresh() as dsn:
        async with serving_budget(dsn) as serving:
            yield serving


@pytest_asyncio.fixture(loop_scope="module")
async def tenant(budgets: Budgets) -> Tenant:
    return await make_tenant(await budgets.operator(), "acme")


@pytest_asyncio.fixture(loop_scope="module", params=["unary", "stream"])
async def router(budgets: Budgets, request: pytest.FixtureRequest) -> Any:
    return await (budgets.router() if request.param == "unary" else budgets.stream())
