"""The settings that every service has."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.chassis.settings import (
    Address,
    Problem,
    Secret,
    address,
    boolean,
    choice,
    env,
    integer,
    named_secrets,
    number,
    path,
    secret,
    url,
)

# The largest request a caller may send: long contexts with pictures, and less than half of what a vendor takes at once.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
# What a message may grow by on its way through our services: ids, the principal, a lease, the outcome of a request.
FORWARDED_BYTES_MORE = 1024 * 1024
# The largest answer to a caller: a few large pictures, as much as our own client takes.
ANSWER_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Base of each service's settings. A service overrides `listen` to have a port of its own."""

    listen: Address = env(
        "TURNPIKE_LISTEN",
        address,
        "Where the gRPC server listens; port 0 takes a free one.",
        default=Address("127.0.0.1", 0),
    )
    state_dir: Path = env(
        "TURNPIKE_STATE_DIR", path, "Folder for what a single machine keeps.", default=Path(".turnpike")
    )
    ready_file: Path | None = env(
        "TURNPIKE_READY_FILE", path, "File written with `host:port` once the service is ready.", default=None
    )
    reuse_port: bool = env(
        "TURNPIKE_REUSE_PORT", boolean, "Let several processes of this service share the port.", default=False
    )
    drain_s: float = env(
        "TURNPIKE_DRAIN_S",
        number(min=0, max=600),
        "How long calls may finish after a stop signal.",
        default=20.0,
    )
    deadline_s: float = env(
        "TURNPIKE_DEADLINE_S",
        number(min=0.1, max=3600),
        "Deadline of a unary call whose client set none; streams have none then.",
        default=60.0,
    )
    message_bytes_max: int = env(
        "TURNPIKE_MESSAGE_BYTES_MAX",
        integer(min=4096, max=256 * 1024 * 1024),
        "Largest message taken; larger ones get RESOURCE_EXHAUSTED.",
        default=MESSAGE_BYTES_MAX,
    )
    concurrent_calls_max: int = env(
        "TURNPIKE_CONCURRENT_CALLS_MAX",
        integer(min=1),
        "Calls under way at once; more get RESOURCE_EXHAUSTED.",
        default=4096,
    )
    reflection: bool = env("TURNPIKE_REFLECTION", boolean, "Serve gRPC reflection.", default=True)
    log_level: str = env(
        "TURNPIKE_LOG_LEVEL",
        choice("debug", "info", "warning", "error"),
        "From which level on to log.",
        default="info",
    )
    log_format: str = env(
        "TURNPIKE_LOG_FORMAT",
        choice("json", "console"),
        "One JSON object a line, or for people.",
        default="json",
    )
    access_log: str = env(
        "TURNPIKE_ACCESS_LOG",
        choice("all", "failures", "off"),
        "Which calls get a log line.",
        default="failures",
    )
    otlp_endpoint: str | None = env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        url("http", "https"),
        "Collector that takes traces by OTLP over gRPC. Not set: traces are not sent.",
        default=None,
    )
    trace_ratio: float = env(
        "TURNPIKE_TRACE_RATIO",
        number(min=0, max=1),
        "Share of traces that are recorded, decided where a trace begins.",
        default=1.0,
    )
    metrics: Address | None = env(
        "TURNPIKE_METRICS_LISTEN",
        address,
        "Where /metrics is served for Prometheus. Not set: nowhere.",
        default=None,
    )
    service_token: Secret | None = env(
        "TURNPIKE_SERVICE_TOKEN",
        secret,
        "This service's own token (tps_…), sent to other services.",
        default=None,
    )
    service_tokens: Mapping[str, Secret] = env(
        "TURNPIKE_SERVICE_TOKENS",
        named_secrets,
        "name=token of each service that may call this one.",
        default={},
    )

    def problems(self) -> Iterator[Problem]:
        """What only several values together show."""
        if self.service_token is not None and not self.service_token.startswith("tps_"):
            yield Problem("TURNPIKE_SERVICE_TOKEN", "must begin with tps_")
        for name, token in self.service_tokens.items():
            if not token.startswith("tps_"):
                yield Problem("TURNPIKE_SERVICE_TOKENS", f"the token of {name} must begin with tps_")
