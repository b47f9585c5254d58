"""One request is one trace over all services, sent as OTLP to a collector, whatever becomes of the request."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.stack_process import StackProcess, stack, until

pytestmark = pytest.mark.timeout(240)
GENERATE = "turnpike.router.v1.RouterService/StreamGenerate"
ROOT = f"router: {GENERATE}"
ATTEMPTED = "providers: turnpike.providers.v1.ProviderService/Dispatch/attempt"
COMMITTED = "budget: turnpike.budget.v1.BudgetService/Apply/commit"
RECORDED = "analytics: decision.record"


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    spans: list[tuple[str, Span]] = field(default_factory=list)

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}[
                "service.name"
            ]
            self.spans.extend((service, span) for scope in resource.scope_spans for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def traces(self) -> dict[bytes, list[tuple[str, Span]]]:
        """The spans by their trace."""
        found: dict[bytes, list[tuple[str, Span]]] = {}
        for service, span in list(self.spans):
            found.setdefault(span.trace_id, []).append((service, span))
        return found

    def requests(self) -> list[list[tuple[str, Span]]]:
        """The traces of requests to the router, oldest first."""
        return [spans for spans in self.traces().values() if any(span.name == GENERATE for _, span in spans)]


@contextlib.contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector, server = Collector(), grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StackProcess, Collector]]:
    with collecting() as (collector, endpoint):
        folder = tmp_path_factory.mktemp("traced") / "state"
        with stack(folder, "--demo", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as road:
            road.wait_for("Ctrl-C stops it")
            yield road, collector


def ask(road: StackProcess, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "ask", *arguments],
        env={**os.environ, "TURNPIKE_STATE_DIR": str(road.state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has Ctrl-C ignored for all below; a person at a terminal has not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def parents(spans: list[tuple[str, Span]]) -> dict[str, str]:
    """Each span's name with its parent's; the root's parent is empty. A parent that is missing is an error."""
    names = {span.span_id: f"{service}: {span.name}" for service, span in spans} | {b"": ""}
    return {f"{service}: {span.name}": names[span.parent_span_id] for service, span in spans}


def has(collector: Collector, count: int, *wanted: str) -> bool:
    """Whether there are `count` requests and the newest has these spans. Each service sends its own when it will."""
    requests = collector.requests()
    if len(requests) < count:
        return False
    return set(wanted) <= {f"{service}: {span.name}" for service, span in requests[-1]}


def failed(spans: list[tuple[str, Span]]) -> set[str]:
    return {
        f"{service}: {span.name}" for service, span in spans if span.status.code == Status.STATUS_CODE_ERROR
    }


def test_a_request_is_one_trace_over_all_services(traced: tuple[StackProcess, Collector]) -> None:
    _, collector = traced  # the demo has asked its first question already
    until(
        lambda: has(collector, 1, ROOT, RECORDED, COMMITTED, "router: attempt 1", ATTEMPTED),
        "the whole trace",
    )
    (spans,) = collector.requests()
    chat = next(
        span.name for service, span in spans if service == "providers" and span.kind == Span.SPAN_KIND_CLIENT
    )
    root = ROOT
    assert parents(spans) == {
        root: "",
        "router: authenticate": root,
        "router: route.decide": root,
        "router: budget.hold": root,
        "budget: turnpike.budget.v1.BudgetService/Apply/hold": "router: budget.hold",
        "router: attempt 1": root,
        "providers: turnpike.providers.v1.ProviderService/Dispatch/attempt": "router: attempt 1",
        f"providers: {chat}": "providers: turnpike.providers.v1.ProviderService/Dispatch/attempt",
        "router: budget.commit": root,
        "budget: turnpike.budget.v1.BudgetService/Apply/commit": "router: budget.commit",
        "analytics: decision.record": root,
    }
    assert failed(spans) == set()
    attributes = {one.key for _, span in spans for one in span.attributes}
    assert {"gen_ai.provider.name", "gen_ai.request.model", "gen_ai.usage.input_tokens"} <= attributes


def test_a_refused_request_says_why(traced: tuple[StackProcess, Collector]) -> None:
    road, collector = traced
    before = len(collector.requests())
    assert ask(road, "--model", "local/nobody", "Say yes.").wait(60) != 0
    until(lambda: has(collector, before + 1, ROOT, "router: route.decide"), "the trace of a refused request")
    spans = collector.requests()[-1]
    assert failed(spans) == {f"router: {GENERATE}", "router: route.decide"}
    assert not [span for service, span in spans if service == "providers"], "nobody was called"


def test_a_cancelled_request_ends_its_spans(traced: tuple[StackProcess, Collector]) -> None:
    road, collector = traced
    before = len(collector.requests())
    asking = ask(road, "--max-output-tokens", "400", "Tell a long story about a road.")
    assert asking.stdout is not None
    assert asking.stdout.read(1), "the answer has begun"
    asking.send_signal(signal.SIGINT)
    asking.wait(30)
    # What was used is charged, and the decision recorded.
    until(lambda: has(collector, before + 1, ROOT, RECORDED, COMMITTED), "the trace of a cancelled request")
    assert ROOT in failed(collector.requests()[-1])
