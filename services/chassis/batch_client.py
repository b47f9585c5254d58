"""The asking end of a batch stream.

    async with BatchClient(
        budget, stub.Apply, pack=lambda ops: ApplyRequest(operations=ops), unpack=lambda response: response.results
    ) as apply:
        result = await apply.call(ApplyOperation(hold=request), timeout_s=2.0)

    async with dispatch.exchange(DispatchOperation(start=attempt), timeout_s=60.0) as exchange:   # several results each
        async for event in exchange: ...

What goes wrong is typed. ServiceUnavailable: the operation has certainly not left; it waits PATIENCE_S for a connection
first, which spans a restart. OutcomeUnknown: the stream broke after the operation had left; ask again with the same id.
DeadlineExceeded says whether it had left; RequestTooLarge, that the other side takes no message so large, and that it
has not. The stream reconnects by itself, with jittered back-off.
"""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
import structlog

from services.chassis import tracing
from services.chassis.batch import BUSY_FROM, BYTES_MAX_KEY, HasOperationId, Operation, Outbox, Packed, packed
from services.chassis.call import timeout_s as carried_timeout_s
from services.chassis.channel import Remote
from services.chassis.deadlines import Deadlines
from services.chassis.metrics import BATCH_OPERATIONS
from services.chassis.service_settings import MESSAGE_BYTES_MAX
from services.chassis.status import RemoteError, error_from_rpc
from services.chassis.tasks import end
from services.kernel.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    RequestTooLarge,
    ServiceUnavailable,
    TurnpikeError,
)

AnyOperation = TypeVar("AnyOperation", bound=Operation)
AnyResult = TypeVar("AnyResult", bound=HasOperationId)

WINDOW = 4096  # operations under way on one stream; callers beyond it wait, and so does their memory
PATIENCE_S = 0.5  # how long operations wait for a connection that is away before they fail
BACKOFF_S = (0.02, 2.0)  # first and longest pause between attempts to connect
CONNECT_TIMEOUT_S = 5.0

log = structlog.get_logger()
_random = random.Random()  # noqa: S311 - jitter is no secret


class Exchange(Generic[AnyOperation, AnyResult]):
    """One operation under way and what has come back of it. Iterating ends after its last result."""

    __slots__ = (
        "_bucket",
        "_client",
        "_error",
        "_results",
        "_waiter",
        "answered",
        "ended",
        "last",
        "name",
        "operation_id",
        "received",
        "sent",
    )

    def __init__(self, client: "BatchClient[AnyOperation, AnyResult]", operation_id: int, name: str) -> None:
        self._client = client
        self._results: deque[AnyResult] = deque()
        self._error: TurnpikeError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._bucket = 0
        self.operation_id = operation_id
        self.name = name
        self.sent = False
        self.received = 0
        """Results that have come, each that was joined to another counted."""
        self.answered = False
        """The last result has come."""
        self.last: AnyResult | None = None
        """The last result, once it has come; it stays for whoever was interrupted after it had been taken."""
        self.ended = False
        """Answered, failed, or left by its caller."""

    def send(self, operation: AnyOperation) -> None:
        """Sends one more operation of this exchange, such as a credit."""
        if not self.ended:
            self._client.put(self, operation)

    def __aiter__(self) -> AsyncIterator[AnyResult]:
        return self

    async def __anext__(self) -> AnyResult:
        while not self._results:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            self._waiter = self._client.loop.create_future()
            await self._waiter
        return self._results.popleft()

    def deliver(self, result: AnyResult, *, last: bool) -> None:
        """A result has come."""
        self.received += 1
        results = self._results
        if not results or not self._client.join(results[-1], result):
            results.append(result)
        if last:
            self.last, self.answered, self.ended = result, True, True
        self._wake()

    def fail(self, error: TurnpikeError) -> None:
        """No further result will come."""
        if not self.ended:
            self._error, self.ended = error, True
            self._wake()

    def expire_after(self, timeout_s: float) -> None:
        """Fails the exchange with DeadlineExceeded unless it has ended by then."""
        self._bucket = self._client.deadlines.add(time.monotonic() + timeout_s, self._expire)

    def close(self) -> None:
        """Nobody listens any more."""
        self.ended = True
        self._client.deadlines.remove(self._bucket, self._expire)

    def _expire(self) -> None:
        self.fail(DeadlineExceeded(self.name, begun=self.sent))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Block(Generic[AnyOperation, AnyResult]):
    """The length of an exchange. A plain class: each request enters several, and a generator costs thrice as much."""

    __slots__ = ("_client", "_exchange", "_name", "_operation", "_timeout_s")

    def __init__(
        self,
        client: "BatchClient[AnyOperation, AnyResult]",
        operation: AnyOperation,
        timeout_s: float,
        name: str,
    ) -> None:
        self._client = client
        self._operation = operation
        self._timeout_s = timeout_s
        self._name = name
        self._exchange: Exchange[AnyOperation, AnyResult] | None = None

    async def __aenter__(self) -> Exchange[AnyOperation, AnyResult]:
        self._exchange = await self._client.begin(self._operation, self._timeout_s, self._name)
        return self._exchange

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._exchange is not None
        self._client.leave(self._exchange)


