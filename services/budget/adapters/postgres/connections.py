"""A few connections that are handed out as they come back: nothing is reset between two uses, because all are alike.

A pool that cleans each connection costs a round trip for every batch, and can hang where Postgres does. Here whatever
takes too long loses its socket, which asks nobody.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from services.budget.ports import Doubtful, Fenced, Refused, StoreDown

CONNECTIONS_MAX = 8
"""Statements of one replica that run at the same moment."""
CONNECT_TIMEOUT_S = 1.0
STATEMENT_TIMEOUT_MS = 20_000
LOCK_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_MS = 1_000
"""A paused replica must not keep a tree's row locked: its open transaction is ended, which is safe."""
READ_PATIENCE_S = 2.0
"""A store that takes longer to say what there is does not answer; nothing is lost by not listening any more."""

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.QueryCanceledError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)
"""How Postgres shows that it is away, full or too slow, as opposed to having refused a statement."""


class Connections:
    """Connections of one process to one schema."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._settings = {
            "search_path": schema,
            "plan_cache_mode": "force_generic_plan",
            "synchronous_commit": "on",  # whatever the server's default: what is answered must be on its disk
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
            "application_name": "turnpike-budget",
        }
        self._idle: list[Any] = []
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)

    def close(self) -> None:
        """Closes what is not in use."""
        while self._idle:
            self._idle.pop().terminate()

    @asynccontextmanager
    async def use(self, patience_s: float = READ_PATIENCE_S) -> AsyncIterator[Any]:
        """A connection for the length of a block. Raises StoreDown if there is none, Doubtful if it breaks inside.

        After `patience_s` the socket is closed, without a cancel: a commit under way finishes or not.
        """
        connection = await self._take()
        giving_up = asyncio.get_running_loop().call_later(patience_s, connection.terminate)
        sound = False
        try:
            yield connection
            sound = True
        except LOST as lost:
            raise Doubtful(str(lost) or type(lost).__name__) from lost
        except (Fenced, Refused):
            sound = True
            raise
        finally:
            giving_up.cancel()
            if sound and not connection.is_closed() and not connection.is_in_transaction():
                self._idle.append(connection)
            else:
                connection.terminate()
            self._places.release()

    async def _take(self) -> Any:
        if not self._places.locked():
            await self._places.acquire()
        else:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._places.acquire()
            except TimeoutError as full:
                raise StoreDown(f"{CONNECTIONS_MAX} statements are under way") from full
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                return await asyncpg.connect(
                    self._dsn, timeout=CONNECT_TIMEOUT_S, server_settings=self._settings
                )
        except (*LOST, asyncpg.PostgresError) as down:
            self._places.release()
            raise StoreDown(str(down) or type(down).__name__) from down
