"""The Redis client and its ways to fail, against a real server."""

import time

import pytest

from services.chassis.redis import answers, open_redis, redis_answers
from services.kernel.errors import StoreUnavailable


async def test_it_answers(redis_url: str) -> None:
    async with open_redis(redis_url) as client:
        assert await answers(client)
        with redis_answers():
            assert await client.incr("counter") == 1


async def test_an_outage_is_prompt_and_typed(unused_tcp_port: int) -> None:
    async with open_redis(f"redis://127.0.0.1:{unused_tcp_port}/0") as client:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await answers(client)
        assert time.monotonic() - begun < 1


async def test_it_heals(redis_url: str) -> None:
    async with open_redis(redis_url) as client, open_redis(redis_url) as other:
        assert await answers(client)
        await other.client_kill_filter(_type="normal", skipme=True)
        for _ in range(3):  # the connection that was cut may be noticed by one call
            try:
                assert await answers(client)
            except StoreUnavailable:
                continue
            break
        else:
            pytest.fail("it did not heal")
