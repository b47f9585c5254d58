"""What an abandoned attempt is charged, by the last thing that its model said."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from services.chassis import tracing
from services.kernel.ids import RequestId
from services.router.domain.fallback import Next
from services.router.domain.plan import Planned
from services.router.ports import AttemptKey, Charge, Dispatch, Free, Grant, SettlementOutcome
from services.router.records import AttemptRecord
from services.router.use_cases.attempt import Attempt, Events
from services.router.use_cases.hedging import Lane, race
from services.router.use_cases.leases import Leases
from turnpike.common.v1 import error_pb2
from turnpike.providers.v1 import providers_pb2

PATIENCE_S = 20.0


class Scripted:
    """A conversation that tells what is put into it; its last event stays with it, as the contract says."""

    sent, received = True, 1

    def __init__(self, *events: providers_pb2.DispatchEvent) -> None:
        self.last: providers_pb2.DispatchEvent | None = None
        self.taken = asyncio.Event()
        """The last event was taken."""
        self._events: asyncio.Queue[providers_pb2.DispatchEvent] = asyncio.Queue()
        for event in events:
            self.tell(event)

    def tell(self, event: providers_pb2.DispatchEvent) -> None:
        """Says one thing more."""
        self._events.put_nowait(event)

    def __aiter__(self) -> AsyncIterator[providers_pb2.DispatchEvent]:
        return self

    async def __anext__(self) -> providers_pb2.DispatchEvent:
        if self.last is not None:
            raise StopAsyncIteration
        event = await self._events.get()
        if event.WhichOneof("event") in ("finished", "failed"):
            self.last = event
            self.taken.set()
        return event

    def cancel(self, reason: str) -> None:
        pass

    def grant_credit(self, deltas: int) -> None:
        pass

    def close(self) -> None:
        pass


class Observed:
    """Counts the attempts that were given up."""

    def __init__(self) -> None:
        self.abandons = 0
        self.any = asyncio.Event()

    def abandoned(self, endpoint_id: str) -> None:
        self.abandons += 1
        self.any.set()


async def begun(conversation: Scripted, observed: Observed | None = None) -> tuple[Attempt, Events]:
    """An attempt whose model speaks by `conversation`."""

    async def begin(dispatch: Dispatch) -> Scripted:
        return conversation

    clock = SimpleNamespace(monotonic_s=lambda: 1.0)
    tools = SimpleNamespace(
        clock=clock,
        leases=Leases(cast(Any, None), cast(Any, clock)),
        models=SimpleNamespace(begin=begin),
        observations=observed or Observed(),
    )
    record = AttemptRecord(1, "v/a", "here", "first", 9999, datetime.now(UTC), 0.0)
    key = AttemptKey("org_1", RequestId("req_1"), 1)
    step, grant = Next(Planned(0, 100, 9999, 50)), Grant(9999, "lease")
    attempt = Attempt(cast(Any, tools), key, step, grant, record, tracing.span("attempt 1"), 100)
    return attempt, await attempt.begin(cast(Any, None))


def an_answer() -> providers_pb2.DispatchEvent:
    last = providers_pb2.DispatchEvent()
    last.finished.usage.output_tokens = 7
    last.finished.vendor_cost.nanos = 1234
    last.finished.vendor_request_id = "chatcmpl-1"
    return last


def a_failure() -> providers_pb2.DispatchEvent:
    """A failure that costs nothing."""
    failed = providers_pb2.AttemptFailed(
        reason=error_pb2.ERROR_REASON_VENDOR_ERROR, charge=providers_pb2.CHARGE_RULE_NOTHING
    )
    return providers_pb2.DispatchEvent(failed=failed)


async def test_an_answer_that_crossed_its_cancellation_is_charged_as_the_vendor_says() -> None:
    attempt, _ = await begun(Scripted(an_answer()))
    assert attempt.abandon("another model was quicker")
    settlement = await attempt.wind_up()
    assert isinstance(settlement, Charge)
    assert settlement.outcome is SettlementOutcome.CANCELLED
    assert (settlement.vendor_cost_nanos, settlement.vendor_request_id) == (1234, "chatcmpl-1")
    assert attempt.record.usage is not None
    assert attempt.record.usage.output_tokens == 7


async def test_an_end_that_was_heard_before_the_caller_left_is_what_is_charged() -> None:
    attempt, events = await begun(Scripted(an_answer()))
    assert (await anext(events)).HasField("finished")
    assert attempt.abandon("the caller left")
    settlement = await attempt.wind_up()
    assert isinstance(settlement, Charge)
    assert settlement.vendor_cost_nanos == 1234


async def test_a_hedge_that_failed_for_nothing_costs_nothing_if_the_caller_leaves_the_race() -> None:
    failing = Scripted()

    async def second() -> Lane:
        failing.tell(a_failure())  # now that it is not alone any more
        return Lane(*await begun(Scripted()))

    attempt, events = await begun(failing)
    racing = asyncio.create_task(race(Lane(attempt, events), 0.0, second))
    async with asyncio.timeout(PATIENCE_S):
        await failing.taken.wait()
    racing.cancel()
    await asyncio.gather(racing, return_exceptions=True)
    assert attempt.abandon("the caller left")
    assert await attempt.wind_up() == Free("vendor_error")


async def test_a_stop_that_is_interrupted_gives_the_attempt_up_once() -> None:
    observed, conversation = Observed(), Scripted()
    attempt, _ = await begun(conversation, observed)
    stopping = asyncio.create_task(attempt.stop("BUDGET", "no room"))
    async with asyncio.timeout(PATIENCE_S):
        await observed.any.wait()
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    assert attempt.abandon("the caller left")
    assert observed.abandons == 1
