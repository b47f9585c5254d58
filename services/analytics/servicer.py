"""AnalyticsService: protobuf in, protobuf out."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from google.protobuf.duration_pb2 import Duration

from services.access import AdminCaller
from services.analytics import convert, convert_reports
from services.analytics.ports import UsageStore
from services.analytics.use_cases.decisions import Decisions
from services.analytics.use_cases.export import ExportUsage
from services.analytics.use_cases.forecast import ForecastSpend
from services.analytics.use_cases.savings import QuerySavings
from services.analytics.use_cases.tail import FollowLedger
from services.analytics.use_cases.usage import QueryUsage
from services.analytics.use_cases.waste import QueryWaste
from services.analytics.use_cases.watch import WatchUsage
from services.chassis import tracing
from services.chassis.auth import Authenticator
from services.chassis.call import Call, current_call
from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceServicer


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the service does."""

    decisions: Decisions
    query_usage: QueryUsage
    watch_usage: WatchUsage
    forecast_spend: ForecastSpend
    query_savings: QuerySavings
    query_waste: QueryWaste
    export_usage: ExportUsage


class AnalyticsServicer(AnalyticsServiceServicer):
    """Converts, calls, converts. bootstrap.py lets routers record and admins ask."""

    def __init__(
        self,
        do: UseCases,
        usage: UsageStore,
        following: FollowLedger,
        admins: Authenticator,
        clock: Clock,
    ) -> None:
        """`admins` says whether a watcher's token still works."""
        self._do = do
        self._usage = usage
        self._following = following
        self._admins = admins
        self._clock = clock

    async def RecordDecisions(
        self, request_iterator: AsyncIterator[pb.RecordDecisionsRequest], context: object
    ) -> AsyncIterator[pb.RecordDecisionsResponse]:
        """Answers a batch once it is stored; a batch without an answer is to be sent again."""
        async for batch in request_iterator:
            with tracing.below(batch.traceparents, "decision.record"):
                recorded = await self._do.decisions.record(
                    [convert.from_pb_decision(each) for each in batch.decisions],
                    convert.from_pb_snapshots(batch.snapshots),
                )
            yield pb.RecordDecisionsResponse(batch_id=batch.batch_id, recorded=recorded)

    async def QueryUsage(self, request: pb.QueryUsageRequest, context: object) -> pb.QueryUsageResponse:
        """Sums usage and cost by time and dimensions."""
        query = convert.from_pb_usage_query(request, _admin(), self._clock.now())
        answer = await self._do.query_usage(query, request.page_token)
        return convert.to_pb_usage(answer, query.scope.organisation_id)

    async def WatchUsage(
        self, request: pb.WatchUsageRequest, context: object
    ) -> AsyncIterator[pb.WatchUsageResponse]:
        """Streams what is consumed, as it is consumed."""
        call, since = _call(), convert_reports.from_pb_since(request)
        scope = convert.from_pb_scope(request.scope, _admin())
        watched = self._do.watch_usage(scope, since, request.updates_per_second, lambda: self._admins(call))
        async with aclosing(watched) as news:
            async for each in news:
                yield convert_reports.to_pb_news(each)

    async def ForecastSpend(
        self, request: pb.ForecastSpendRequest, context: object
    ) -> pb.ForecastSpendResponse:
        """Says what will have been spent by a date, with an interval."""
        scope, until = convert.from_pb_scope(request.scope, _admin()), convert_reports.from_pb_until(request)
        made = await self._do.forecast_spend(scope, until, request.time_zone or "UTC")
        return convert_reports.to_pb_forecast(made)

    async def QuerySavings(self, request: pb.QuerySavingsRequest, context: object) -> pb.QuerySavingsResponse:
        """Compares what was spent with what a baseline would have cost."""
        asked = convert_reports.from_pb_breakdown(request, _admin(), self._clock.now())
        return convert_reports.to_pb_savings(await self._do.query_savings(asked, request.baseline_model))

    async def ListDecisions(
        self, request: pb.ListDecisionsRequest, context: object
    ) -> pb.ListDecisionsResponse:
        """Lists decision records, newest first."""
        query = convert.from_pb_decision_query(request, _admin(), self._clock.now())
        records, next_token = await self._do.decisions.list(query, request.page_token)
        decisions = [convert.to_pb_decision(found.record) for found in records]
        return pb.ListDecisionsResponse(decisions=decisions, next_page_token=next_token)

    async def GetDecision(self, request: pb.GetDecisionRequest, context: object) -> pb.GetDecisionResponse:
        """Returns one decision record."""
        admin = _admin()
        if not request.decision_id and not request.request_id:
            raise InvalidRequest.of("name", "needs a decision_id or a request_id")
        convert.check_texts("name", request.organisation_id, request.decision_id, request.request_id)
        record = await self._do.decisions.get(
            admin.organisation(request.organisation_id),
            admin.team(""),
            decision_id=request.decision_id,
            request_id=request.request_id,
        )
        return pb.GetDecisionResponse(decision=convert.to_pb_decision(record))

    async def QueryWaste(self, request: pb.QueryWasteRequest, context: object) -> pb.QueryWasteResponse:
        """Lists money that bought nothing."""
        asked = convert_reports.from_pb_breakdown(request, _admin(), self._clock.now())
        return convert_reports.to_pb_waste(await self._do.query_waste(asked))

    async def ExportUsage(
        self, request: pb.ExportUsageRequest, context: object
    ) -> AsyncIterator[pb.ExportUsageResponse]:
        """Streams usage rows as a file in pieces."""
        scope = convert.from_pb_scope(request.scope, _admin())
        span = convert.from_pb_range("range", request.range, self._clock.now())
        wanted = convert_reports.from_pb_format(request.format)
        async with aclosing(self._do.export_usage(scope, span, wanted, request.resume_token)) as pieces:
            async for piece in pieces:
                yield convert_reports.to_pb_piece(piece)

    async def GetRecord(self, request: pb.GetRecordRequest, context: object) -> pb.GetRecordResponse:
        """Returns one decision record to a router, with what the decision was made from."""
        if not request.organisation_id:
            raise InvalidRequest.of("organisation_id", "is required")
        if not request.decision_id and not request.request_id:
            raise InvalidRequest.of("name", "needs a decision_id or a request_id")
        convert.check_texts("name", request.organisation_id, request.decision_id, request.request_id)
        record = await self._do.decisions.get(
            request.organisation_id, "", decision_id=request.decision_id, request_id=request.request_id
        )
        named = convert.snapshot_ids(record) if request.with_snapshots else []
        return convert.to_pb_record(record, await self._do.decisions.snapshots(named))

    async def GetFreshness(self, request: pb.GetFreshnessRequest, context: object) -> pb.GetFreshnessResponse:
        """Says up to where the ledger has been read."""
        found = await self._usage.freshness(_admin().organisation(request.organisation_id))
        silence_s = self._following.silence_s
        age = None if silence_s is None else Duration(nanos=int(silence_s % 1 * 1e9), seconds=int(silence_s))
        at = None if found is None or found.occurred_at is None else convert.to_pb_time(found.occurred_at)
        return pb.GetFreshnessResponse(
            ledger_sequence=0 if found is None else found.sequence, occurred_at=at, tail_age=age
        )


def _call() -> Call:
    call = current_call()
    assert call is not None
    return call


def _admin() -> AdminCaller:
    return cast(AdminCaller, _call().caller)
