"""What a router tells analytics of its decisions: every record, each snapshot once a day, whatever else goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc

from services.chassis.channel import connect
from services.kernel.ids import DecisionId
from services.router.adapters.decisions import Decisions
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
    server = grpc.aio.server()
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


def record(name: str, at: datetime, decision: Decision, **more: object) -> DecisionRecord:
    return DecisionRecord(
        decision_id=DecisionId(name),
        request_id=f"request of {name}",
        caller=Caller("org", "team", "project", "key", ""),
        decided_at=at,
        decision=decision,
        streamed=False,
        metadata={},
        **more,  # type: ignore[arg-type]
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
