"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

WAIT_S = 15.0
LOOK_EVERY_S = 0.02


async def until(condition: Callable[[], Awaitable[Found | None]], *, within_s: float = WAIT_S) -> Found:
    """What `condition` finds once that is true; fails after `within_s` seconds with what it last found."""
    ends = time.monotonic() + within_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < ends, f"not within {within_s} s; last: {found!r}"
        await asyncio.sleep(LOOK_EVERY_S)
