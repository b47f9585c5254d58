"""The witness: when a router vanishes while its attempt runs, what was counted is committed by the attempt's key.

Without it a hold whose owner is gone would be charged in full. The budget service accepts it once: a commit by the
router that arrives as well is the same settlement or a correction of it. One that came before is the better one, for
the router knows what the attempt was for; the witness is silent then.
"""

import asyncio
from contextlib import suppress
from typing import Final, Protocol

import structlog

from services.chassis.call import detached
from services.kernel.errors import DeadlineExceeded, OutcomeUnknown, ServiceUnavailable, TurnpikeError
from services.providers.domain.failure import Failure
from turnpike.providers.v1 import providers_pb2

TRIES_MAX: Final = 5
RETRY_S_MIN: Final = 0.2
RETRY_S_MAX: Final = 5.0
"""About ten seconds in all: longer than an owner of budgets takes to be replaced; after that the lease settles it."""
ROUTER_FIRST_S: Final = 2.0
"""How long the router of an attempt that ended by its deadline may take to settle it, before the witness does."""
PENDING_MAX: Final = 10_000
"""Commits that wait at the same time: more than a replica has streams. Beyond, the lease settles them in full."""

_FOR_NOW: Final = frozenset(
    {
        ServiceUnavailable.reason,
        OutcomeUnknown.reason,
        DeadlineExceeded.reason,
        "STORE_UNAVAILABLE",
        "OVERLOADED",
        "NOT_OWNER",
    }
)
"""Refusals that pass; all others stay what they are, however often they are asked for."""
_DONE_ALREADY: Final = frozenset({"HOLD_ALREADY_SETTLED", "HOLD_NOT_FOUND"})
"""By the router, or by its lease: nothing is left to say."""

log = structlog.get_logger()


class Settlements(Protocol):
    """Where attempts are settled: the budget service."""

    async def commit(self, attempt: providers_pb2.Attempt, failure: Failure) -> None:
        """Commits what `failure` says was consumed, by the attempt's key; releases the hold if it is nothing.

        Raises TurnpikeError; safe to repeat.
        """
        ...


class Witness:
    """Speaks for attempts whose router is gone, or may be. With no budget service configured it only logs."""

    def __init__(self, settlements: Settlements | None) -> None:
        self._settlements = settlements
        self._pending: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def speak(self, attempt: providers_pb2.Attempt, failure: Failure, *, after_s: float = 0.0) -> None:
        """Begins to settle, `after_s` seconds from now; returns at once. Attempts without a hold need none."""
        if not attempt.hold_lease:
            return
        facts = {
            "request_id": attempt.key.request_id,
            "attempt": attempt.key.attempt,
            "organisation_id": attempt.key.organisation_id,
        }
        if self._settlements is None or len(self._pending) >= PENDING_MAX:
            log.warning("no witness for an attempt; what its router does not settle, the lease will", **facts)
            return
        with detached():  # the attempt's own deadline may have passed already, and must not be this call's
            task = asyncio.create_task(self._settle(attempt, failure, after_s, facts))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _settle(
        self, attempt: providers_pb2.Attempt, failure: Failure, after_s: float, facts: dict[str, object]
    ) -> None:
        assert self._settlements is not None
        if after_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), after_s)
        pause_s = RETRY_S_MIN
        for left in range(TRIES_MAX, 0, -1):
            try:
                await self._settlements.commit(attempt, failure)
            except TurnpikeError as error:
                if error.reason in _DONE_ALREADY:
                    log.debug("an attempt was settled before its witness spoke", **facts)
                    return
                if left == 1 or error.reason not in _FOR_NOW:
                    log.warning(
                        "the witness was not heard", reason=error.reason, error=error.message, **facts
                    )
                    return
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S_MAX)
            else:
                log.info("the witness settled an attempt", **facts)
                return

    async def close(self) -> None:
        """Waits for what is under way, and lets nothing wait any longer; it is bounded by its tries."""
        self._closing.set()
        if self._pending:
            await asyncio.wait(self._pending, timeout=RETRY_S_MAX)
