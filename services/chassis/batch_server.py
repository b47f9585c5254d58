"""The answering end of a batch stream.

    async def Apply(self, requests, context):
        await self._apply.serve(requests, context)

    self._apply = BatchServer(
        "turnpike.budget.v1.BudgetService/Apply", runtime,
        unpack=lambda request: request.operations, pack=lambda results: ApplyResponse(results=results),
        handle=self._handle, refused=to_pb_refusal,
    )

`handle(operation) -> result` runs for each operation in a task of its own, inside the pipeline's concerns (its own
span, deadline and log line). An operation with several results or follow-ups is served by `converse(conversation)`.
Where a task for each operation is too dear, `accept(operations, replies)` takes whole batches: it returns at once, and
replies whenever results are there, in any order. Its operations have spans; deadlines are the service's business then.

Results are gathered as operations are, in as many messages as they need. What is under way is bounded; beyond it the
stream is not read, and flow control holds the asker back. A stream that drains is read no further, finishes what it has
begun, and ends with OK.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from services.chassis import attributes as names
from services.chassis.app import Runtime
from services.chassis.batch import (
    BUSY_FROM,
    BYTES_MAX_KEY,
    DEFAULT_TIMEOUT_S,
    HasOperationId,
    Operation,
    Outbox,
    packed,
)
from services.chassis.call import ANONYMOUS, Call, CallKind, current_call
from services.chassis.metrics import BATCH_OPERATIONS
from services.chassis.server import Context
from services.chassis.service_settings import ANSWER_BYTES_MAX, FORWARDED_BYTES_MORE
from services.chassis.tasks import end
from services.chassis.tracing import Kind, RemoteParent, Span
from services.kernel.errors import Cancelled, TurnpikeError

AnyOperation = TypeVar("AnyOperation", bound=Operation)
AnyResult = TypeVar("AnyResult", bound=HasOperationId)
Reply = Callable[[AnyResult], None]
Replies = Callable[[Sequence[AnyResult]], None]

UNDER_WAY_MAX = 4096  # operations begun and not answered on one stream
# What fits into a message here fits into the answer to a caller too.
RESULTS_BYTES_MAX = ANSWER_BYTES_MAX - FORWARDED_BYTES_MORE


class Conversation(Generic[AnyOperation, AnyResult]):
    """One operation with several results, and perhaps follow-ups from the asker."""

    __slots__ = ("_early", "_heard", "_reply", "operation")

    def __init__(self, operation: AnyOperation, reply: Reply[AnyResult]) -> None:
        self.operation = operation
        self._reply = reply
        self._heard: Callable[[AnyOperation], None] | None = None
        self._early: list[AnyOperation] = []

    def send(self, result: AnyResult) -> None:
        """Sends a result; never waits. Hold back by the asker's credit, not by this."""
        result.operation_id = self.operation.operation_id
        self._reply(result)

    def hear(self, heard: Callable[[AnyOperation], None]) -> None:
        """Has `heard` called with each follow-up as it comes, first with those that are here. It must not wait."""
        self._heard = heard
        for operation in self._early:
            heard(operation)
        self._early.clear()

    def hand(self, operation: AnyOperation) -> None:
        """A follow-up has come, perhaps in one batch with its operation."""
        if self._heard is None:
            self._early.append(operation)
        else:
            self._heard(operation)


