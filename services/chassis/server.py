"""A grpc.aio server whose handlers all run inside the pipeline.

The pipeline is wrapped around a service's handlers once, when they are registered; an interceptor would cost a
coroutine and a lookup for each call. Response streams are driven from here, because grpc.aio does not close a
generator that it cancels at its `yield`: whatever a handler holds is given back when the call ends, however it ends.
"""

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from services.chassis.auth import Authenticator
from services.chassis.call import Call, CallKind
from services.chassis.pipeline import Pipeline
from services.chassis.service_settings import ANSWER_BYTES_MAX, ServiceSettings
from services.chassis.settings import Address
from services.chassis.status import to_grpc
from services.kernel.errors import NotImplementedYet, TurnpikeError

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stub alone, hence the quotes
Behaviour = Callable[[Any, Context], Any]

# A client that pings more often than this while nothing is under way is cut off; ours ping every 30 s.
CLIENT_PING_INTERVAL_MS_MIN = 10_000
# An idle connection is pinged, so that a peer which vanished without a word is noticed.
PING_INTERVAL_MS = 60_000
PING_TIMEOUT_MS = 20_000
# Headers carry a token, a trace context and little else; ErrorInfo details are kept below it (status.py).
METADATA_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Registration:
    """A servicer, how the generated code adds it to a server, and who may call it."""

    add: Callable[[Any, Any], None]
    """Such as `budget_pb2_grpc.add_BudgetServiceServicer_to_server`."""
    servicer: object
    authenticate: Authenticator


class Registrar:
    """Stands in for a server where generated code adds a servicer; collects its handlers by service."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Handler]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignored: the same handlers come once more, with their names, by the next method."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Keeps the handlers of `service`."""
        self.services[service] = handlers

    def serve_by(self, server: grpc.aio.Server) -> None:
        """Has `server` serve what was collected, looked up by name when a call comes.

        Not as registered methods: grpc.aio keeps a future for each of those and waits for all of them again with
        every call, which took 17 µs of each in a service with 28 methods.
        """
        for service, handlers in self.services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(handlers)),))


def new_server(settings: ServiceSettings) -> grpc.aio.Server:
    """A server with our bounds and nothing registered."""
    return grpc.aio.server(
        maximum_concurrent_rpcs=settings.concurrent_calls_max,
        options=[
            ("grpc.max_receive_message_length", settings.message_bytes_max),
            ("grpc.max_send_message_length", ANSWER_BYTES_MAX),
            ("grpc.max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.so_reuseport", int(settings.reuse_port)),
            ("grpc.keepalive_time_ms", PING_INTERVAL_MS),
            ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_INTERVAL_MS_MIN),
        ],
    )


def listen(server: grpc.aio.Server, address: Address) -> Address:
    """Binds `server`; returns the address with the port that was taken. Raises RuntimeError if it is in use."""
    return Address(address.host, server.add_insecure_port(str(address)))


def register(
    server: grpc.aio.Server,
    registrations: Sequence[Registration],
    pipeline: Callable[[Authenticator], Pipeline],
) -> list[str]:
    """Adds servicers to `server`, each behind the pipeline made for its authenticator; returns the services' names."""
    names: list[str] = []
    for registration in registrations:
        registrar = Registrar()
        registration.add(registration.servicer, registrar)
        around = pipeline(registration.authenticate)
        for service, handlers in registrar.services.items():
            registrar.services[service] = {
                name: wrap(handler, f"/{service}/{name}", around) for name, handler in handlers.items()
            }
            names.append(service)
        registrar.serve_by(server)
    return names


def unimplemented(registration: Registration) -> list[str]:
    """Full names of the RPCs that the registration's servicer does not define."""
    registrar = Registrar()
    registration.add(registration.servicer, registrar)
    return sorted(
        f"/{service}/{name}"
        for service, handlers in registrar.services.items()
        for name, handler in handlers.items()
        if not _is_implemented(_behaviour(handler))
    )


def wrap(handler: Handler, method: str, pipeline: Pipeline) -> Handler:
    """`handler` inside the pipeline. A method that the servicer does not define answers NOT_IMPLEMENTED."""
    behaviour = _behaviour(handler)
    if not _is_implemented(behaviour):
        behaviour = _not_implemented(method)
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    kind = CallKind.STREAM if handler.request_streaming or handler.response_streaming else CallKind.UNARY
    if handler.response_streaming:
        behaviour = _driving(behaviour)
    return make(  # type: ignore[no-any-return]
        _inside(behaviour, method, kind, pipeline),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _inside(behaviour: Behaviour, method: str, kind: CallKind, pipeline: Pipeline) -> Behaviour:
    async def serve(request: Any, context: Context) -> Any:
        try:
            return await pipeline.serve(_call(method, kind, context), behaviour, request, context)
        except TurnpikeError as error:
            failure = error
        return await context.abort_with_status(to_grpc(failure))

    return serve


def _driving(behaviour: Behaviour) -> Behaviour:
    """`behaviour`, which yields responses or writes them itself, as a coroutine that writes them."""

    async def drive(request: Any, context: Context) -> None:
        answer: AsyncIterator[Any] | Awaitable[None] = behaviour(request, context)
        if inspect.isawaitable(answer):
            await answer
            return
        async with aclosing(answer) as responses:  # type: ignore[type-var]
            async for response in responses:
                await context.write(response)

    return drive


def _call(method: str, kind: CallKind, context: Context) -> Call:
    metadata: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
    left_s = context.time_remaining()
    traceparent = metadata.get("traceparent", "")
    return Call(
        method=method,
        kind=kind,
        metadata=metadata,
        traceparent=traceparent if isinstance(traceparent, str) else "",
        deadline=None if left_s is None else time.monotonic() + left_s,
    )


def _behaviour(handler: Handler) -> Behaviour:
    found: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert found is not None
    return found  # type: ignore[no-any-return]


def _is_implemented(behaviour: Behaviour) -> bool:
    # The generated base class answers UNIMPLEMENTED with plain functions; everything of ours is async.
    return inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)


def _not_implemented(method: str) -> Behaviour:
    async def refuse(request: Any, context: Context) -> Any:
        raise NotImplementedYet(method)

    return refuse
