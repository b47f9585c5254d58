"""What an abandoned attempt is charged, by the last thing that its model said."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from services.chassis import tracing
from services.kernel.ids import RequestId
from services.router.domain.fallback import Next
from services.router.domain.plan import Planned
from services.router.ports import AttemptKey, Charge, Dispatch, Grant, SettlementOutcome
from services.router.records import AttemptRecord
from services.router.use_cases.attempt import Attempt
from services.router.use_cases.leases import Leases
from turnpike.providers.v1 import providers_pb2


class Answered:
    """A conversation whose answer was on its way when it was asked to stop."""

    sent, received = True, 1

    def __init__(self, last: providers_pb2.DispatchEvent) -> None:
        self._last = last

    async def __aiter__(self) -> AsyncIterator[providers_pb2.DispatchEvent]:
        yield self._last

    def cancel(self, reason: str) -> None:
        pass

    def grant_credit(self, deltas: int) -> None:
        pass

    def close(self) -> None:
        pass


async def test_an_answer_that_crossed_its_cancellation_is_charged_as_the_vendor_says() -> None:
    last = providers_pb2.DispatchEvent()
    last.finished.usage.output_tokens = 7
    last.finished.vendor_cost.nanos = 1234
    last.finished.vendor_request_id = "chatcmpl-1"

    async def begin(dispatch: Dispatch) -> Answered:
        return Answered(last)

    clock = SimpleNamespace(monotonic_s=lambda: 1.0)
    tools = SimpleNamespace(
        clock=clock,
        leases=Leases(cast(Any, None), cast(Any, clock)),
        models=SimpleNamespace(begin=begin),
        observations=SimpleNamespace(abandoned=lambda endpoint_id: None),
    )
    record = AttemptRecord(1, "v/a", "here", "first", 9999, datetime.now(UTC), 0.0)
    key = AttemptKey("org_1", RequestId("req_1"), 1)
    span = tracing.span("attempt 1")
    attempt = Attempt(
        cast(Any, tools), key, Next(Planned(0, 100, 9999, 50)), Grant(9999, "lease"), record, span, 100
    )
    await attempt.begin(cast(Any, None))
    assert attempt.abandon("another model was quicker")
    settlement = await attempt.wind_up()
    assert isinstance(settlement, Charge)
    assert settlement.outcome is SettlementOutcome.CANCELLED
    assert (settlement.vendor_cost_nanos, settlement.vendor_request_id) == (1234, "chatcmpl-1")
    assert record.usage is not None
    assert record.usage.output_tokens == 7
