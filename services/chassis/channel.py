"""Calls to another service of ours: identity, trace context and deadline go along, failures come back typed.

    async with connect("budget", settings.budget_target, token=settings.service_token) as budget:
        stub = BudgetServiceStub(budget.channel)
        held = await budget.unary(stub.Hold, request, timeout_s=2.0)
        async with budget.stream(stub.WatchDirectory, request) as updates:
            async for update in updates: ...

Nothing is retried here: a retry is a decision of whoever knows whether it is safe (OutcomeUnknown says that it needs
the same id). When the other service is down a call fails at once with ServiceUnavailable; the channel heals by itself.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from services.chassis import attributes as names
from services.chassis import tracing
from services.chassis.call import timeout_s as carried_timeout_s
from services.chassis.service_settings import ANSWER_BYTES_MAX
from services.chassis.status import error_from_rpc

Request = TypeVar("Request")
Response = TypeVar("Response")

# A dead peer is noticed within 30 s even while nothing is asked, and within 10 s more.
PING_INTERVAL_MS = 30_000
PING_TIMEOUT_MS = 10_000
# How soon a peer that was away is tried again: short, because a restart takes about a second.
RECONNECT_MS_MIN = 100
RECONNECT_MS_MAX = 2_000
# How long one attempt may take (gRPC calls it min_reconnect_backoff): a busy machine needs more than an instant.
CONNECT_MS = 5_000

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.keepalive_time_ms", PING_INTERVAL_MS),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_MIN),
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_send_message_length", -1),  # how much it takes is the other side's to say
    # The proxy of an environment (https_proxy) is for whom is outside; a deployment's services are beside each other.
    ("grpc.enable_http_proxy", 0),
    # Replicas behind headless DNS (dns:///budget:50051) each get their share of the calls.
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    # Each of our channels has connections of its own, so that closing one does what it says.
    ("grpc.use_local_subchannel_pool", 1),
)


class Remote:
    """Another service, over one channel. Made by `connect`."""

    def __init__(self, service: str, channel: grpc.aio.Channel, token: str | None) -> None:
        self.service = service
        self.channel = channel
        self._identity = (("authorization", f"Bearer {token}"),) if token else ()

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with a call now: our identity and the current span."""
        traceparent = tracing.traceparent()
        return (*self._identity, ("traceparent", traceparent)) if traceparent else self._identity

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float,
    ) -> Response:
        """Calls `method`, for at most `timeout_s` seconds and never longer than what is left of the current deadline.

        Raises what the service answered as RemoteError, ServiceUnavailable, OutcomeUnknown or DeadlineExceeded.
        """
        name = _name(method)
        timeout = carried_timeout_s(name, at_most=timeout_s)
        with tracing.span(name, {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name}, kind=tracing.Kind.CLIENT):
            try:
                return await method(request, timeout=timeout, metadata=self.metadata())
            except grpc.aio.AioRpcError as failure:
                raise error_from_rpc(failure, self.service, name) from failure

    @asynccontextmanager
    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[Response]]:
        """The responses of `method`, for the length of a block; leaving it cancels a call that has not ended.

        `timeout_s` bounds the whole stream, as does what is left of the current deadline; None: no bound, for a watch.
        Iterating raises as `unary` does.
        """
        name = _name(method)
        timeout = None if timeout_s is None else carried_timeout_s(name, at_most=timeout_s)
        with tracing.span(name, {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: name}, kind=tracing.Kind.CLIENT):
            call = method(request, timeout=timeout, metadata=self.metadata())
            try:
                yield self._responses(call, name)
            finally:
                call.cancel()

    async def _responses(
        self, call: grpc.aio.UnaryStreamCall[Any, Response], name: str
    ) -> AsyncIterator[Response]:
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as failure:
            raise error_from_rpc(failure, self.service, name) from failure


@asynccontextmanager
async def connect(service: str, target: str, *, token: str | None = None) -> AsyncIterator[Remote]:
    """A channel to `service` at `target` (`host:port` or a gRPC target), closed when the block ends.

    Connecting happens with the first call, and again whenever the connection was lost: a service that is not there yet
    is no error here.
    """
    channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
    try:
        yield Remote(service, channel, token)
    finally:
        await channel.close()


def _name(method: object) -> str:
    path: Iterable[int] = method._method  # type: ignore[attr-defined]  # grpc.aio offers no public way to its name
    return bytes(path).decode().removeprefix("/")
