"""Fixtures of all tests: real stores. See tests/support for the rest."""

import os
from collections.abc import Iterator

# Before NumPy is imported: workers beside each other must not start BLAS threads beside each other, too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

from tests.support.databases import Databases, postgres_server, redis_server
from tests.support.workers import OneWorkerEach


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """One Postgres 18 for the test process. `with databases.fresh() as dsn:` makes a database for any scope."""
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def postgres_dsn(databases: Databases) -> Iterator[str]:
    """A fresh, empty database for one test."""
    with databases.fresh() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Redis for the test process, with what earlier tests left in it."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
async def redis_url(redis_server_url: str) -> str:
    """A Redis that is empty when the test begins."""
    from redis.asyncio import Redis

    async with Redis.from_url(redis_server_url) as client:
        await client.flushall()
    return redis_server_url


@pytest.hookimpl(optionalhook=True)  # pytest-xdist asks it
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneWorkerEach:
    """Spreads modules over workers; see there."""
    return OneWorkerEach(config, log)
