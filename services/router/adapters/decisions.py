"""Keeps decisions of late in memory and sends every record to the analytics service, at least once, in batches.

While analytics is away records wait in a bounded buffer; when it is full the oldest is dropped and counted. Nothing
here is ever in a request's way.
"""

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import grpc
import structlog
from prometheus_client import Counter

from services.chassis import tracing
from services.chassis.channel import Remote
from services.chassis.status import RemoteError
from services.kernel.errors import PreconditionFailed, TurnpikeError
from services.router.convert_decision import fill_pb_record, to_pb_decision, to_pb_record
from services.router.convert_inputs import from_pb_question
from services.router.domain.codec import CodecError
from services.router.domain.plan import Question
from services.router.domain.snapshots import Archive, Boards
from services.router.records import DecisionRecord
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from turnpike.router.v1 import decision_pb2

if TYPE_CHECKING:
    from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceAsyncStub

BUFFER_MAX = 20_000
"""Records that wait for analytics: some minutes of a busy router, at about 3 KB each."""

BATCH_MAX = 200
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Of a batch; the record that passes it is the last. With that one's snapshots, some megabytes, it is well below the 16
MiB of a message."""

YIELD_EVERY = 10
"""Records that are written between two moments in which the router serves others: some two milliseconds."""

GATHER_S = 0.25
"""Records are gathered this long: dashboards may lag so much, and a batch costs a fraction of single messages."""

TOLD_MAX = 100_000
"""Names of snapshots that are remembered as told, 10 MB; a day of a busy replica. Beyond it they are told again."""

ACKNOWLEDGED_WITHIN_S = 10.0
RECONNECT_S = 1.0
FIND_TIMEOUT_S = 2.0

DROPPED = Counter("turnpike_router_decisions_dropped", "Decision records that analytics never got.")

log = structlog.get_logger()

Waiting = tuple[DecisionRecord, str]
"""A record with the traceparent of its request."""


class Told:
    """The snapshots that went over one stream: each is told once a day, so that analytics knows which are in use."""

    def __init__(self) -> None:
        self._day: date | None = None
        self._ids: set[bytes] = set()

    def is_new(self, snapshot_id: bytes, day: date) -> bool:
        """True if a snapshot is to be sent with a decision of that day.

        Records come in the order in which requests ended, so that around midnight the days of their decisions mix: the
        day only rises, and what is told of a day before it is not remembered, as that is no use of this day's.
        """
        if self._day is None or day > self._day or len(self._ids) >= TOLD_MAX:
            self._day, self._ids = max(day, self._day or day), set()
        if snapshot_id in self._ids:
            return False
        if day == self._day:
            self._ids.add(snapshot_id)
        return True


class Decisions:
    """The `DecisionLog` port."""

    def __init__(self, analytics: Remote | None, *, kept: int) -> None:
        self._analytics = analytics
        self._stub = AnalyticsServiceStub(analytics.channel) if analytics is not None else None
        self._archive = Archive()
        self._boards = Boards()
        self._kept_max = kept
        self._kept: OrderedDict[str, DecisionRecord] = OrderedDict()
        self._by_request: dict[tuple[str, str], str] = {}
        self._buffer: deque[Waiting] = deque()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def record(self, record: DecisionRecord) -> None:
        self.keep(record)
        if self._stub is None:
            return
        if len(self._buffer) >= BUFFER_MAX:
            self._buffer.popleft()
            DROPPED.inc()
        self._buffer.append((record, tracing.traceparent()))
        self._filled.set()
        self._empty.clear()

    async def find(
        self, organisation_id: str, *, decision_id: str = "", request_id: str = ""
    ) -> decision_pb2.Decision | None:
        record = self._recent(organisation_id, decision_id, request_id)
        if record is not None:
            return to_pb_decision(record)
        answer = await self._recorded(organisation_id, decision_id, request_id, with_snapshots=False)
        return answer.decision if answer is not None else None

    async def replayable(
        self, organisation_id: str, *, decision_id: str = "", request_id: str = ""
    ) -> tuple[decision_pb2.Decision, Callable[[], Question]] | None:
        record = self._recent(organisation_id, decision_id, request_id)
        if record is not None:
            taken = self._archive.take(record.decision.question)
            packed = to_pb_record(record, taken)
            contents = {each.snapshot_id: each.content for each in taken.all}
        else:
            answer = await self._recorded(organisation_id, decision_id, request_id, with_snapshots=True)
            if answer is None:
                return None
            packed, contents = answer.packed, {each.snapshot_id: each.content for each in answer.snapshots}
        if not packed.HasField("inputs"):
            raise PreconditionFailed("What this decision was made from was not recorded.")
        return packed, partial(self._question, packed, contents)

    def _question(self, packed: decision_pb2.Decision, contents: Mapping[bytes, bytes]) -> Question:
        try:
            return from_pb_question(packed, contents, self._boards)
        except KeyError:
            raise PreconditionFailed("What this decision was made from is kept no longer.") from None
        except CodecError as error:
            raise PreconditionFailed(
                f"What this decision was made from cannot be read by this version: {error}."
            ) from None

    async def _recorded(
        self, organisation_id: str, decision_id: str, request_id: str, *, with_snapshots: bool
    ) -> pb.GetRecordResponse | None:
        if self._stub is None or self._analytics is None:
            return None
        request = pb.GetRecordRequest(organisation_id=organisation_id, with_snapshots=with_snapshots)
        if decision_id:
            request.decision_id = decision_id
        else:
            request.request_id = request_id
        try:
            return await self._analytics.unary(self._stub.GetRecord, request, timeout_s=FIND_TIMEOUT_S)
        except RemoteError as error:
            if error.reason == "NOT_FOUND":
                return None
            raise

    def _recent(self, organisation_id: str, decision_id: str, request_id: str) -> DecisionRecord | None:
        wanted = decision_id or self._by_request.get((organisation_id, request_id), "")
        record = self._kept.get(wanted)
        return record if record is not None and record.caller.organisation_id == organisation_id else None

    async def run(self) -> None:
        """Sends for ever, until it is cancelled."""
        if self._stub is None:
            return
        while True:
            try:
                await self._send_over_one_stream(self._stub)
            except (TurnpikeError, grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
                log.info("decision stream ended", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def drained(self, timeout_s: float) -> None:
        """Waits until everything is sent, at most so long."""
        if self._stub is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("decision records not sent", records=len(self._buffer))

    async def _send_over_one_stream(self, stub: "AnalyticsServiceAsyncStub") -> None:
        assert self._analytics is not None
        call = stub.RecordDecisions(metadata=self._analytics.metadata())
        told = Told()
        try:
            for number in itertools.count(1):
                await self._filled.wait()
                await asyncio.sleep(GATHER_S)
                batch = list(itertools.islice(self._buffer, BATCH_MAX))
                request, batch = await self._request_of(number, batch, told)
                if not request.decisions:  # none of them can be told
                    self._let_rest()
                    continue
                async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
                    await call.write(request)
                    answer = await call.read()
                if answer is grpc.aio.EOF:
                    return
                # Only what was acknowledged leaves the buffer; what is sent twice analytics knows by its id.
                sent = set(map(id, batch))
                while self._buffer and id(self._buffer[0]) in sent:
                    self._buffer.popleft()
                self._let_rest()
        finally:
            call.cancel()

    def _let_rest(self) -> None:
        if not self._buffer:
            self._filled.clear()
            self._empty.set()

    async def _request_of(
        self, number: int, batch: Sequence[Waiting], told: "Told"
    ) -> tuple[pb.RecordDecisionsRequest, list[Waiting]]:
        """A message, and which of the batch are in it: its first ones, without those that cannot be told.

        The latter are dropped, as they never will be: one record must not keep the others.
        """
        request = pb.RecordDecisionsRequest(batch_id=number)
        within: set[bytes] = set()  # no name comes twice in one request, whatever was forgotten meanwhile
        packed: list[Waiting] = []
        failed: list[Waiting] = []
        size = 0
        for place, waiting in enumerate(batch, 1):
            if place % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            record, traceparent = waiting
            message = request.decisions.add()
            try:
                taken = self._archive.take(record.decision.question)
                fill_pb_record(message, record, taken)
            except Exception:  # whatever it is, it is this record's
                log.exception("decision record dropped", decision_id=record.decision_id)
                del request.decisions[-1]
                failed.append(waiting)
                continue
            request.traceparents.append(traceparent)
            packed.append(waiting)
            size += message.ByteSize()
            for each in taken.all:
                is_new = told.is_new(each.snapshot_id, record.decided_at.date())
                if is_new and each.snapshot_id not in within:
                    within.add(each.snapshot_id)
                    request.snapshots.add(snapshot_id=each.snapshot_id, content=each.content)
                    size += len(each.content)
            if size >= BATCH_BYTES_MAX:
                break
        self._drop(failed)
        return request, packed

    def _drop(self, failed: Sequence[Waiting]) -> None:
        if failed:
            before, dropped = len(self._buffer), set(map(id, failed))
            self._buffer = deque(each for each in self._buffer if id(each) not in dropped)
            DROPPED.inc(before - len(self._buffer))  # not those that a full buffer dropped meanwhile

    def keep(self, record: DecisionRecord) -> None:
        if self._kept_max == 0:
            return
        self._kept[record.decision_id] = record
        self._by_request[record.caller.organisation_id, record.request_id] = record.decision_id
        while len(self._kept) > self._kept_max:
            _, old = self._kept.popitem(last=False)
            key = (old.caller.organisation_id, old.request_id)
            if self._by_request.get(key) == old.decision_id:
                del self._by_request[key]
