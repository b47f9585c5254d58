"""Ending tasks."""

import asyncio
from typing import Any


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks and waits until they have ended, whatever they raise.

    A cancellation of the caller meanwhile is not swallowed, as `suppress(CancelledError)` around `await task` would.
    """
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