class BatchServer(Generic[AnyOperation, AnyResult]):
    """Serves any number of streams of one RPC."""

    def __init__(
        self,
        method: str,
        runtime: Runtime,
        *,
        unpack: Callable[[Any], Iterable[AnyOperation]],
        pack: Callable[[Sequence[AnyResult]], Any],
        refused: Callable[[AnyOperation, TurnpikeError], AnyResult] | None = None,
        handle: Callable[[AnyOperation], Awaitable[AnyResult]] | None = None,
        converse: Callable[[Conversation[AnyOperation, AnyResult]], Awaitable[None]] | None = None,
        accept: Callable[[Sequence[AnyOperation], Replies[AnyResult]], None] | None = None,
        reason_of: Callable[[AnyResult], str | None] = lambda result: None,
        is_start: Callable[[AnyOperation], bool] = lambda operation: True,
        is_cancel: Callable[[AnyOperation], bool] = lambda operation: False,
        name_of: Callable[[AnyOperation], str] | None = None,
        too_large: Callable[[AnyResult], AnyResult] | None = None,
        under_way_max: int = UNDER_WAY_MAX,
    ) -> None:
        """Exactly one of `handle`, `converse`, `accept` serves operations; the first two need `refused`.

        `refused` makes the result of an operation that failed. `is_start` tells an operation from a follow-up,
        `is_cancel` a follow-up that stops its operation. `name_of` names an operation for its span, such as "hold".
        `reason_of` tells why a result of `accept` refuses, for its span. `too_large` makes what is sent in place of a
        result of more than RESULTS_BYTES_MAX bytes; None: results are small by their shape.
        """
        if sum(way is not None for way in (handle, converse, accept)) != 1:
            raise ValueError("exactly one of handle, converse and accept serves operations")
        if accept is None and refused is None:
            raise ValueError("handle and converse need refused")
        self.method = method
        self.runtime = runtime
        self.unpack = unpack
        self.pack = pack
        self.refused = refused
        self.handle = handle
        self.converse = converse
        self.accept = accept
        self.reason_of = reason_of
        self.is_start = is_start
        self.is_cancel = is_cancel
        self.name_of = name_of
        self.too_large = too_large
        self.under_way_max = under_way_max
        self.batches = BATCH_OPERATIONS.labels(f"{method}.responses")

    async def serve(self, requests: AsyncIterator[Any], context: Context) -> None:
        """Serves one stream until the asker closes it, it breaks, or the process drains."""
        # Tells the asker that the stream is accepted, and what fits into its messages.
        await context.send_initial_metadata(((BYTES_MAX_KEY, str(self.runtime.message_bytes_max)),))
        await _Stream(self, context).serve(requests)


