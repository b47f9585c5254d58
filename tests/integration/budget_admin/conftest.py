from collections.abc import AsyncIterator

import pytest

from tests.support.budget_admin import Admin, serving_admin


@pytest.fixture
async def admin(postgres_dsn: str) -> AsyncIterator[Admin]:
    """The admin half over a fresh database."""
    async with serving_admin(postgres_dsn) as served:
        yield served
