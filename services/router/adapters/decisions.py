"""Keeps decisions of late in memory and sends every record to the analytics service, at least once, in batches.

While analytics is away records wait in a bounded buffer; when it is full the oldest is dropped and counted. Nothing
here is ever in a request's way.
"""

import asyncio
import itertools
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import grpc
import structlog
from prometheus_client import Counter

from services.chassis import tracing
from services.chassis.channel import Remote
from services.chassis.status import RemoteError
from services.kernel.errors import TurnpikeError
from services.router.convert_decision import to_pb_decision, to_pb_record
from services.router.records import DecisionRecord
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from turnpike.router.v1 import decision_pb2

if TYPE_CHECKING:
    from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceAsyncStub

BUFFER_MAX = 20_000
"""Records that wait for analytics: some minutes of a busy router, at about 3 KB each."""

BATCH_MAX = 200
GATHER_S = 0.25
"""Records are gathered this long: dashboards may lag so much, and a batch costs a fraction of single messages."""

ACKNOWLEDGED_WITHIN_S = 10.0
RECONNECT_S = 1.0
FIND_TIMEOUT_S = 2.0

DROPPED = Counter("turnpike_router_decisions_dropped", "Decision records that analytics never got.")

log = structlog.get_logger()


class Decisions:
    """The `DecisionLog` port."""

    def __init__(self, analytics: Remote | None, *, kept: int) -> None:
        self._analytics = analytics
        self._stub = AnalyticsServiceStub(analytics.channel) if analytics is not None else None
        self._kept_max = kept
        self._kept: OrderedDict[str, DecisionRecord] = OrderedDict()
        self._by_request: dict[tuple[str, str], str] = {}
        self._buffer: deque[tuple[DecisionRecord, str]] = deque()  # with the traceparent of its request
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
        record = self.recent(organisation_id, decision_id=decision_id, request_id=request_id)
        if record is not None:
            return to_pb_decision(record)
        if self._stub is None or self._analytics is None:
            return None
        request = pb.GetDecisionRequest(organisation_id=organisation_id)
        if decision_id:
            request.decision_id = decision_id
        else:
            request.request_id = request_id
        try:
            answer = await self._analytics.unary(self._stub.GetDecision, request, timeout_s=FIND_TIMEOUT_S)
        except RemoteError as error:
            if error.reason == "NOT_FOUND":
                return None
            raise
        return answer.decision

    def recent(
        self, organisation_id: str, *, decision_id: str = "", request_id: str = ""
    ) -> DecisionRecord | None:
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
        try:
            for number in itertools.count(1):
                await self._filled.wait()
                await asyncio.sleep(GATHER_S)
                batch = list(itertools.islice(self._buffer, BATCH_MAX))
                request = pb.RecordDecisionsRequest(
                    batch_id=number,
                    decisions=[to_pb_record(record) for record, _ in batch],
                    traceparents=[traceparent for _, traceparent in batch],
                )
                async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
                    await call.write(request)
                    answer = await call.read()
                if answer is grpc.aio.EOF:
                    return
                # Only what was acknowledged leaves the buffer; what is sent twice analytics knows by its id.
                sent = set(map(id, batch))
                while self._buffer and id(self._buffer[0]) in sent:
                    self._buffer.popleft()
                if not self._buffer:
                    self._filled.clear()
                    self._empty.set()
        finally:
            call.cancel()

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