class _Stream(Generic[AnyOperation, AnyResult]):
    """One stream's state."""

    def __init__(self, server: BatchServer[AnyOperation, AnyResult], context: Context) -> None:
        self._server = server
        self._context = context
        call = current_call()
        self._caller = ANONYMOUS if call is None else call.caller
        self._under_way = 0
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._room.set()
        self._idle.set()
        self._outbox: Outbox[AnyResult] = Outbox(lambda: self._under_way >= BUSY_FROM)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._conversations: dict[int, Conversation[AnyOperation, AnyResult]] = {}
        self._spans: dict[int, Span] = {}
        self._writing = False
        self._broken = False

    async def serve(self, requests: AsyncIterator[Any]) -> None:
        reader = asyncio.create_task(self._read(requests), name=f"reads {self._server.method}")
        writer = asyncio.create_task(self._write(), name=f"writes {self._server.method}")
        stopping = asyncio.create_task(self._server.runtime.stopping.wait())
        helpers = (reader, writer, stopping)
        try:
            await asyncio.wait(helpers, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            if not writer.done():
                await self._finish(writer)
        finally:
            self._broken = True
            await end(*helpers, *self._tasks.values())
            for span in self._spans.values():
                span.fail(Cancelled())
                span.end()

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Waits until everything begun is answered and written, or nothing can be written any more."""
        idle = asyncio.create_task(self._idle.wait())
        try:
            await asyncio.wait((idle, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()

    async def _read(self, requests: AsyncIterator[Any]) -> None:
        server = self._server
        async for request in requests:
            operations = list(server.unpack(request))
            if server.accept is not None:
                self._begin(len(operations))
                self._trace(operations)
                server.accept(operations, self._reply_and_end)
            else:
                for operation in operations:
                    self._take(operation)
            if not self._room.is_set():
                await self._room.wait()

    def _take(self, operation: AnyOperation) -> None:
        operation_id = operation.operation_id
        running = self._tasks.get(operation_id)
        if self._server.is_cancel(operation):
            if running is not None:
                running.cancel()
            return
        if running is not None:
            conversation = self._conversations.get(operation_id)
            if conversation is not None:
                conversation.hand(operation)
            return
        if not self._server.is_start(operation):
            return  # a follow-up that crossed with the end of its operation
        self._begin(1)
        if self._server.converse is not None:
            self._conversations[operation_id] = Conversation(operation, self._outbox.put)
        task = asyncio.create_task(self._serve_one(operation))
        self._tasks[operation_id] = task
        task.add_done_callback(lambda _: self._ended(operation_id))

    async def _serve_one(self, operation: AnyOperation) -> None:
        server = self._server
        serve = server.runtime.operations.serve
        call = self._call_of(operation)
        try:
            if server.handle is not None:
                result = await serve(call, server.handle, operation)
            else:
                assert server.converse is not None
                await serve(call, server.converse, self._conversations[operation.operation_id])
                return
        except TurnpikeError as error:
            assert server.refused is not None
            result = server.refused(operation, error)
        result.operation_id = operation.operation_id
        self._outbox.put(result)

    def _call_of(self, operation: AnyOperation) -> Call:
        timeout = operation.timeout
        left_s = timeout.seconds + timeout.nanos / 1e9 if operation.HasField("timeout") else DEFAULT_TIMEOUT_S
        return Call(
            method=f"/{self._method_of(operation)}",
            kind=CallKind.OPERATION,
            metadata={},
            traceparent=operation.traceparent,
            deadline=time.monotonic() + left_s,
            caller=self._caller,
        )

    def _trace(self, operations: Sequence[AnyOperation]) -> None:
        tracer = self._server.runtime.tracer
        if tracer.sink is None:
            return
        for operation in operations:
            name = self._method_of(operation)
            parent = RemoteParent.parse(operation.traceparent) if operation.traceparent else None
            attributes = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name, names.CALLER: self._caller.name}
            span = tracer.span(name, attributes, kind=Kind.SERVER, parent=parent)
            self._spans[operation.operation_id] = span

    def _method_of(self, operation: AnyOperation) -> str:
        name = self._server.name_of(operation) if self._server.name_of is not None else ""
        return f"{self._server.method}/{name}" if name else self._server.method

    def _begin(self, operations: int) -> None:
        self._under_way += operations
        self._idle.clear()
        if self._under_way >= self._server.under_way_max:
            self._room.clear()

    def _ended(self, operation_id: int) -> None:
        del self._tasks[operation_id]
        self._conversations.pop(operation_id, None)
        self._end(1)

    def _reply_and_end(self, results: Sequence[AnyResult]) -> None:
        if self._spans:
            for result in results:
                self._end_span(result)
        if not self._broken:
            self._outbox.put_all(results)
            self._end(len(results))

    def _end_span(self, result: AnyResult) -> None:
        span = self._spans.pop(result.operation_id, None)
        if span is None:
            return
        reason = self._server.reason_of(result)
        if reason is not None:
            span.set(names.ERROR_REASON, reason)
            span.set(names.ERROR_TYPE, reason)
            span.error_description = reason
        span.end()

    def _end(self, operations: int) -> None:
        self._under_way -= operations
        if self._under_way < self._server.under_way_max:
            self._room.set()
        self._settle()

    def _settle(self) -> None:
        if not self._under_way and not self._outbox and not self._writing:
            self._idle.set()

    async def _write(self) -> None:
        while True:
            batch = await self._outbox.take()
            self._writing = True
            for results, message in self._messages(batch):
                self._server.batches.observe(results)
                await self._context.write(message)
            self._writing = False
            self._settle()

    def _messages(self, batch: Sequence[AnyResult]) -> Iterator[tuple[int, Any]]:
        """The batch as messages, each with the number of its results."""
        server = self._server
        if server.too_large is None:
            yield len(batch), server.pack(batch)
            return
        for message in packed(batch, server.pack, RESULTS_BYTES_MAX):
            if message.size_bytes <= RESULTS_BYTES_MAX:
                yield len(message.items), message.message
                continue
            [result] = message.items
            instead = server.too_large(result)
            instead.operation_id = result.operation_id
            yield 1, server.pack([instead])
