"""A task that was to run for ever and failed is told of, whoever waits for it."""

import asyncio

from structlog.testing import capture_logs

from services.chassis import tasks


async def test_a_failed_task_is_logged_when_it_fails() -> None:
    async def fails() -> None:
        raise LookupError("nobody thought of this")

    with capture_logs() as logs:
        task = tasks.start(fails(), "sending")
        await asyncio.wait({task})
        await asyncio.sleep(0)  # callbacks come after it
    assert tasks.has_failed(task)
    assert [(each["event"], each["work"]) for each in logs] == [("background_work_failed", "sending")]


async def test_a_task_that_runs_ends_or_is_ended_has_not_failed() -> None:
    async def returns() -> None:
        pass

    with capture_logs() as logs:
        running = tasks.start(asyncio.Event().wait(), "waiting")  # type: ignore[arg-type]
        done = tasks.start(returns(), "done")
        await asyncio.wait({done})
        assert not tasks.has_failed(running)
        await tasks.end(running)
    assert not tasks.has_failed(running)
    assert not tasks.has_failed(done)
    assert logs == []
