"""Long work in the event loop, a step at a time.

A tree with a hundred thousand budgets is seconds of work to read. The replica's other trees, and the heartbeat by which
others see it alive, must not wait for that.
"""

import asyncio
from collections.abc import Iterator


async def gently(steps: Iterator[None]) -> None:
    """Runs all steps; between two of them everybody else has a turn."""
    for _ in steps:
        await asyncio.sleep(0)
