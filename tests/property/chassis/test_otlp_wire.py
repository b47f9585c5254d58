"""What is written by hand is what protobuf's own code reads."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from services.chassis.otlp_wire import encode, request
from services.chassis.tracing import Kind, RemoteParent, Tracer

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
values = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(texts, max_size=3),
)
attributes = st.dictionaries(texts.filter(bool), values, max_size=6)
parents = st.one_of(
    st.none(), st.builds(RemoteParent, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.just(True))
)


def read(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [item.string_value for item in value.array_value.values]
    return getattr(value, str(kind))


@settings(deadline=None)  # how long an example takes says nothing on a busy machine
@given(
    name=texts,
    found=attributes,
    kind=st.sampled_from(Kind),
    parent=parents,
    events=st.lists(st.tuples(texts, attributes), max_size=3),
    error=st.none() | texts,
)
def test_every_span_survives(
    name: str, found: Any, kind: Kind, parent: RemoteParent | None, events: Any, error: str | None
) -> None:
    span = Tracer("test").span(name, found, kind=kind, parent=parent)
    for event, facts in events:
        span.event(event, facts)
    span.events_dropped = len(name)
    span.error_description = error
    span.end()
    written = OtlpSpan.FromString(encode(span))
    assert written.trace_id == span.trace_id.to_bytes(16, "big")
    assert written.span_id == span.span_id.to_bytes(8, "big")
    assert written.parent_span_id == (parent.span_id.to_bytes(8, "big") if parent else b"")
    assert (written.name, int(written.kind)) == (name, int(kind))
    assert (written.start_time_unix_nano, written.end_time_unix_nano) == (span.start_ns, span.end_ns)
    assert {one.key: read(one.value) for one in written.attributes} == found
    assert [
        (one.name, {two.key: read(two.value) for two in one.attributes}) for one in written.events
    ] == events
    assert [one.time_unix_nano for one in written.events] == [time_ns for _, time_ns, _ in span.events]
    assert written.dropped_events_count == len(name)
    assert written.status.message == (error or "")
    assert written.status.code == (Status.STATUS_CODE_UNSET if error is None else Status.STATUS_CODE_ERROR)
    assert not OtlpSpan.FromString(encode(span)).trace_state, "nothing is written that is not asked for"


def test_what_is_equal_and_of_another_kind_stays_apart() -> None:
    kinds = []
    for value in (1, True, 1.0, "1"):
        span = Tracer("test").span("one", {"value": value})
        kinds.append(OtlpSpan.FromString(encode(span)).attributes[0].value.WhichOneof("value"))
    assert kinds == ["int_value", "bool_value", "double_value", "string_value"]


def test_a_request_carries_them_all() -> None:
    spans = [Tracer("test").span(f"span {number}" * number) for number in range(40)]
    for span in spans:
        span.end()
    resource = Resource(dropped_attributes_count=3)
    written = ExportTraceServiceRequest.FromString(
        request(resource.SerializeToString(), [encode(span) for span in spans])
    )
    (one,) = written.resource_spans
    (scope,) = one.scope_spans
    assert one.resource == resource
    assert scope.scope.name == "turnpike"
    assert [span.name for span in scope.spans] == [span.name for span in spans]
