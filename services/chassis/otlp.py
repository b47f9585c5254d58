"""Sends ended spans to a collector by OTLP over gRPC, off the hot path.

A bounded queue takes spans; one task encodes them in small slices (so that the event loop is never held for long) and
sends them in batches. A collector that is slow or away costs spans, never requests: the oldest are kept, new ones are
dropped and counted, and the loss is logged once when it begins and once when it ends.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import grpc
import structlog
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from services.chassis.metrics import SPANS_DROPPED
from services.chassis.otlp_wire import encode, request
from services.chassis.tasks import end
from services.chassis.tracing import Span

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
Export = Any  # a grpc.aio callable that takes and gives bytes

QUEUE_MAX = 8192  # some 16 MB of spans at most; four seconds of them at 2000 a second
BATCH_MAX = 512
SLICE = 64  # spans encoded at a stretch: half a millisecond
INTERVAL_S = 1.0  # how long a span waits for company
SEND_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 3.0  # how long shutdown waits for the last spans


class OtlpSink:
    """A tracing sink that exports to the collector at `endpoint` (`http://host:4317` or https)."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]) -> None:
        self._endpoint = urlsplit(endpoint)
        named = [KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in resource.items()]
        self._resource = Resource(attributes=named).SerializeToString()
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
            export: Export = channel.unary_unary(METHOD)  # bytes there, bytes back
            while self._queue or not self._closing:
                if not self._closing:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._enough.wait(), INTERVAL_S)
                    self._enough.clear()
                if self._queue:
                    batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
                    await self._send(export, batch)

    async def _send(self, export: Export, spans: list[Span]) -> None:
        encoded: list[bytes] = []
        for begin in range(0, len(spans), SLICE):
            encoded.extend(encode(span) for span in spans[begin : begin + SLICE])
            await asyncio.sleep(0)
        log = structlog.get_logger()
        try:
            await export(request(self._resource, encoded), timeout=SEND_TIMEOUT_S)
        except grpc.RpcError as error:
            SPANS_DROPPED.inc(len(spans))
            if not self._failing:
                self._failing = True
                log.warning("traces are lost", collector=self._endpoint.netloc, status=error.code().name)
            return
        if self._failing:
            self._failing = False
            log.info("traces are sent again", collector=self._endpoint.netloc)
