"""Load on several replicas while vendors fail by a schedule; afterwards every side's books are compared."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.books import read_books
from bench.deployment import Deployment, deployment
from bench.scenario.vendors import Simulator, simulator
from services.chassis.channel import Remote, connect
from services.chassis.status import RemoteError
from services.kernel.errors import TurnpikeError
from tests.chaos.fallback.verdict import ATTEMPTS_MAX, Asked, Options, Outcome, problems_of, recovered
from tests.chaos.fallback.weather import (
    FORBIDDEN,
    INCAPABLE,
    VENDORS,
    Window,
    rules,
    schedule,
)
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from tests.support.conditions import until
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import decision_pb2, router_admin_pb2, router_pb2, router_pb2_grpc
from turnpike.router.v1.router_admin_pb2_grpc import RouterAdminServiceStub

DEADLINE_S = 20.0

CALL_S = 20.0
FORMATS = (
    ("openai_chat", "openai/v1"),
    ("anthropic_messages", "anthropic/v1"),
    ("gemini", "gemini/v1beta"),
    ("openai_chat", "mistral/v1"),
    ("openai_chat", "openai/v1"),
)
PROMPT = "Say what a toll road is, and why one is built. " * 4


async def chaos(options: Options, folder: Path) -> Outcome:
    """Runs it. Raises what keeps it from running; what it finds wrong is in the outcome's problems."""
    windows = schedule(options.seed, options.seconds)
    spans: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as opened:
        collector = await opened.enter_async_context(_collector(spans))
        vendors = await opened.enter_async_context(simulator(folder, _scenario(options.seed, ())))
        counts = dict.fromkeys(("router", "providers", "budget"), options.replicas)
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "TURNPIKE_TRACE_RATIO": "1",
            "TURNPIKE_ACCESS_LOG": "off",
            "TURNPIKE_DRAIN_S": "5",
        }
        running = await opened.enter_async_context(
            deployment(folder, _endpoints(vendors), environment, replicas=counts)
        )
        tenant = await _tenant(running)
        routers = [
            await opened.enter_async_context(connect("router", address, token=tenant.key_secret))
            for address in running.addresses["router"]
        ]
        await asyncio.gather(*(_usable(router) for router in routers))
        await vendors.play(_scenario(options.seed, windows))
        began_at = time.time()
        asked = await _load(options, routers)
        books = await read_books(running, tenant.organisation.organisation_id, len(asked), [vendors.log])
        outcome = Outcome(options, asked, books, windows, spans, began_at)
        with contextlib.suppress(AssertionError):  # what is missing then is told below
            await until(lambda: _all_traced(outcome), within_s=20.0)
    outcome.recovered_s = list(recovered(outcome))
    outcome.problems = list(problems_of(outcome))
    return outcome


# ---- the stage -----------------------------------------------------------------------------------------------------


def _scenario(seed: int, windows: Sequence[Window]) -> dict[str, Any]:
    return {
        "seed": seed,
        "require_key": False,
        "pace": {"first_token_ms": 60, "tokens_per_s": 200, "jitter": 0.3},
        "answers": {"output_tokens_min": 20, "output_tokens_max": 40},
        "rules": rules(windows) if windows else [],
    }


def _endpoints(vendors: Simulator) -> list[dict[str, Any]]:
    def endpoint(name: str, wire_format: str, path: str, quality: float, context: int) -> dict[str, Any]:
        price = {"source": "chaos", "tiers": [{"input": 100_000_000, "output": 400_000_000}]}
        return {
            "model": f"{name}/model",
            "base_url": f"{vendors.url}/{name}/{path}",
            "wire_format": wire_format,
            "concurrency_max": 1024,
            "facts": {
                "can": ["streaming", "system_messages"],
                "limits": {"context_tokens_max": context, "output_tokens_max": 1024},
                "quality": {"chat": quality},
                "prices": [price],
            },
        }

    known = [endpoint(name, *FORMATS[place], 0.9 - place / 20, 32_000) for place, name in enumerate(VENDORS)]
    traps = [
        endpoint(FORBIDDEN, *FORMATS[0], 0.99, 32_000),
        endpoint(INCAPABLE, *FORMATS[0], 0.98, 64),
    ]
    return known + traps