class BatchClient(Generic[AnyOperation, AnyResult]):
    """Many operations over one stream to `remote`, reconnected as often as needed."""

    def __init__(
        self,
        remote: Remote,
        method: "grpc.aio.StreamStreamMultiCallable[Any, Any]",
        *,
        pack: Callable[[Sequence[AnyOperation]], Any],
        unpack: Callable[[Any], Iterable[AnyResult]],
        is_last: Callable[[AnyResult], bool] = lambda result: True,
        cancel: Callable[[], AnyOperation] | None = None,
        join: Callable[[AnyResult, AnyResult], bool] = lambda before, after: False,
        window: int = WINDOW,
    ) -> None:
        """`pack` makes a request of operations, `unpack` takes a response apart.

        `is_last` tells the last result of an operation that has several. `cancel` makes the operation that tells the
        other side to stop one which the caller has left; without it the other side finishes and nobody listens.
        `join` adds a result to the one before it, which nobody has taken yet; False: it stays one of its own.
        """
        self._remote = remote
        self._method = method
        self._pack = pack
        self._unpack = unpack
        self._is_last = is_last
        self._cancel = cancel
        self.join = join
        self._ids = itertools.count(1)
        self._exchanges: dict[int, Exchange[AnyOperation, AnyResult]] = {}
        self._outbox: Outbox[tuple[Exchange[AnyOperation, AnyResult], AnyOperation]] = Outbox(
            lambda: len(self._exchanges) >= BUSY_FROM
        )
        self._slots = asyncio.Semaphore(window)
        # Why nothing can be sent. Whoever is told gets a copy: a traceback keeps all that its callers held.
        self._down: TurnpikeError | None = None
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._bytes_max = MESSAGE_BYTES_MAX
        self._batches = BATCH_OPERATIONS.labels(f"{remote.service}.requests")
        self.deadlines = Deadlines()
        self.loop = asyncio.get_running_loop()

    @property
    def connected(self) -> bool:
        """Whether the other side has accepted the stream."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Waits until the other side has accepted the stream."""
        await self._connected.wait()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"batches to {self._remote.service}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        await end(self._task)
        self._lose_sent()
        self._fail_unsent(ServiceUnavailable(self._remote.service))

    async def call(self, operation: AnyOperation, *, timeout_s: float, name: str = "") -> AnyResult:
        """The one result of `operation`. Waits for room in the window first; all of it within `timeout_s` seconds."""
        exchange = await self.begin(operation, timeout_s, name)
        try:
            return await anext(exchange)
        finally:
            self.leave(exchange)

    def exchange(
        self, operation: AnyOperation, *, timeout_s: float, name: str = ""
    ) -> "_Block[AnyOperation, AnyResult]":
        """Begins `operation`; iterate over its results. Leaving the block before the last one cancels it."""
        return _Block(self, operation, timeout_s, name)

    async def begin(
        self, operation: AnyOperation, timeout_s: float, name: str
    ) -> Exchange[AnyOperation, AnyResult]:
        """Sends `operation`; whoever begins one leaves it, which `call` and `exchange` see to."""
        described = name or self._remote.service
        timeout = carried_timeout_s(described, at_most=timeout_s)
        exchange: Exchange[AnyOperation, AnyResult] = Exchange(self, next(self._ids), described)
        exchange.expire_after(timeout)
        await self._slot(described, timeout)
        self._exchanges[exchange.operation_id] = exchange
        if self._down is not None:
            self.leave(exchange)
            raise replace(self._down)
        operation.traceparent = tracing.traceparent()
        operation.timeout.seconds = int(timeout)
        operation.timeout.nanos = int(timeout % 1.0 * 1e9)
        self.put(exchange, operation)
        return exchange

    def leave(self, exchange: Exchange[AnyOperation, AnyResult]) -> None:
        """Nobody listens to `exchange` any more; the other side is told if it has not finished."""
        if exchange.sent and not exchange.answered and self._cancel is not None:
            self.put(exchange, self._cancel())
        exchange.close()
        del self._exchanges[exchange.operation_id]
        self._slots.release()

    async def _slot(self, name: str, timeout_s: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded(name, begun=False) from error

    def put(self, exchange: Exchange[AnyOperation, AnyResult], operation: AnyOperation) -> None:
        """Queues an operation of `exchange`."""
        operation.operation_id = exchange.operation_id
        self._outbox.put((exchange, operation))

    async def _run(self) -> None:
        pause_s = BACKOFF_S[0]
        unavailable = ServiceUnavailable(self._remote.service)
        patience = self.loop.call_later(PATIENCE_S, self._give_up, unavailable)
        try:
            while True:
                try:
                    await self._connection(patience)
                    log.info("batch stream ended", service=self._remote.service)
                except TurnpikeError as error:
                    log.warning("batch stream failed", service=self._remote.service, reason=error.reason)
                    if isinstance(error, RemoteError) and not self._connected.is_set():
                        self._give_up(error)  # an answer, such as a wrong token: patience does not help
                if self._connected.is_set():
                    self._connected.clear()
                    pause_s = BACKOFF_S[0]
                    patience = self.loop.call_later(PATIENCE_S, self._give_up, unavailable)
                self._lose_sent()
                await asyncio.sleep(pause_s * _random.uniform(0.5, 1.5))
                pause_s = min(pause_s * 2, BACKOFF_S[1])
        finally:
            patience.cancel()

    async def _connection(self, patience: asyncio.TimerHandle) -> None:
        call = self._method(metadata=self._remote.metadata(), wait_for_ready=False)
        writer: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                # Sent at once by the serving end, so the stream is accepted.
                metadata = await call.initial_metadata()
                if call.done():
                    await call.read()  # raises why it was not
            patience.cancel()
            self._bytes_max = int(metadata.get(BYTES_MAX_KEY, MESSAGE_BYTES_MAX))
            self._down = None
            self._connected.set()
            writer = asyncio.create_task(self._write(call), name=f"writes to {self._remote.service}")
            while (response := await call.read()) is not grpc.aio.EOF:
                self._deliver(response)
        except TimeoutError as error:
            raise ServiceUnavailable(self._remote.service) from error
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure, self._remote.service) from failure
        finally:
            if writer is not None:
                await end(writer)
            call.cancel()

    async def _write(self, call: "grpc.aio.StreamStreamCall[Any, Any]") -> None:
        while True:
            # What its caller has left before it was sent is not sent; a cancellation of what was sent is.
            batch = [item for item in await self._outbox.take() if item[0].sent or not item[0].ended]
            if not batch:
                continue
            messages = [
                message for message in packed(batch, self._packed, self._bytes_max) if self._fits(message)
            ]
            for message in messages:
                for exchange, _ in message.items:
                    exchange.sent = True
            for message in messages:
                self._batches.observe(len(message.items))
                try:
                    await call.write(message.message)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return  # the reader hears why

    def _packed(self, items: Sequence[tuple[Exchange[AnyOperation, AnyResult], AnyOperation]]) -> Any:
        return self._pack([operation for _, operation in items])

    def _fits(self, message: Packed[tuple[Exchange[AnyOperation, AnyResult], AnyOperation]]) -> bool:
        """False: it holds one operation that is too large to be sent; its exchange fails, and no other."""
        if message.size_bytes <= self._bytes_max:
            return True
        [(exchange, _)] = message.items
        exchange.fail(RequestTooLarge(message.size_bytes, self._bytes_max))
        return False

    def _deliver(self, response: Any) -> None:
        for result in self._unpack(response):
            exchange = self._exchanges.get(result.operation_id)
            if exchange is not None and not exchange.ended:
                exchange.deliver(result, last=self._is_last(result))

    def _give_up(self, error: TurnpikeError) -> None:
        self._down = error
        self._fail_unsent(error)

    def _fail_unsent(self, error: TurnpikeError) -> None:
        for exchange, _ in self._outbox.drain():
            if not exchange.sent:
                exchange.fail(replace(error))

    def _lose_sent(self) -> None:
        for exchange in list(self._exchanges.values()):
            if exchange.sent:
                exchange.fail(OutcomeUnknown(self._remote.service))
