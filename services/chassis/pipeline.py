"""One pipeline of concerns around every call, whatever its kind.

    async with pipeline.around(call):
        return await handler(request)

From outside in: trace, count and log, turn anything into a typed error, hold the deadline, find out who calls. What
leaves the block is a TurnpikeError or a cancellation, never anything else.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.auth import Authenticator
from services.chassis.call import Call
from services.chassis.concerns import Observer, Traced, Typed, WithinDeadline
from services.chassis.deadlines import Deadlines
from services.chassis.tracing import Tracer


class Pipeline:
    """The concerns of one kind of caller. `authenticate` None: the caller is known already, as inside a stream."""

    def __init__(
        self,
        tracer: Tracer,
        authenticate: Authenticator | None,
        *,
        access_log: str = "failures",
        deadline_s: float,
    ) -> None:
        self._tracer = tracer
        self._authenticate = authenticate
        self._observe = Observer(access_log)
        self._deadlines = Deadlines()
        self._deadline_s = deadline_s

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """A block in which `call` is served."""
        with (
            Traced(self._tracer, call),
            self._observe(call),
            Typed(call),
            WithinDeadline(self._deadlines, self._deadline_s, call),
        ):
            if self._authenticate is not None:
                call.caller = await self._authenticate(call)
            yield
