"""Starting tasks that are to run as long as the process does, and ending tasks."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


def start(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    """Runs in the background. Should it end by an error, that is logged at once: nobody awaits it before the end."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_say_why)
    return task


def has_failed(task: "asyncio.Task[None]") -> bool:
    """True if it ended by an error."""
    return task.done() and not task.cancelled() and task.exception() is not None


def _say_why(task: "asyncio.Task[None]") -> None:
    if has_failed(task):
        log.error("background_work_failed", work=task.get_name(), exc_info=task.exception())


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks and waits until they have ended, whatever they raise.

    A cancellation of the caller meanwhile is not swallowed, as `suppress(CancelledError)` around `await task` would.
    """
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
