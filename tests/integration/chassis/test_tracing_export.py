"""Spans arrive at a collector that speaks OTLP, and a collector that is away costs nothing but spans."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from services.chassis import attributes, tracing
from services.chassis.app import serving
from services.chassis.channel import connect
from services.chassis.metrics import SPANS_DROPPED
from services.chassis.otlp import QUEUE_MAX, OtlpSink
from services.kernel.errors import StoreUnavailable
from tests.support.echo import EchoSettings, EchoStub, echo_app


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    address: str = ""
    spans: list[tuple[str, Span]] = field(default_factory=list)

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}[
                "service.name"
            ]
            self.spans.extend((service, span) for scope in resource.scope_spans for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    servicer, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    servicer.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servicer
    await server.stop(0)


async def test_one_trace_spans_client_and_server(collector: Collector) -> None:
    settings = EchoSettings(otlp_endpoint=collector.address)
    async with serving(echo_app(), settings) as running, connect("echo", str(running.address)) as remote:
        with tracing.Tracer("test").span("outer") as outer:
            await remote.unary(EchoStub(remote.channel).Say, StringValue(value="hello"), timeout_s=5)
            with pytest.raises(Exception, match="postgres"):
                await remote.unary(EchoStub(remote.channel).Say, StringValue(value="refuse"), timeout_s=5)
    (service, good), (_, bad) = collector.spans
    assert service == "echo"
    assert good.trace_id == bad.trace_id == outer.trace_id.to_bytes(16, "big")
    assert good.kind == Span.SPAN_KIND_SERVER
    assert good.status.code == Status.STATUS_CODE_UNSET
    assert bad.status.code == Status.STATUS_CODE_ERROR
    named = {one.key: one.value.string_value for one in bad.attributes}
    assert named[attributes.ERROR_TYPE] == "STORE_UNAVAILABLE"
    assert named[attributes.RPC_STATUS] == "UNAVAILABLE"


async def test_a_span_has_parent_events_and_attributes(collector: Collector) -> None:
    sink = OtlpSink(collector.address, {"service.name": "test"})
    sink.start()
    tracer = tracing.Tracer("test", sink=sink)
    with tracer.span(
        "outer", {"text": "a", "number": 1, "yes": True, "share": 0.5, "several": ["x", "y"]}
    ) as outer:
        with tracing.span("inner", kind=tracing.Kind.CLIENT) as inner:
            inner.event(attributes.CANDIDATE_DROPPED_EVENT, {attributes.CANDIDATE_RULE: "access.denied"})
        with pytest.raises(RuntimeError), tracing.span("broken"):
            raise RuntimeError("hunter2")
    await sink.close()
    spans = {span.name: span for _, span in collector.spans}
    assert spans["inner"].parent_span_id == spans["broken"].parent_span_id == outer.span_id.to_bytes(8, "big")
    assert spans["inner"].events[0].name == attributes.CANDIDATE_DROPPED_EVENT
    assert spans["broken"].status.message == "RuntimeError", "the text of foreign errors may hold anything"
    values = {one.key: one.value for one in spans["outer"].attributes}
    assert values["number"].int_value == 1
    assert values["yes"].bool_value is True
    assert [value.string_value for value in values["several"].array_value.values] == ["x", "y"]
    assert spans["outer"].end_time_unix_nano >= spans["outer"].start_time_unix_nano


async def test_a_trace_that_was_not_chosen_leaves_only_its_failures(collector: Collector) -> None:
    sink = OtlpSink(collector.address, {"service.name": "test"})
    sink.start()
    tracer = tracing.Tracer("test", ratio=0.0, sink=sink)
    with tracer.span("fine") as fine, tracing.span("child"):
        assert fine.traceparent.endswith("-00")
    with pytest.raises(StoreUnavailable), tracer.span("refused"):
        raise StoreUnavailable("postgres")
    await sink.close()
    assert [span.name for _, span in collector.spans] == ["refused"]


async def test_a_collector_that_is_away_costs_only_spans(unused_tcp_port: int) -> None:
    sink = OtlpSink(f"http://127.0.0.1:{unused_tcp_port}", {"service.name": "test"})
    dropped = SPANS_DROPPED._value.get()
    tracer = tracing.Tracer("test", sink=sink)
    for _ in range(QUEUE_MAX + 10):
        tracer.span("lost").end()
    assert SPANS_DROPPED._value.get() - dropped == 10
    sink.start()
    await asyncio.wait_for(sink.close(), 10)
