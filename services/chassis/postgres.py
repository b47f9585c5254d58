"""Postgres: a bounded pool that answers or fails in time.

    async with open_database(dsn, schema="budget", folder=SQL) as database:      # runs folder/migrations
        rows = await database.fetch(database.queries["list_budgets"], organisation_id)
        async with database.transaction() as connection: ...

When Postgres is down every call fails with StoreUnavailable within CONNECT_TIMEOUT_S, or what is left of the caller's
deadline if that is less; when it is back the next call works. At the start the pool waits START_TIMEOUT_S for it.
A statement that was under way when the connection was lost may have taken effect: callers that write make it safe to
say again (ids from the caller, one statement or transaction).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import asyncpg
import structlog

from services.chassis.call import timeout_s
from services.chassis.migrations import load, migrate
from services.chassis.queries import Queries
from services.kernel.errors import StoreUnavailable

CONNECTIONS_MAX = 10  # a service's replicas share Postgres' 100 with each other and with other services
CONNECT_TIMEOUT_S = 2.0  # to connect, and to wait for a connection of the pool
STATEMENT_TIMEOUT_S = 30.0
LOCK_TIMEOUT_MS = 10_000  # whoever holds a lock for longer is stuck
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000  # gives back what a process that hangs has locked
START_TIMEOUT_S = 60.0
START_PAUSE_S = 0.25

Isolation = Literal["read_committed", "repeatable_read", "serializable"]
Connection = Any  # asyncpg's, or its pool's stand-in for one; both are used alike
Result = TypeVar("Result")

log = structlog.get_logger()

# Postgres or the way to it has gone, is going, is not ready, is full, or is a standby after a failover.
_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    OSError,
    TimeoutError,
)


def is_unavailable(error: BaseException) -> bool:
    """Whether `error` means that Postgres cannot be used now, rather than that a statement is wrong."""
    if isinstance(error, asyncpg.InterfaceError):
        # Also raised for misuse, which is a fault of ours and must not look like an outage.
        return any(
            word in str(error) for word in ("connection is closed", "connection was closed", "pool is clos")
        )
    if isinstance(error, asyncpg.InternalClientError):
        # A backend that is being killed has said the beginning of its farewell, and asyncpg waits for the rest.
        return "cannot switch to state" in str(error)
    return isinstance(error, _UNAVAILABLE)


class Database:
    """One service's schema. Made by `open_database`."""

    def __init__(self, pool: "asyncpg.Pool[Any]", queries: Queries) -> None:
        self._pool = pool
        self.queries = queries

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the length of a block. Losing it raises StoreUnavailable out of the block."""
        wait_s = timeout_s("postgres", at_most=CONNECT_TIMEOUT_S)
        with _typed():
            connection = await self._pool.acquire(timeout=wait_s)
        try:
            with _typed():
                yield connection
        finally:
            with _typed():
                await self._pool.release(connection, timeout=CONNECT_TIMEOUT_S)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Connection]:
        """A connection in a transaction, which commits when the block ends well."""
        async with (
            self.connection() as connection,
            connection.transaction(isolation=isolation, readonly=readonly),
        ):
            yield connection

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows."""
        return await self._ask(
            lambda connection, limit_s: connection.fetch(statement, *arguments, timeout=limit_s)
        )

    async def fetchrow(self, statement: str, *arguments: object) -> asyncpg.Record | None:
        """The first row; None if there is none."""
        return await self._ask(
            lambda connection, limit_s: connection.fetchrow(statement, *arguments, timeout=limit_s)
        )

    async def fetchval(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row; None if there is no row."""
        return await self._ask(
            lambda connection, limit_s: connection.fetchval(statement, *arguments, timeout=limit_s)
        )

    async def execute(self, statement: str, *arguments: object) -> str:
        """Runs a statement; returns Postgres' word for what it did, such as `UPDATE 3`."""
        return await self._ask(
            lambda connection, limit_s: connection.execute(statement, *arguments, timeout=limit_s)
        )

    async def answers(self) -> bool:
        """Whether Postgres answers: a health check."""
        return bool(await self.fetchval("SELECT true"))

    async def _ask(self, ask: Callable[[Connection, float], Awaitable[Result]]) -> Result:
        async with self.connection() as connection:
            return await ask(connection, timeout_s("postgres", at_most=STATEMENT_TIMEOUT_S))


@asynccontextmanager
async def open_database(
    dsn: str, *, schema: str, folder: Path, connections_max: int = CONNECTIONS_MAX
) -> AsyncIterator[Database]:
    """A service's database: its schema migrated by folder/migrations, its statements from folder/*.sql.

    Raises StoreUnavailable if Postgres does not answer within START_TIMEOUT_S, MigrationRefused if what was applied is
    not what the files say.
    """
    queries = Queries(folder)
    migrations = load(folder / "migrations")
    connection = await _first_connection(dsn, schema)
    try:
        await migrate(connection, schema, migrations)
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=connections_max,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=STATEMENT_TIMEOUT_S,
        server_settings=_session(schema),
        reset=_left_as_it_is,
    )
    try:
        yield Database(pool, queries)
    finally:
        await _close(pool)


async def _left_as_it_is(connection: Connection) -> None:
    """A connection that is given back needs no reset, which would be a round trip behind every statement.

    All sessions of a pool are alike, and nothing that is said through `Database` outlives its transaction: locks and
    settings are a transaction's own. One that is still open is rolled back by asyncpg before it asks us.
    """


async def _first_connection(dsn: str, schema: str) -> Connection:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + START_TIMEOUT_S
    said = False
    while True:
        try:
            return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, server_settings=_session(schema))
        except Exception as error:
            if not is_unavailable(error) or loop.time() > give_up:
                if is_unavailable(error):
                    raise StoreUnavailable("postgres") from error
                raise
            if not said:
                log.warning("waiting for postgres", why=type(error).__name__, seconds_max=START_TIMEOUT_S)
                said = True
            await asyncio.sleep(START_PAUSE_S)


def _session(schema: str) -> dict[str, str]:
    return {
        "application_name": f"turnpike {schema}",
        "search_path": schema,
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "timezone": "UTC",
    }


async def _close(pool: "asyncpg.Pool[Any]") -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
    ) as error:
        if is_unavailable(error):
            raise StoreUnavailable("postgres") from error
        raise
