"""One pipeline of concerns around every call, whatever its kind.

    answer = await pipeline.serve(call, handler, request)

From outside in: trace, count and log, turn anything into a typed error, hold the deadline, find out who calls. What
it raises is a TurnpikeError or a cancellation, never anything else.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

from services.chassis.auth import Authenticator
from services.chassis.call import Call
from services.chassis.concerns import Observer, Traced, Typed, WithinDeadline
from services.chassis.deadlines import Deadlines
from services.chassis.tracing import Tracer

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


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

    async def serve(
        self, call: Call, handler: Callable[[*Arguments], Awaitable[Answer]], *arguments: *Arguments
    ) -> Answer:
        """What `handler` answers to `call`."""
        with (
            Traced(self._tracer, call),
            self._observe(call),
            Typed(call),
            WithinDeadline(self._deadlines, self._deadline_s, call),
        ):
            if self._authenticate is not None:
                call.caller = await self._authenticate(call)
            return await handler(*arguments)
