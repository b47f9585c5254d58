"""The admin half's way to Postgres: a pool of its own, so that a large report never keeps a hold waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import asyncpg

from services.chassis.call import timeout_s
from services.kernel.errors import StoreUnavailable

SQL = Path(__file__).parents[2] / "sql"

# Admins are few. More would only queue in Postgres instead of here.
CONNECTIONS_MAX = 8
CONNECT_TIMEOUT_S = 2.0
# The longest admin statement is a report over a ledger; whatever takes longer is stuck.
STATEMENT_TIMEOUT_S = 60.0
# A lock that is not to be had in this time is held by something that has gone wrong.
LOCK_TIMEOUT_MS = 10_000

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.QueryCanceledError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    OSError,
    TimeoutError,
)

Isolation = Literal["read_committed", "repeatable_read"]


@cache
def statements() -> dict[str, str]:
    """Every named statement of sql/*.sql."""
    found: dict[str, str] = {}
    for file in sorted(SQL.glob("*.sql")):
        for part in file.read_text().split("-- name: ")[1:]:
            name, _, body = part.partition("\n")
            assert name not in found, f"{file.name} says {name} again"
            found[name.strip()] = body.strip().removesuffix(";")
    return found


class AdminDatabase:
    """Connections for admin calls. Everything raises StoreUnavailable while Postgres does not answer, and heals."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._pool: asyncpg.Pool[Any] | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for the length of a block."""
        wait_s = timeout_s("admin", at_most=CONNECT_TIMEOUT_S)
        try:
            pool = await asyncio.wait_for(self._open(), wait_s)
            connection = await pool.acquire(timeout=wait_s)
        except (*_LOST, asyncpg.PostgresError) as down:
            raise StoreUnavailable("postgres") from down
        try:
            yield connection
        except _LOST as lost:
            raise StoreUnavailable("postgres") from lost
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AsyncIterator[Any]:
        """A connection in a transaction that commits when the block ends well."""
        async with (
            self.connection() as connection,
            connection.transaction(isolation=isolation, readonly=readonly),
        ):
            yield connection

    async def listen(self, channel: str, heard: Any) -> Any:
        """A connection that calls `heard` for each notification; its caller closes it. Raises StoreUnavailable."""
        try:
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_S)
            await connection.add_listener(channel, lambda *_: heard())
        except (*_LOST, asyncpg.PostgresError) as down:
            raise StoreUnavailable("postgres") from down
        return connection

    async def close(self) -> None:
        """Closes all connections."""
        if self._pool is not None:
            await self._pool.close()

    async def _open(self) -> "asyncpg.Pool[Any]":
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=CONNECTIONS_MAX,
                    command_timeout=STATEMENT_TIMEOUT_S,
                    server_settings={"search_path": self._schema, "lock_timeout": str(LOCK_TIMEOUT_MS)},
                )
        return self._pool
