"""The fixtures give what they promise."""

import asyncpg
from redis.asyncio import Redis

from tests.support.databases import Databases


async def test_a_fresh_postgres_18(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    assert connection.get_server_version().major == 18
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.execute("CREATE TABLE mark (id int)")
    await connection.close()


async def test_databases_do_not_share_anything(databases: Databases) -> None:
    with databases.fresh() as first, databases.fresh() as second:
        connection = await asyncpg.connect(first)
        await connection.execute("CREATE TABLE mark (id int)")
        await connection.close()
        connection = await asyncpg.connect(second)
        assert await connection.fetchval("SELECT to_regclass('mark')") is None
        await connection.close()


async def test_an_empty_redis(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set("mark", 1)
