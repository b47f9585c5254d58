"""Metrics in Prometheus' form: what the chassis counts, and where it is served.

A service declares its own with prometheus_client in the module that counts them, named `turnpike_<service>_…` with the
unit last. Labels come from closed sets (methods, reasons, statuses): never ids, never a caller's text.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from services.chassis.settings import Address

# From well under what a hop costs to the longest generations.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

CALLS = Counter("turnpike_calls", "Calls served, by outcome.", ["method", "status", "reason"])
CALL_SECONDS = Histogram("turnpike_call_seconds", "How long calls took.", ["method"], buckets=SECONDS)
CALLS_UNDER_WAY = Gauge("turnpike_calls_under_way", "Calls under way.")
SPANS_DROPPED = Counter("turnpike_spans_dropped", "Spans that could not be exported.")
BATCH_OPERATIONS = Histogram(
    "turnpike_batch_operations",
    "Operations in a batch that was sent.",
    ["stream"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)


@contextmanager
def exposition(listen: Address | None) -> Iterator[Address | None]:
    """Serves /metrics at `listen` for the length of the block; yields the address, with the port that was taken."""
    if listen is None:
        yield None
        return
    server, thread = start_http_server(listen.port, listen.host)
    try:
        yield Address(listen.host, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
