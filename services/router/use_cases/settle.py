"""Settles each attempt once, whatever becomes of its caller: now if it can be, else in the background until it is.

Every operation is idempotent by the attempt's key, so what was cut off is simply sent again. Should this process die
first, the hold's lease ends and it is charged in full, or by the witness.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import structlog

from services.chassis.call import detached
from services.kernel.errors import DeadlineExceeded, OutcomeUnknown, ServiceUnavailable, TurnpikeError
from services.router.errors import BudgetRefused
from services.router.ports import AttemptKey, Holds, Receipt, Settlement

REPEAT_S_FIRST = 0.1
REPEAT_S_MAX = 5.0
REPEATS_MAX = 200
"""At five seconds each some quarter of an hour: longer than a lease, which is when silence is charged anyway."""

PENDING_MAX = 20_000
"""Settlements under way in the background; beyond it silence is charged, and the log says so."""

CLOSE_S_MAX = 10.0

_FOR_NOW = (ServiceUnavailable, OutcomeUnknown, DeadlineExceeded)
_REFUSED_FOR_NOW = frozenset(
    {"STORE_UNAVAILABLE", "SERVICE_UNAVAILABLE", "OVERLOADED", "NOT_OWNER", "DEADLINE_EXCEEDED"}
)
_DONE_ALREADY = frozenset({"HOLD_ALREADY_SETTLED", "HOLD_NOT_FOUND"})

log = structlog.get_logger()
_random = random.Random()  # noqa: S311 - jitter is no secret


class Settlements:
    """Settles attempts."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """Settlements and endings of attempts that go on in the background."""
        return len(self._tasks)

    async def settle(self, key: AttemptKey, settlement: Settlement) -> Receipt | None:
        """Settles. None: the budget service is away, or somebody settled before; what was charged is not known yet.

        If the caller is cancelled meanwhile, the settlement goes on without it.
        """
        try:
            with detached():
                return await self._holds.settle(key, settlement)
        except asyncio.CancelledError:
            self.later(key, settlement)
            raise
        except TurnpikeError as error:
            if not _is_for_now(error):
                _report(key, error)
                return None
            self.later(key, settlement)
            return None

    def later(self, key: AttemptKey, settlement: Settlement) -> None:
        """Settles in the background."""
        if len(self._tasks) >= PENDING_MAX:
            log.error(
                "settlement given up", request_id=key.request_id, attempt=key.attempt, pending=PENDING_MAX
            )
            return
        self.go_on(self._until_settled(key, settlement))

    def go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Lets `work` go on in the background, bound to no call; waited for when the service stops."""
        with detached():
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Waits for what is under way, at most CLOSE_S_MAX seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S_MAX)
        for task in self._tasks:
            task.cancel()

    async def _until_settled(self, key: AttemptKey, settlement: Settlement) -> None:
        pause_s = REPEAT_S_FIRST
        for _ in range(REPEATS_MAX):
            try:
                await self._holds.settle(key, settlement)
                return
            except TurnpikeError as error:
                if not _is_for_now(error):
                    _report(key, error)
                    return
            await asyncio.sleep(pause_s * _random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, REPEAT_S_MAX)
        log.error("settlement given up", request_id=key.request_id, attempt=key.attempt, repeats=REPEATS_MAX)


def _is_for_now(error: TurnpikeError) -> bool:
    if isinstance(error, BudgetRefused):
        return error.reason in _REFUSED_FOR_NOW
    return isinstance(error, _FOR_NOW)


def _report(key: AttemptKey, error: TurnpikeError) -> None:
    # Settled by the witness, or a hold that was never made: nothing is owed. All else is a fault to look into.
    report = log.debug if error.reason in _DONE_ALREADY else log.error
    report("settlement refused", request_id=key.request_id, attempt=key.attempt, reason=error.reason)
