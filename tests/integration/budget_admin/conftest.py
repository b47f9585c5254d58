import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from services.budget.adapters.postgres.statements import FOLDER
from services.chassis.postgres import open_database
from tests.support.budget_admin import SCHEMA, Admin, serving_admin
from tests.support.databases import Databases


@pytest.fixture(scope="session")
def migrated(databases: Databases) -> Iterator[str]:
    """Name of a database with the service's schema and nothing in it, to copy from."""

    async def migrate(dsn: str) -> None:
        async with open_database(dsn, schema=SCHEMA, folder=FOLDER):
            pass

    with databases.fresh() as dsn:
        asyncio.run(migrate(dsn))
        yield dsn.rpartition("/")[2]


@pytest.fixture
def postgres_dsn(databases: Databases, migrated: str) -> Iterator[str]:
    """A fresh database for one test, its schema made."""
    with databases.fresh(template=migrated) as dsn:
        yield dsn


@pytest.fixture
async def admin(postgres_dsn: str) -> AsyncIterator[Admin]:
    """The admin half over a fresh database."""
    async with serving_admin(postgres_dsn) as served:
        yield served
