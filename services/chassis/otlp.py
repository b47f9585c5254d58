"""Sends ended spans to a collector by OTLP over gRPC, off the hot path.

A bounded queue takes spans; one task encodes them in small slices (so that the event loop is never held for long) and
sends them in batches. A collector that is slow or away costs spans, never requests: the oldest are kept, new ones are
dropped and counted, and the loss is logged once when it begins and once when it ends.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

import grpc
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from services.chassis.metrics import SPANS_DROPPED
from services.chassis.tasks import end
from services.chassis.tracing import AttributeValue, Span

QUEUE_MAX = 8192  # some 16 MB of spans at most; four seconds of them at 2000 a second
BATCH_MAX = 512
SLICE = 32  # spans encoded at a stretch: under a millisecond
INTERVAL_S = 1.0  # how long a span waits for company
SEND_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 3.0  # how long shutdown waits for the last spans


class OtlpSink:
    """A tracing sink that exports to the collector at `endpoint` (`http://host:4317` or https)."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]) -> None:
        self._endpoint = urlsplit(endpoint)
        self._resource = Resource(attributes=_attributes(resource))
        self._queue: deque[Span] = deque()
        self._enough = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def take(self, span: Span) -> None:
        """Queues a span; drops it when the queue is full or closed."""
        if self._closing or len(self._queue) >= QUEUE_MAX:
            SPANS_DROPPED.inc()
            return
        self._queue.append(span)
        if len(self._queue) >= BATCH_MAX:
            self._enough.set()

    def start(self) -> None:
        """Begins to export, in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="otlp-export")

    async def close(self) -> None:
        """Sends what is queued, within CLOSE_TIMEOUT_S."""
        self._closing = True
        self._enough.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)
            await end(self._task)

    async def _run(self) -> None:
        address = f"{self._endpoint.hostname}:{self._endpoint.port or 4317}"
        channel = (
            grpc.aio.secure_channel(address, grpc.ssl_channel_credentials())
            if self._endpoint.scheme == "https"
            else grpc.aio.insecure_channel(address)
        )
        async with channel:
            stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
            while self._queue or not self._closing:
                if not self._closing:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._enough.wait(), INTERVAL_S)
                    self._enough.clear()
                if self._queue:
                    await self._send(
                        stub, [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
                    )

    async def _send(self, stub: TraceServiceStub, spans: list[Span]) -> None:
        encoded: list[OtlpSpan] = []
        for begin in range(0, len(spans), SLICE):
            encoded.extend(encode(span) for span in spans[begin : begin + SLICE])
            await asyncio.sleep(0)
        scope = ScopeSpans(scope=InstrumentationScope(name="turnpike"), spans=encoded)
        request = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scope])]
        )
        log = structlog.get_logger()
        try:
            await stub.Export(request, timeout=SEND_TIMEOUT_S)
        except grpc.RpcError as error:
            SPANS_DROPPED.inc(len(spans))
            if not self._failing:
                self._failing = True
                log.warning("traces are lost", collector=self._endpoint.netloc, status=error.code().name)
            return
        if self._failing:
            self._failing = False
            log.info("traces are sent again", collector=self._endpoint.netloc)


def encode(span: Span) -> OtlpSpan:
    """An ended span as OTLP."""
    message = OtlpSpan(
        trace_id=span.trace_id.to_bytes(16, "big"),
        span_id=span.span_id.to_bytes(8, "big"),
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]  # Kind has OTLP's numbers
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(span.attributes),
        dropped_events_count=span.events_dropped,
    )
    if span.parent_id:
        message.parent_span_id = span.parent_id.to_bytes(8, "big")
    for name, time_ns, attributes in span.events:
        message.events.add(name=name, time_unix_nano=time_ns, attributes=_attributes(attributes))
    if span.error_description is not None:
        message.status.code = Status.STATUS_CODE_ERROR
        message.status.message = span.error_description
    return message


def _attributes(attributes: Mapping[str, AttributeValue] | Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: AttributeValue) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=value)
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))
