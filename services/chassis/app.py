"""From settings and a servicer to a running process.

    app = App(name="budget", settings=BudgetSettings, bootstrap=bootstrap)      # in bootstrap.py

    @asynccontextmanager
    async def bootstrap(settings: BudgetSettings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
        async with open_pool(settings.postgres_dsn) as pool:
            runtime.health.component("postgres", pool.answers, critical=True)
            yield [Registration(add_BudgetServiceServicer_to_server, BudgetServicer(…), ServiceTokens(…))]

    run(app)                                                                    # in __main__.py, from run.py

Draining: health says NOT_SERVING, endless streams are told to end, no new calls are taken, those under way may finish
within TURNPIKE_DRAIN_S, then everything is closed in reverse order of its opening.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from services.chassis import tracing
from services.chassis.auth import Authenticator
from services.chassis.batch import DEFAULT_TIMEOUT_S
from services.chassis.health import Health
from services.chassis.metrics import exposition
from services.chassis.otlp import OtlpSink
from services.chassis.pipeline import Pipeline
from services.chassis.server import Registrar, Registration, listen, new_server, register
from services.chassis.service_settings import ServiceSettings
from services.chassis.settings import Address
from services.chassis.tracing import Tracer

AnySettings = TypeVar("AnySettings", bound=ServiceSettings)


@dataclass(frozen=True)
class Runtime:
    """What the chassis lends to a service's bootstrap."""

    tracer: Tracer
    health: Health
    operations: Pipeline
    """Surrounds each operation inside a batch stream."""
    stopping: asyncio.Event
    """Set when the process begins to drain: endless streams end themselves then."""
    message_bytes_max: int
    """The largest message that the server takes."""


Bootstrap = Callable[[AnySettings, Runtime], AbstractAsyncContextManager[Sequence[Registration]]]


@dataclass(frozen=True)
class App(Generic[AnySettings]):
    """A service: its name, the type of its settings, and the composition root that opens and closes everything."""

    name: str
    settings: type[AnySettings]
    bootstrap: Bootstrap[AnySettings]


@dataclass(frozen=True)
class Running:
    """A service that is serving."""

    address: Address
    metrics: Address | None
    health: Health
    services: Sequence[str] = field(default=())


@asynccontextmanager
async def serving(app: App[AnySettings], settings: AnySettings) -> AsyncIterator[Running]:
    """Serves `app` for the length of a block, and drains it at the end. For `run`, and for tests in one process."""
    stopping = asyncio.Event()
    health = Health()
    async with contextlib.AsyncExitStack() as stack:
        tracer = await _tracer(app.name, settings, stack)
        stack.enter_context(tracing.adopted(tracer))
        metrics = stack.enter_context(exposition(settings.metrics))
        operations = Pipeline(
            tracer,
            None,
            access_log="off" if settings.access_log == "off" else "failures",
            deadline_s=DEFAULT_TIMEOUT_S,
        )
        runtime = Runtime(tracer, health, operations, stopping, settings.message_bytes_max)
        registrations = await stack.enter_async_context(app.bootstrap(settings, runtime))
        server = new_server(settings)

        def pipeline(authenticate: Authenticator) -> Pipeline:
            return Pipeline(
                tracer, authenticate, access_log=settings.access_log, deadline_s=settings.deadline_s
            )

        services = register(server, registrations, pipeline)
        _answer_anyone(server, health, services, reflect=settings.reflection)
        address = listen(server, settings.listen)
        await server.start()
        stack.push_async_callback(_stop, server, settings.drain_s)
        await health.start(services)
        stack.push_async_callback(health.stop)
        stack.push_async_callback(_drain, health, stopping)
        yield Running(address, metrics, health, services)


def _answer_anyone(
    server: grpc.aio.Server, health: Health, services: Sequence[str], *, reflect: bool
) -> None:
    """Health and reflection, without authentication and spans: load balancers ask every few seconds."""
    registrar: Any = Registrar()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, registrar)
    if reflect:
        health_service = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        servicer = reflection.aio.ReflectionServicer([*services, health_service, reflection.SERVICE_NAME])
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, registrar)  # type: ignore[no-untyped-call]
    registrar.serve_by(server)


async def _tracer(name: str, settings: ServiceSettings, stack: contextlib.AsyncExitStack) -> Tracer:
    if settings.otlp_endpoint is None:
        return Tracer(name, ratio=settings.trace_ratio)
    sink = OtlpSink(settings.otlp_endpoint, resource_of(name))
    sink.start()
    stack.push_async_callback(sink.close)
    return Tracer(name, ratio=settings.trace_ratio, sink=sink)


def resource_of(name: str) -> dict[str, str]:
    """Who sends the spans: the service, and what OTEL_RESOURCE_ATTRIBUTES says besides."""
    # Here, because it takes 12 MB that a service without a collector need not spend.
    from opentelemetry.sdk.resources import Resource

    ours = {
        "service.name": name,
        "service.namespace": "turnpike",
        "service.version": version("turnpike"),
        "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
    }
    found = Resource.create(ours).attributes
    # The convention asks whoever writes spans himself to say so.
    return {key: str(value) for key, value in {**found, "telemetry.sdk.name": "turnpike"}.items()}


async def _drain(health: Health, stopping: asyncio.Event) -> None:
    await health.drain()
    stopping.set()


async def _stop(server: grpc.aio.Server, drain_s: float) -> None:
    await server.stop(drain_s)
