"""Fetches past decisions from the analytics service, on behalf of the admin who asks."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.call import current_call
from services.chassis.channel import Remote
from services.kernel.errors import NotImplementedYet
from services.router.convert_stored import from_pb_past
from services.router.use_cases.resimulate import Past
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub

PAGE_SIZE = 500
PAGE_TIMEOUT_S = 10.0


class RemotePast:
    """Past decisions, in pages. Who may see them is decided there, by the admin's own token."""

    def __init__(self, analytics: Remote | None) -> None:
        self._analytics = analytics

    async def pages(
        self, scope: pb.UsageScope, since: datetime, until: datetime
    ) -> AsyncIterator[Sequence[Past]]:
        """All of a scope and time, newest first."""
        call = current_call()
        if self._analytics is None or call is None:
            raise NotImplementedYet("/turnpike.router.v1.RouterAdminService/SimulatePolicy")
        asked = Remote("analytics", self._analytics.channel, call.bearer())
        stub = AnalyticsServiceStub(asked.channel)
        span = pb.TimeRange(**{"from": _timestamp(since), "until": _timestamp(until)})
        token = ""
        while True:
            request = pb.ListDecisionsRequest(page_size=PAGE_SIZE, page_token=token, scope=scope, range=span)
            answer = await asked.unary(stub.ListDecisions, request, timeout_s=PAGE_TIMEOUT_S)
            yield [from_pb_past(decision) for decision in answer.decisions]
            token = answer.next_page_token
            if not token:
                return


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
