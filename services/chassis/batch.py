"""What both ends of a batch stream share: the shape of its messages, and gathering.

A batch stream is one long-lived bidirectional RPC that carries many operations at a time, each with an `operation_id`,
a `traceparent` and a `timeout` of its own. A message inside a batch of 16 costs 0.03 ms of CPU at both ends together,
an RPC of its own 0.5: that is the point of it. Gathering adapts: an operation that finds the stream idle is sent at
once; under load it waits LINGER_S for company, and up to LINGER_MORE_S more the less CPU there is to be had.

A message that is too large would end the stream and everything under way on it. So a batch becomes as many messages as
it needs, and what does not fit into one of its own fails alone, unsent.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from services.chassis.demand import Demand

Item = TypeVar("Item")

BATCH_MAX = (
    256  # the contracts allow 1000; smaller ones keep the event loop and the first result of a batch prompt
)
COMPANY = 64  # operations that are company enough: more make a message hardly cheaper by the piece
LINGER_S = 0.001
LINGER_MORE_S = 0.004  # by the demand for CPU, of which a message takes 0.5 ms at both ends together
BUSY_FROM = 4  # so many operations under way mean that more are coming: gathering pays
DEFAULT_TIMEOUT_S = 10.0  # what the contracts promise an operation without `timeout`
BYTES_MAX_KEY = "turnpike-message-bytes-max"  # what the answering end takes, in its initial metadata


class HasOperationId(Protocol):
    """A message that belongs to an operation."""

    operation_id: int


class Operation(HasOperationId, Protocol):
    """An operation in a batch, as our contracts shape it."""

    traceparent: str

    @property
    def timeout(self) -> Duration:
        """What is left of the caller's deadline."""
        ...

    def HasField(self, field_name: Any, /) -> bool:
        """Protobuf's own."""
        ...


@dataclass(frozen=True, slots=True)
class Packed(Generic[Item]):
    """Items as one message of the stream."""

    items: Sequence[Item]
    message: Message
    size_bytes: int


def packed(
    items: Sequence[Item], pack: Callable[[Sequence[Item]], Message], bytes_max: int
) -> Iterator[Packed[Item]]:
    """The items as messages, in order. One that is larger than `bytes_max` has a single item, which cannot be sent.

    Nearly always there is one message, whose size costs a single call; only what is too large is cut in halves.
    """
    message = pack(items)
    size_bytes = message.ByteSize()
    if size_bytes <= bytes_max or len(items) == 1:
        yield Packed(items, message, size_bytes)
        return
    middle = len(items) // 2
    yield from packed(items[:middle], pack, bytes_max)
    yield from packed(items[middle:], pack, bytes_max)


class Outbox(Generic[Item]):
    """Gathers what is to be sent into batches."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._busy = busy
        self._demand = Demand()
        self._items: deque[Item] = deque()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Adds an item to the next batch."""
        self._items.append(item)
        self._filled.set()

    def put_all(self, items: Sequence[Item]) -> None:
        """Adds items to the next batch."""
        self._items.extend(items)
        self._filled.set()

    async def take(self) -> list[Item]:
        """The next batch, in order: at least one item; waits for it, and under load a moment longer for company."""
        await self._filled.wait()
        if len(self._items) < COMPANY and self._busy():
            await asyncio.sleep(LINGER_S + LINGER_MORE_S * self._demand.share())
        batch = [self._items.popleft() for _ in range(min(BATCH_MAX, len(self._items)))]
        if not self._items:
            self._filled.clear()
        return batch

    def drain(self) -> list[Item]:
        """Everything that was not taken; the outbox is empty afterwards."""
        items = list(self._items)
        self._items.clear()
        self._filled.clear()
        return items
