"""Callers of the batch stream, as lean as they can be: what is measured is the service, not they.

A caller holds, waits for the grant, commits, waits for the receipt, and begins anew. All callers share one stream, and
what is ready to go leaves as one message, as the router's does.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import grpc

from services.chassis.channel import Remote
from tests.support.budget import MODEL, principal_of
from tests.support.budget_admin import Tenant
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.principal_pb2 import AttemptKey
from turnpike.common.v1.usage_pb2 import USAGE_SOURCE_VENDOR, Usage

BATCH_MAX = 512


@dataclass
class Measured:
    """What came of a run."""

    pairs: int = 0
    refused: int = 0
    seconds: float = 0.0
    hold_ms: list[float] = field(default_factory=list)
    commit_ms: list[float] = field(default_factory=list)
    pair_ms: list[float] = field(default_factory=list)

    def percentile(self, values: list[float], share: float) -> float:
        """Of latencies in milliseconds."""
        ordered = sorted(values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Stream:
    """One stream, its callers, and what is under way."""

    def __init__(self, remote: Remote, tenant: Tenant, prefix: str) -> None:
        self._remote = remote
        self._organisation_id = tenant.organisation.organisation_id
        self._prefix = prefix
        self._number = 0
        self._outbox: deque[pb.ApplyOperation] = deque()
        self._ready = asyncio.Event()
        self._began: dict[int, tuple[float, AttemptKey, float]] = {}
        self._terms = pb.HoldTerms(
            principal=principal_of(tenant),
            model=MODEL,
            amount=Money(nanos=1_000_000),
            input_tokens_bound=1000,
            output_tokens_bound=500,
            dimensions={"task": "chat"},
        )
        self._settlement = pb.Settlement(
            cost=Money(nanos=600_000),
            usage=Usage(
                input_tokens=900, output_tokens=300, cache_read_tokens=100, source=USAGE_SOURCE_VENDOR
            ),
            outcome=pb.SETTLEMENT_OUTCOME_SUCCEEDED,
            vendor_request_id="req_011CQ8x7",
        )
        self.measured = Measured()
        self.stopping = False

    def begin(self, scheduled: float | None = None) -> None:
        """One more pair begins; its latency counts from `scheduled`."""
        self._number += 1
        key = AttemptKey(
            organisation_id=self._organisation_id, request_id=f"{self._prefix}{self._number:010d}", attempt=1
        )
        operation_id = self._number * 2
        self._began[operation_id] = (scheduled or time.perf_counter(), key, 0.0)
        hold = pb.HoldRequest(key=key, terms=self._terms)
        self._put(pb.ApplyOperation(operation_id=operation_id, hold=hold))

    def _put(self, operation: pb.ApplyOperation) -> None:
        self._outbox.append(operation)
        self._ready.set()

    async def run(self, *, closed_loop: bool) -> None:
        """Carries the callers until `stopping` and nothing is under way."""
        call = BudgetServiceStub(self._remote.channel).Apply(metadata=self._remote.metadata())
        writer = asyncio.create_task(self._write(call))
        try:
            while not (self.stopping and not self._began):
                response = await call.read()
                if response is grpc.aio.EOF:
                    raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")
                assert isinstance(response, pb.ApplyResponse)
                self._take(response, closed_loop)
        finally:
            writer.cancel()
            call.cancel()

    async def _write(self, call: "grpc.aio.StreamStreamCall[pb.ApplyRequest, pb.ApplyResponse]") -> None:
        while True:
            await self._ready.wait()
            batch = [self._outbox.popleft() for _ in range(min(BATCH_MAX, len(self._outbox)))]
            if not self._outbox:
                self._ready.clear()
            await call.write(pb.ApplyRequest(operations=batch))

    def _take(self, response: pb.ApplyResponse, closed_loop: bool) -> None:
        now = time.perf_counter()
        measured = self.measured
        for result in response.results:
            began, key, held = self._began.pop(result.operation_id)
            kind = result.WhichOneof("result")
            if kind == "hold":
                measured.hold_ms.append((now - began) * 1000)
                operation_id = result.operation_id + 1
                self._began[operation_id] = (began, key, now)
                commit = pb.CommitRequest(key=key, settlement=self._settlement)
                self._put(pb.ApplyOperation(operation_id=operation_id, commit=commit))
                continue
            if kind == "commit":
                measured.pairs += 1
                measured.commit_ms.append((now - held) * 1000)
                measured.pair_ms.append((now - began) * 1000)
            else:
                measured.refused += 1
                if measured.refused < 3:
                    print("refused:", result.refusal.message)
            if closed_loop and not self.stopping:
                self.begin()


async def closed_loop(remote: Remote, tenant: Tenant, prefix: str, callers: int, seconds: float) -> Measured:
    """`callers` that each have one operation under way at any moment."""
    stream = Stream(remote, tenant, prefix)
    for _ in range(callers):
        stream.begin()
    asyncio.get_running_loop().call_later(seconds, setattr, stream, "stopping", True)
    begun = time.perf_counter()
    await stream.run(closed_loop=True)
    stream.measured.seconds = time.perf_counter() - begun
    return stream.measured


async def open_loop(remote: Remote, tenant: Tenant, prefix: str, rate: float, seconds: float) -> Measured:
    """`rate` pairs a second begin, whatever comes back; latency counts from the scheduled moment."""
    import random

    stream = Stream(remote, tenant, prefix)
    schedule = random.Random(7)

    async def arrive() -> None:
        due = time.perf_counter()
        end = due + seconds
        while due < end:
            due += schedule.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            stream.begin(due)
        stream.stopping = True

    begun = time.perf_counter()
    arrivals = asyncio.create_task(arrive())
    await stream.run(closed_loop=False)
    await arrivals
    stream.measured.seconds = time.perf_counter() - begun
    return stream.measured