async def _tenant(running: Deployment) -> Tenant:
    await running.put_list_prices_in_force()
    async with running.as_operator("budget") as budget, running.as_operator("router") as router:
        operator = Api(budget, BudgetAdminServiceStub(budget.channel))
        tenant = await make_tenant(operator, "chaos")
        grant = router_admin_pb2.ModelGrant(
            organisation_id=tenant.organisation.organisation_id,
            subject=f"project:{tenant.project.project_id}",
            model_pattern=f"{FORBIDDEN}/*",
            deny=True,
        )
        await Api(router, RouterAdminServiceStub(router.channel)).CreateModelGrant(
            router_admin_pb2.CreateModelGrantRequest(request_id=request_id(), grant=grant)
        )
    return tenant


@asynccontextmanager
async def _collector(spans: Counter[str]) -> AsyncIterator[str]:
    """Takes traces, and counts the attempts in each."""

    async def export(request: ExportTraceServiceRequest, context: object) -> bytes:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    if span.name.startswith("attempt "):
                        spans[span.trace_id.hex()] += 1
        return b""

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "opentelemetry.proto.collector.trace.v1.TraceService",
        {
            "Export": grpc.unary_unary_rpc_method_handler(
                export, request_deserializer=ExportTraceServiceRequest.FromString
            )
        },
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _usable(router: Remote) -> None:
    stub = router_pb2_grpc.RouterServiceStub(router.channel)

    async def usable() -> bool:
        listed = await router.unary(stub.ListModels, router_pb2.ListModelsRequest(), timeout_s=CALL_S)
        names = {model.model.partition("/")[0] for model in listed.models if model.usable}
        return names >= set(VENDORS) and FORBIDDEN not in names

    await until(usable, within_s=60.0)


# ---- the load ------------------------------------------------------------------------------------------------------


async def _load(options: Options, routers: Sequence[Remote]) -> list[Asked]:
    """Asks at random moments, whatever became of those before; returns when all have ended."""
    draw = random.Random(options.seed)
    began_s = time.monotonic()
    asked: list[Asked] = []
    async with asyncio.TaskGroup() as under_way:
        at_s = 0.0
        while (at_s := at_s + draw.expovariate(options.rate)) < options.seconds:
            await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
            one = Asked(f"r{len(asked):06d}", streamed=draw.random() < 0.5, at_s=at_s)
            asked.append(one)
            under_way.create_task(_ask(routers[len(asked) % len(routers)], one))
    return asked


async def _ask(router: Remote, one: Asked) -> None:
    stub = router_pb2_grpc.RouterServiceStub(router.channel)
    part = content_pb2.Part(text=content_pb2.TextPart(text=f"{one.request_id} {PROMPT}"))
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])
    request = router_pb2.GenerateRequest(
        request_id=one.request_id,
        input=content_pb2.GenerationInput(messages=[message], max_output_tokens=64),
        routing=router_pb2.RoutingPreferences(
            attempts_max=ATTEMPTS_MAX, task="chat", strategy=decision_pb2.STRATEGY_CAPABILITY
        ),
    )
    begun_s = time.monotonic()
    try:
        if one.streamed:
            asked = router_pb2.StreamGenerateRequest(request=request)
            async with router.stream(stub.StreamGenerate, asked, timeout_s=DEADLINE_S) as events:
                async for event in events:
                    if event.HasField("started"):
                        one.model = event.started.model
                    elif event.HasField("delta"):
                        one.said += event.delta.text
                        one.deltas += 1
                    else:
                        one.ended = "finished"
        else:
            answer = await router.unary(stub.Generate, request, timeout_s=DEADLINE_S)
            one.model, one.ended = answer.outcome.model, "finished"
            one.said = answer.choices[0].message.parts[0].text.text
    except RemoteError as error:
        one.ended, one.message = error.reason, error.message
    except TurnpikeError as error:
        one.ended, one.message = type(error).__name__, error.message
    one.took_s = time.monotonic() - begun_s


async def _all_traced(outcome: Outcome) -> bool:
    return all(
        outcome.spans.get(decision.trace_id, 0) >= len(decision.attempts)
        for decision in outcome.books.decisions.values()
    )
