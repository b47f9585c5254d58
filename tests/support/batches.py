"""A service with one batch stream, to try the chassis with. It speaks the shapes of the budget service's Apply."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from services.chassis.app import App, Runtime
from services.chassis.auth import ServiceTokens, anyone
from services.chassis.batch_server import BatchServer, Conversation
from services.chassis.call import current_call
from services.chassis.server import Registration
from services.kernel.errors import StoreUnavailable, TurnpikeError
from tests.support.echo import EchoSettings
from turnpike.budget.v1 import budget_pb2, budget_pb2_grpc
from turnpike.common.v1 import error_pb2

Operation = budget_pb2.ApplyOperation
Result = budget_pb2.ApplyResult


def operation(text: str) -> Operation:
    """An operation that says `text`; the service answers with the same."""
    return Operation(release=budget_pb2.ReleaseRequest(reason=text))


def counted(count: int) -> Result:
    return Result(release=budget_pb2.ReleaseResponse(ledger_sequence=count))


@dataclass
class Batches(budget_pb2_grpc.BudgetServiceServicer):
    """Serves Apply in one of the three ways of BatchServer."""

    way: str = "handle"
    sizes: list[int] = field(default_factory=list)
    begun: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    cancelled: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    callers: set[str] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)
    handled: int = 0
    server: Any = None

    def bind(self, runtime: Runtime) -> None:
        ways: dict[str, Any] = {"handle": self.handle, "converse": self.converse, "accept": self.accept}
        self.server = BatchServer(
            "turnpike.budget.v1.BudgetService/Apply",
            runtime,
            unpack=self.unpack,
            pack=lambda results: budget_pb2.ApplyResponse(results=results),
            refused=None if self.way == "accept" else refused,
            name_of=lambda one: one.WhichOneof("operation") or "",
            is_start=lambda one: one.HasField("release"),
            is_cancel=lambda one: one.HasField("renew_lease"),
            **{self.way: ways[self.way]},
        )

    async def Apply(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        await self.server.serve(requests, context)

    def unpack(self, request: Any) -> Sequence[Operation]:
        self.sizes.append(len(request.operations))
        return list(request.operations)

    async def handle(self, one: Operation) -> Result:
        call = current_call()
        assert call is not None
        self.callers.add(call.caller.name)
        self.methods.add(call.method)
        text = one.release.reason
        self.begun.put_nowait(text)
        try:
            if text == "refuse":
                raise StoreUnavailable("postgres")
            if text == "crash":
                raise RuntimeError("hunter2")
            if text.startswith("wait"):
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.put_nowait(text)
            raise
        self.handled += 1
        return counted(len(text))

    async def converse(self, conversation: Conversation[Operation, Result]) -> None:
        self.begun.put_nowait("converse")
        follow_ups: asyncio.Queue[Operation] = asyncio.Queue()
        conversation.hear(follow_ups.put_nowait)
        try:
            for number in range(int(conversation.operation.release.reason)):
                conversation.send(counted(number))
                if number % 2:
                    await follow_ups.get()
            conversation.send(Result(hold=budget_pb2.HoldResponse()))
        except asyncio.CancelledError:
            self.cancelled.put_nowait("converse")
            raise

    def accept(self, operations: Sequence[Operation], replies: Any) -> None:
        for one in reversed(operations):
            replies([Result(operation_id=one.operation_id, release=counted(len(one.release.reason)).release)])


def refused(one: Operation, error: TurnpikeError) -> Result:
    reason = error_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}")
    return Result(refusal=budget_pb2.Refusal(reason=reason, message=error.message))


def batches_app(servicer: Batches) -> App[EchoSettings]:
    @asynccontextmanager
    async def bootstrap(settings: EchoSettings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
        servicer.bind(runtime)
        authenticate = ServiceTokens(settings.service_tokens) if settings.service_tokens else anyone
        yield [Registration(budget_pb2_grpc.add_BudgetServiceServicer_to_server, servicer, authenticate)]

    return App(name="batches", settings=EchoSettings, bootstrap=bootstrap)
