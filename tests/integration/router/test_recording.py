"""What a router tells analytics of its decisions: every record, each snapshot once a day, whatever else goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.chassis import tracing
from services.chassis.channel import connect
from services.chassis.service_settings import MESSAGE_BYTES_MAX
from services.kernel.ids import DecisionId
from services.router.adapters.decisions import BATCH_BYTES_MAX, Decisions
from services.router.domain.access import Caller
from services.router.domain.plan import Decision, decide
from services.router.records import DecisionRecord
from tests.support.boards import board, model, question
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.analytics.v1.analytics_pb2_grpc import (
    AnalyticsServiceServicer,
    add_AnalyticsServiceServicer_to_server,
)

MIDNIGHT = datetime(2026, 6, 30, tzinfo=UTC)
BEFORE, AFTER = MIDNIGHT - timedelta(seconds=1), MIDNIGHT + timedelta(seconds=1)
DRAINED_S = 10.0


class Recorder(AnalyticsServiceServicer):
    """Takes every batch."""

    def __init__(self) -> None:
        self.batches: list[pb.RecordDecisionsRequest] = []

    async def RecordDecisions(
        self, request_iterator: AsyncIterator[pb.RecordDecisionsRequest], context: object
    ) -> AsyncIterator[pb.RecordDecisionsResponse]:
        """Answers each."""
        async for batch in request_iterator:
            self.batches.append(batch)
            yield pb.RecordDecisionsResponse(batch_id=batch.batch_id, recorded=len(batch.decisions))

    @property
    def told(self) -> Iterator[str]:
        """The decisions that were told, in order."""
        return (each.decision_id for batch in self.batches for each in batch.decisions)


@asynccontextmanager
async def recorded_by(recorder: Recorder) -> AsyncIterator[Decisions]:
    """A router's log of decisions that sends to `recorder`."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)])
    add_AnalyticsServiceServicer_to_server(recorder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, None)
        remote = await stack.enter_async_context(connect("analytics", f"127.0.0.1:{port}"))
        decisions = Decisions(remote, kept=0)
        sending = asyncio.create_task(decisions.run())
        try:
            yield decisions
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def record(
    name: str, at: datetime, decision: Decision, metadata: Mapping[str, Any] | None = None
) -> DecisionRecord:
    return DecisionRecord(
        decision_id=DecisionId(name),
        request_id=f"request of {name}",
        caller=Caller("org", "team", "project", "key", ""),
        decided_at=at,
        decision=decision,
        streamed=False,
        metadata=metadata or {},
    )


def decided() -> Decision:
    return decide(question(board(model("vendor/small"), model("vendor/large"))))


async def test_days_that_mix_around_midnight_name_no_snapshot_twice() -> None:
    recorder, same = Recorder(), decided()
    async with recorded_by(recorder) as decisions:
        for name, at in (("a", BEFORE), ("b", AFTER), ("c", BEFORE), ("d", AFTER)):
            decisions.record(record(name, at, same))
        await decisions.drained(DRAINED_S)
        decisions.record(record("e", AFTER, same))
        await decisions.drained(DRAINED_S)
    first, second = recorder.batches
    assert list(recorder.told) == ["a", "b", "c", "d", "e"]
    names = [each.snapshot_id for each in first.snapshots]
    inputs = first.decisions[0].inputs
    assert len(names) == len(set(names))
    assert {inputs.board, inputs.weather, inputs.terms, inputs.estimates} <= set(names)
    assert list(second.snapshots) == []  # the day did not go back


async def test_a_new_day_is_told_everything_again() -> None:
    recorder, same = Recorder(), decided()
    async with recorded_by(recorder) as decisions:
        for name, at in (("a", BEFORE), ("b", AFTER)):
            decisions.record(record(name, at, same))
            await decisions.drained(DRAINED_S)
    first, second = recorder.batches
    assert {each.snapshot_id for each in first.snapshots} == {each.snapshot_id for each in second.snapshots}


async def test_one_record_that_cannot_be_told_costs_no_other() -> None:
    recorder, same, dropped = Recorder(), decided(), dropped_records()
    with capture_logs() as logs:
        async with recorded_by(recorder) as decisions:
            for name in ("a", "b", "c"):
                metadata = {"team": 7} if name == "b" else {"team": name}  # text alone goes on the wire
                with tracing.span(name, {}):
                    decisions.record(record(name, AFTER, same, metadata=metadata))
            await decisions.drained(DRAINED_S)
            decisions.record(
                record("d", AFTER, same, metadata={"team": 7})
            )  # alone: no batch without records
            await decisions.drained(DRAINED_S)
            decisions.record(record("e", AFTER, same))
            await decisions.drained(DRAINED_S)
    assert [[each.decision_id for each in batch.decisions] for batch in recorder.batches] == [
        ["a", "c"],
        ["e"],
    ]
    assert all(len(batch.traceparents) == len(batch.decisions) for batch in recorder.batches)
    assert dropped_records() - dropped == 2
    assert [each["decision_id"] for each in logs if each["event"] == "decision record dropped"] == ["b", "d"]


async def test_a_batch_ends_long_before_a_message_is_too_long() -> None:
    recorder, same = Recorder(), decided()
    large = {"note": "x" * 1_000_000}
    async with recorded_by(recorder) as decisions:
        for number in range(20):
            decisions.record(record(f"{number:02}", AFTER, same, metadata=large))
        await decisions.drained(DRAINED_S)
    assert list(recorder.told) == [f"{number:02}" for number in range(20)]
    assert max(batch.ByteSize() for batch in recorder.batches) < BATCH_BYTES_MAX + 1_100_000


def dropped_records() -> float:
    return REGISTRY.get_sample_value("turnpike_router_decisions_dropped_total") or 0.0
