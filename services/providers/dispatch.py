"""Dispatch: many attempts over one stream, each with its own deadline, cancellation and credit."""

import asyncio
from collections.abc import Sequence
from typing import Final

from services.chassis.app import Runtime
from services.chassis.batch_server import BatchServer, Conversation
from services.chassis.call import current_call
from services.providers.convert import check_attempt, to_pb_failed, to_pb_refused, to_pb_too_large
from services.providers.domain.failure import AttemptError, ChargeRule, Failure, Reason
from services.providers.telemetry import traced
from services.providers.use_cases.attempt import AttemptRun, Resources
from services.providers.use_cases.witness import ROUTER_FIRST_S, Witness
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

METHOD: Final = "turnpike.providers.v1.ProviderService/Dispatch"
CREDIT_AT_START: Final = 256
"""Deltas an attempt may send before its first grant, as the contract says."""
CREDIT_MAX: Final = 1 << 20
"""More is as good as endless, and keeps a broken client from overflowing the sum."""
MARGIN_S_MAX: Final = 0.1
MARGIN_SHARE: Final = 0.05
"""An attempt ends this much before its operation's deadline, so that its usage is still told."""

_CANCELLED: Final = Failure(
    Reason.ERROR_REASON_CANCELLED,
    "The caller no longer wants the answer.",
    charge=ChargeRule.CHARGE_RULE_NOTHING,
)

Event = providers_pb2.DispatchEvent
Talk = Conversation[providers_pb2.DispatchOperation, Event]


class _CreditedSink:
    """Sends deltas as far as the reader's credit goes."""

    __slots__ = ("_credit", "_granted", "_talk", "sent")

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._credit = CREDIT_AT_START
        self._granted: asyncio.Event | None = None
        self.sent = 0

    async def started(self, endpoint_id: str) -> None:
        if self._talk.operation.start.stream:  # of a whole answer the end alone is told, in one message
            self._talk.send(Event(started=providers_pb2.AttemptStarted(endpoint_id=endpoint_id)))

    def put(self, deltas: Sequence[content_pb2.ChoiceDelta]) -> bool:
        for delta in deltas:
            self._talk.send(Event(delta=delta))
        self.sent += len(deltas)
        self._credit -= len(deltas)
        return self._credit > 0

    async def ready(self) -> None:
        while self._credit <= 0:
            self._granted = asyncio.Event()
            await self._granted.wait()

    def grant(self, deltas: int) -> None:
        self._credit = min(self._credit + max(0, deltas), CREDIT_MAX)
        if self._granted is not None:
            self._granted.set()


class Dispatcher:
    """Serves the operations of Dispatch streams."""

    def __init__(
        self, runtime: Runtime, resources: Resources, witness: Witness, *, under_way_max: int = 4096
    ) -> None:
        """`under_way_max` attempts run at the same time on one stream; beyond, the stream is not read."""
        self._resources = resources
        self._witness = witness
        self.server = BatchServer(
            METHOD,
            runtime,
            unpack=lambda request: request.operations,
            pack=lambda events: providers_pb2.DispatchResponse(events=events),
            refused=to_pb_refused,
            converse=self._converse,
            is_start=lambda operation: operation.WhichOneof("operation") == "start",
            name_of=lambda operation: "attempt",
            too_large=to_pb_too_large,
            under_way_max=under_way_max,
        )

    async def _converse(self, talk: Talk) -> None:
        attempt = talk.operation.start
        check_attempt(attempt)
        sink = _CreditedSink(talk)
        run = AttemptRun(attempt, sink, self._resources, time_left_s())
        task = asyncio.current_task()
        assert task is not None
        hearing = _Hearing(sink, task)
        talk.hear(hearing)
        if not hearing.begin():  # cancelled in one message with its attempt: nothing leaves
            talk.send(Event(failed=to_pb_failed(_CANCELLED, "", 0)))
            return
        try:
            finished = await traced(run)
        except AttemptError as error:
            talk.send(Event(failed=to_pb_failed(error.failure, run.endpoint_id, sink.sent)))
            return
        except asyncio.CancelledError:
            assert run.failure is not None
            if not hearing.cancelled and run.failure.phase != "total":
                # Nobody listens any more: the router is gone, or this process ends. The witness speaks for it.
                self._witness.speak(attempt, run.failure)
                raise
            talk.send(Event(failed=to_pb_failed(run.failure, run.endpoint_id, sink.sent)))
            if hearing.cancelled:
                task.uncancel()
            else:
                # It was the deadline. The router wants to hear what the attempt took, and settles it better than
                # the witness can; but whether it is still there is not known.
                self._witness.speak(attempt, run.failure, after_s=ROUTER_FIRST_S)
            return
        talk.send(Event(finished=finished))


class _Hearing:
    """Hears the asker's grants and its cancellation."""

    __slots__ = ("_begun", "_run_task", "_sink", "cancelled")

    def __init__(self, sink: _CreditedSink, run_task: asyncio.Task[object]) -> None:
        self._sink = sink
        self._run_task = run_task
        self._begun = False
        self.cancelled = False

    def begin(self) -> bool:
        """The attempt begins, and is cut from now on if it is cancelled; false if it has been cancelled already."""
        self._begun = True
        return not self.cancelled

    def __call__(self, operation: providers_pb2.DispatchOperation) -> None:
        match operation.WhichOneof("operation"):
            case "credit":
                self._sink.grant(operation.credit.deltas)
            case "cancel":
                self.cancelled = True
                if self._begun:
                    self._run_task.cancel()
            case _:
                pass


def time_left_s() -> float:
    """How long an attempt may take: what is left of the current deadline, less a margin to tell its end in."""
    call = current_call()
    left_s = None if call is None else call.left_s
    if left_s is None:
        return float("inf")
    return max(0.0, left_s - min(MARGIN_S_MAX, left_s * MARGIN_SHARE))
