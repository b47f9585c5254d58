"""Postgres as our services use it: a bounded pool, prompt typed failures, healing by itself.

    async with open_database(settings.postgres_dsn, schema="budget", folder=SQL) as database:
        rows = await database.fetch(database.queries["find_key"], digest)
        async with database.transaction() as connection:
            await connection.execute(…)

While Postgres does not answer, everything raises StoreUnavailable within CONNECT_TIMEOUT_S and works again as soon as
Postgres does. Statements are bounded by the caller's deadline and STATEMENT_TIMEOUT_S. A statement whose connection is
lost may have been carried out: callers make them safe to repeat.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from services.chassis.call import timeout_s
from services.chassis.migrations import load_migrations, migrate
from services.chassis.queries import Queries
from services.kernel.errors import StoreUnavailable

CONNECTIONS_MAX = 8  # per process; two cores of Postgres do no more at once, the rest would only queue there
CONNECT_TIMEOUT_S = 2.0  # a caller with a deadline of seconds must hear soon that the store is away
STATEMENT_TIMEOUT_S = 30.0  # the longest report; whatever takes longer is stuck
START_PATIENCE_S = 30.0  # at the start Postgres may still be starting too

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.QueryCanceledError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    OSError,
    TimeoutError,
)
"""How Postgres shows that it is away, full or too slow, as opposed to having refused a statement."""

log = structlog.get_logger()


@contextmanager
def unavailable() -> Iterator[None]:
    """Turns a lost connection into StoreUnavailable."""
    try:
        yield
    except LOST as lost:
        raise StoreUnavailable("postgres") from lost


class Database:
    """One schema. Made by `open_database`."""

    def __init__(self, dsn: str, schema: str, queries: Queries, *, connections_max: int) -> None:
        self.queries = queries
        self._dsn = dsn
        self._schema = schema
        self._connections_max = connections_max
        self._pool: asyncpg.Pool[Any] | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for the length of a block."""
        assert self._pool is not None
        with unavailable():
            connection = await self._pool.acquire(timeout=timeout_s("postgres", at_most=CONNECT_TIMEOUT_S))
        try:
            with unavailable():
                yield connection
        finally:
            await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self, *, isolation: str = "read_committed") -> AsyncIterator[Any]:
        """A connection in a transaction that commits when the block ends well, and rolls back otherwise."""
        async with self.connection() as connection, connection.transaction(isolation=isolation):
            yield connection

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """All rows of a statement."""
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(statement, *arguments, timeout=_bound())
            return rows

    async def fetchrow(self, statement: str, *arguments: Any) -> Any | None:
        """The first row; None if there is none."""
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *arguments, timeout=_bound())

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        """The first column of the first row; None if there is none."""
        async with self.connection() as connection:
            return await connection.fetchval(statement, *arguments, timeout=_bound())

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Carries a statement out; Postgres' word for what it did, such as `UPDATE 1`."""
        async with self.connection() as connection:
            done: str = await connection.execute(statement, *arguments, timeout=_bound())
            return done

    async def answers(self) -> bool:
        """Whether Postgres answers now: for health."""
        try:
            return bool(await self.fetchval("SELECT true"))
        except StoreUnavailable:
            return False

    @asynccontextmanager
    async def listening(self, channel: str, heard: Callable[[str], None]) -> AsyncIterator[None]:
        """Calls `heard` with each notification's payload for the length of a block, over a connection of its own.

        Notifications sent while the connection is lost are lost: whoever needs them all polls a revision beside it.
        """
        with unavailable():
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_S)
        try:
            with unavailable():
                await connection.add_listener(channel, lambda *args: heard(str(args[3])))
            yield
        finally:
            connection.terminate()

    async def open(self) -> None:
        """Opens the pool. Connections are made when they are needed, so this succeeds without Postgres."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._connections_max,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            server_settings={"search_path": self._schema, "application_name": f"turnpike {self._schema}"},
        )

    async def close(self) -> None:
        """Closes every connection; statements under way may finish for a moment."""
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), CONNECT_TIMEOUT_S)
        except TimeoutError:
            self._pool.terminate()


@asynccontextmanager
async def open_database(
    dsn: str, *, schema: str, folder: Path, connections_max: int = CONNECTIONS_MAX
) -> AsyncIterator[Database]:
    """The service's schema, brought up to date from `folder`/migrations, with the statements of `folder`/*.sql.

    Waits START_PATIENCE_S for Postgres, then raises StoreUnavailable. Raises MigrationRefused if the schema's history
    is not ours.
    """
    queries = Queries.load(folder)
    await _migrate(dsn, schema, folder / "migrations")
    database = Database(dsn, schema, queries, connections_max=connections_max)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def _migrate(dsn: str, schema: str, folder: Path) -> None:
    migrations = load_migrations(folder)
    give_up = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            with unavailable():
                connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
        except StoreUnavailable:
            if time.monotonic() > give_up:
                raise
            log.info("waiting for postgres", schema=schema)
            await asyncio.sleep(0.25)
            continue
        try:
            with unavailable():
                await migrate(connection, schema, migrations)
            return
        finally:
            connection.terminate()


def _bound() -> float:
    return timeout_s("postgres", at_most=STATEMENT_TIMEOUT_S)
