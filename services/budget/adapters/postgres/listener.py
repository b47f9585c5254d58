"""Listens to Postgres' notifications for as long as the service runs."""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 2.0
# Notifications only make things faster; whoever waits for one also polls. So trying again may take its time.
RETRY_S = 1.0
# A connection that died without a word tells nothing more: each is replaced this often.
RENEW_S = 60.0


async def listening(dsn: str, channel: str, heard: Callable[[], None]) -> None:
    """Calls `heard` for each notification, and after each reconnection, until it is cancelled."""
    while True:
        try:
            connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await asyncio.sleep(RETRY_S)
            continue
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _, lost=lost: lost.set())
            await connection.add_listener(channel, lambda *_: heard())
            heard()
            async with asyncio.timeout(RENEW_S):
                await lost.wait()
            log.warning("notifications_lost", channel=channel)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            continue
        finally:
            connection.terminate()
