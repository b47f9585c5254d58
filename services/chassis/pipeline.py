"""One pipeline of concerns around every call, whatever its kind.

    async with pipeline.around(call):
        return await handler(request)

From outside in: trace, count and log, turn anything into a typed error, hold the deadline, find out who calls. What
leaves the block is a TurnpikeError or a cancellation, never anything else.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from services.chassis.auth import Authenticator
from services.chassis.call import Call
from services.chassis.concerns import Concern, authenticated, observed, traced, typed, within_deadline
from services.chassis.tracing import Tracer


class Pipeline:
    """Concerns, the first one outermost."""

    def __init__(self, concerns: Sequence[Concern]) -> None:
        around = concerns[-1]
        for outer in reversed(concerns[:-1]):
            around = _nested(outer, around)
        self._around = around

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """A block in which `call` is served."""
        return self._around(call)


def _nested(outer: Concern, inner: Concern) -> Concern:
    @asynccontextmanager
    async def both(call: Call) -> AsyncIterator[None]:
        async with outer(call), inner(call):
            yield

    return both


def standard(
    tracer: Tracer, authenticate: Authenticator, *, access_log: str = "failures", deadline_s: float = 60.0
) -> Pipeline:
    """The pipeline of every service's RPCs."""
    return Pipeline(
        [
            traced(tracer),
            observed(access_log),
            typed,
            within_deadline(deadline_s),
            authenticated(authenticate),
        ]
    )


def for_operations(tracer: Tracer, *, access_log: str = "off", deadline_s: float = 10.0) -> Pipeline:
    """The pipeline of operations inside a batch stream, whose caller the stream has authenticated."""
    return Pipeline([traced(tracer), observed(access_log), typed, within_deadline(deadline_s)])
