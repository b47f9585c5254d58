from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from services.local import redis
from services.local.redis import find_program, serving


async def test_it_serves_behind_a_password_and_keeps_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "redis") as url:
        async with Redis.from_url(url) as client:
            await client.set("key", "value")
            assert await client.get("key") == b"value"
            assert (await client.config_get("save"))["save"] == ""
            modules = {module[b"name"] for module in await client.module_list()}
            assert b"graph" not in modules  # the server of the wheel, without the module of the wheel
        stranger = Redis.from_url("redis://" + url.partition("@")[2])
        with pytest.raises(AuthenticationError):
            await stranger.get("key")
        await stranger.aclose()
    with serving(tmp_path / "redis") as url:
        async with Redis.from_url(url) as client:
            assert await client.get("key") is None


def test_the_path_comes_first_and_nothing_is_an_answer_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_program()
    assert found is not None
    assert found.path == program
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(redis, "WHEELS", (("no_such_wheel", "bin/redis-server"),))
    assert find_program() is None
