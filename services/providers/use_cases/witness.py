"""The witness: when a router vanishes while its attempt runs, what was counted is committed by the attempt's key.

Without it a hold whose owner is gone would be charged in full. The budget service accepts it once: a commit by the
router that arrives as well is the same settlement or a correction of it.
"""

import asyncio
from typing import Final, Protocol

import structlog

from services.kernel.errors import TurnpikeError
from services.providers.domain.failure import Failure
from turnpike.providers.v1 import providers_pb2

TRIES_MAX: Final = 5
RETRY_S_MIN: Final = 0.2
RETRY_S_MAX: Final = 5.0
"""About ten seconds in all: longer than an owner of budgets takes to be replaced; after that the lease settles it."""
PENDING_MAX: Final = 10_000
"""Commits that wait at the same time: more than a replica has streams. Beyond, the lease settles them in full."""

log = structlog.get_logger()


class Settlements(Protocol):
    """Where attempts are settled: the budget service."""

    async def commit(self, attempt: providers_pb2.Attempt, failure: Failure) -> None:
        """Commits what `failure` says was consumed, by the attempt's key; releases the hold if it is nothing.

        Raises TurnpikeError; safe to repeat.
        """
        ...


class Witness:
    """Speaks for attempts whose router is gone. With no budget service configured it only logs."""

    def __init__(self, settlements: Settlements | None) -> None:
        self._settlements = settlements
        self._pending: set[asyncio.Task[None]] = set()

    def speak(self, attempt: providers_pb2.Attempt, failure: Failure) -> None:
        """Begins to settle; returns at once. Attempts without a hold need none."""
        if not attempt.hold_lease:
            return
        facts = {
            "request_id": attempt.key.request_id,
            "attempt": attempt.key.attempt,
            "organisation_id": attempt.key.organisation_id,
        }
        if self._settlements is None or len(self._pending) >= PENDING_MAX:
            log.warning("an attempt's router is gone; its lease will settle the hold", **facts)
            return
        task = asyncio.create_task(self._settle(attempt, failure, facts))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _settle(
        self, attempt: providers_pb2.Attempt, failure: Failure, facts: dict[str, object]
    ) -> None:
        assert self._settlements is not None
        pause_s = RETRY_S_MIN
        for left in range(TRIES_MAX, 0, -1):
            try:
                await self._settlements.commit(attempt, failure)
            except TurnpikeError as error:
                if left == 1:
                    log.warning(
                        "the witness was not heard", reason=error.reason, error=error.message, **facts
                    )
                    return
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S_MAX)
            else:
                log.info("settled an attempt whose router is gone", **facts)
                return

    async def close(self) -> None:
        """Waits for what is under way; it is bounded by its tries."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=RETRY_S_MAX)
