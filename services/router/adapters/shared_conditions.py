"""How replicas share what they measured of endpoints and which breakers they opened: through Redis, or not at all.

Each replica writes its own part once a second, and reads the others'. Parts that are not renewed end by themselves.
While Redis is away every replica goes on from its own measurements.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from services.chassis.redis import redis_answers
from services.kernel.errors import StoreUnavailable
from services.router.use_cases.observe import Part

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEY = "turnpike:router:conditions"
PART_LIFE_S = 5
REPLICAS_MAX = 1_000

log = structlog.get_logger()


class AloneConditions:
    """The `SharedConditions` port of a router that shares with nobody."""

    async def exchange(self, mine: Mapping[str, Part]) -> Sequence[Mapping[str, Part]]:
        return ()


class RedisConditions:
    """The `SharedConditions` port over a Redis: a key for each replica, and a set of their names."""

    def __init__(self, redis: "Redis") -> None:
        self._redis: Any = redis
        self._name = uuid.uuid4().hex
        self._away = False

    async def exchange(self, mine: Mapping[str, Part]) -> Sequence[Mapping[str, Part]]:
        content = json.dumps({endpoint: list(part) for endpoint, part in mine.items()})
        try:
            with redis_answers():
                async with self._redis.pipeline(transaction=False) as pipeline:
                    pipeline.set(f"{KEY}:{self._name}", content, ex=PART_LIFE_S)
                    pipeline.sadd(KEY, self._name)
                    pipeline.smembers(KEY)
                    _, _, names = await pipeline.execute()
                others = [_text(name) for name in names if _text(name) != self._name][:REPLICAS_MAX]
                if not others:
                    return ()
                parts = await self._redis.mget([f"{KEY}:{name}" for name in others])
                gone = [name for name, part in zip(others, parts, strict=True) if part is None]
                if gone:
                    await self._redis.srem(KEY, *gone)
        except StoreUnavailable:
            if not self._away:
                log.warning("conditions are not shared", store="redis")
            self._away = True
            return ()
        self._away = False
        return [_read(part) for part in parts if part is not None]


def _read(content: bytes | str) -> Mapping[str, Part]:
    try:
        found = json.loads(content)
        return {endpoint: Part(*map(float, values)) for endpoint, values in found.items()}
    except (ValueError, TypeError, AttributeError):  # another version's: its measurements are not ours
        return {}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
