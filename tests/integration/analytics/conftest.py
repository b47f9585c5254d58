"""A database with the service's schema."""

from collections.abc import AsyncIterator

import pytest

from services.analytics.bootstrap import SQL
from services.chassis.postgres import Database, open_database


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    """The service's database, empty."""
    async with open_database(postgres_dsn, schema="analytics", folder=SQL) as opened:
        yield opened
