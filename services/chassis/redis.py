"""Redis: a client that answers or fails in a quarter of a second.

    async with open_redis(settings.redis_url) as redis:
        with redis_answers():
            await redis.incr(key)

Everything kept in Redis can be lost without losing money, so callers have a way without it: they catch StoreUnavailable
and go on from local state. The client reconnects by itself.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, TimeoutError

from services.kernel.errors import StoreUnavailable

TIMEOUT_S = 0.25  # for connecting and for an answer: some hundred times what Redis takes
CONNECTIONS_MAX = 16
HEALTH_CHECK_S = 15  # how old an idle connection may be before it is tried out


@contextmanager
def redis_answers() -> Iterator[None]:
    """Turns what redis-py raises while Redis cannot be used into StoreUnavailable."""
    try:
        yield
    except (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError) as error:
        raise StoreUnavailable("redis") from error


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator["Redis"]:
    """A client of the Redis at `url`, closed when the block ends. Connects when it is first used."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=TIMEOUT_S,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_S,
        # One try: whoever calls knows better whether to wait or to go on without.
        retry=Retry(NoBackoff(), 0),
    )
    client: Redis = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.aclose()


async def answers(client: "Redis") -> bool:
    """Whether Redis answers: a health check."""
    with redis_answers():
        return bool(await client.ping())
