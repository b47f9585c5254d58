"""The whole road in this process: budget, providers and router over real gRPC, vendors on real sockets.

async with road(dsn, folder, {"fast": fast.base_url, "slow": slow.base_url}) as on:
    answer = await on.generate("hello")
"""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.chassis.app import serving
from services.chassis.channel import Remote, connect
from services.chassis.settings import Address, Secret
from services.local.prices import import_list_prices
from services.providers.bootstrap import app as providers_app
from services.providers.settings import ProvidersSettings
from services.router.bootstrap import app as router_app
from services.router.settings import RouterSettings
from tests.support.budget import OTHER_SERVICE, Budgets, serving_budget
from tests.support.budget_admin import OPERATOR, SERVICE, Api, Tenant, make_tenant, request_id
from tests.support.conditions import until
from turnpike.budget.v1 import budget_admin_pb2, budget_pb2, ledger_pb2
from turnpike.common.v1 import content_pb2
from turnpike.router.v1 import router_pb2, router_pb2_grpc

CALL_S = 20.0

CATALOGUE = """
provider = "local"
wire_formats = ["openai_chat"]
"""

MODEL = """
[[models]]
model = "{name}"
tokenizer = "bytes"
limits = {{ context_tokens_max = {context}, output_tokens_max = 4096 }}
can = ["streaming", "system_messages"{can}]
quality = {{ chat = {quality} }}
{more}

[[models.prices]]
source = "test"
tiers = [{{ input = {input_rate}, output = {output_rate} }}]
"""


@dataclass(frozen=True)
class Vendor:
    """A model at a vendor that the test runs."""

    base_url: str
    context: int = 8192
    quality: float = 0.6
    input_rate: int = 1_000_000_000
    output_rate: int = 4_000_000_000
    can: tuple[str, ...] = ()
    more: str = ""
    elsewhere: tuple[str, ...] = ()
    """Base URLs of further endpoints of the same model."""


@dataclass
class Road:
    """The running services and a tenant."""

    tenant: Tenant
    operator: Api
    budgets: Budgets
    router: Remote
    stub: "router_pb2_grpc.RouterServiceAsyncStub"
    address: str
    dsn: str
    providers: str
    stack: contextlib.AsyncExitStack = field(repr=False)

    async def generate(self, text: str = "hello", **more: Any) -> router_pb2.GenerateResponse:
        """Asks and waits for the answer."""
        timeout_s = more.pop("timeout_s", CALL_S)
        return await self.router.unary(self.stub.Generate, request(text, **more), timeout_s=timeout_s)

    async def stream(self, text: str = "hello", **more: Any) -> list[router_pb2.StreamGenerateResponse]:
        """Asks and collects the events; raises what ends the stream."""
        return [event async for event in self.streaming(text, **more)]

    async def streaming(
        self, text: str = "hello", **more: Any
    ) -> AsyncIterator[router_pb2.StreamGenerateResponse]:
        """Asks and gives the events as they come; leaving it cancels."""
        timeout_s = more.pop("timeout_s", CALL_S)
        asked = router_pb2.StreamGenerateRequest(request=request(text, **more))
        async with self.router.stream(self.stub.StreamGenerate, asked, timeout_s=timeout_s) as events:
            async for event in events:
                yield event

    async def embed(self, *texts: str, model: str, **more: Any) -> router_pb2.EmbedResponse:
        """Asks for the vectors of texts."""
        timeout_s = more.pop("timeout_s", CALL_S)
        asked = router_pb2.EmbedRequest(texts=texts, model=model, **more)
        return await self.router.unary(self.stub.Embed, asked, timeout_s=timeout_s)

    async def ledger(self) -> list[ledger_pb2.LedgerEntry]:
        """What the ledger has of the tenant, limits left out."""
        after = {self.tenant.organisation.organisation_id: 0}
        api = await self.budgets.router()
        found: list[ledger_pb2.LedgerEntry] = []
        async with api.watch("TailLedger", budget_pb2.TailLedgerRequest(after_sequences=after)) as parts:
            async for part in parts:
                if not part.entries:
                    break
                found.extend(part.entries)
        ours = self.tenant.organisation.organisation_id
        return [
            entry
            for entry in found
            if entry.organisation_id == ours and entry.kind != ledger_pb2.LEDGER_ENTRY_KIND_LIMIT
        ]

    async def kinds(self) -> list[str]:
        """The kinds of the ledger's entries with their attempts, such as `HOLD 1`."""
        return [
            f"{ledger_pb2.LedgerEntryKind.Name(entry.kind).removeprefix('LEDGER_ENTRY_KIND_')}"
            f" {entry.key.attempt}"
            for entry in await self.ledger()
        ]

    async def settled(self, holds: int = 1) -> list[str]:
        """The ledger's kinds, once so many holds were made and none is open."""

        async def all_settled() -> list[str] | None:
            kinds = await self.kinds()
            made = sum(kind.startswith("HOLD") for kind in kinds)
            return kinds if made >= holds and made == len(kinds) - made else None

        return await until(all_settled)


def request(text: str = "hello", **more: Any) -> router_pb2.GenerateRequest:
    """A request that says `text`; `cap` is its output cap."""
    message = content_pb2.Message(
        role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text=content_pb2.TextPart(text=text))]
    )
    cap = more.pop("cap", 64)
    given = content_pb2.GenerationInput(messages=[message], max_output_tokens=cap)
    routing = more.pop("routing", None)
    return router_pb2.GenerateRequest(
        input=given,
        routing=router_pb2.RoutingPreferences(**routing) if routing else None,
        **more,
    )


@asynccontextmanager
async def road(
    dsn: str, folder: Path, vendors: Mapping[str, Vendor | str], **settings: Any
) -> AsyncIterator[Road]:
    """The services over a fresh database, with a model `local/<name>` at each vendor."""
    known = {name: Vendor(given) if isinstance(given, str) else given for name, given in vendors.items()}
    async with contextlib.AsyncExitStack() as stack:
        budgets = await stack.enter_async_context(serving_budget(dsn))
        providers = await stack.enter_async_context(_providers(folder, known, budgets.address))
        operator = await budgets.operator()
        await _price(stack, providers, budgets)
        tenant = await make_tenant(operator, "acme")
        address = await stack.enter_async_context(_router(dsn, budgets.address, providers, **settings))
        router = await stack.enter_async_context(connect("router", address, token=tenant.key_secret))
        stub = router_pb2_grpc.RouterServiceStub(router.channel)
        on = Road(tenant, operator, budgets, router, stub, address, dsn, providers, stack)
        await _ready(on, set(known))
        yield on


@asynccontextmanager
async def router_beside(on: Road, **settings: Any) -> AsyncIterator[str]:
    """The address of another router over the same services."""
    async with _router(on.dsn, on.budgets.address, on.providers, **settings) as address:
        yield address


@asynccontextmanager
async def replica(on: Road, **settings: Any) -> AsyncIterator[Remote]:
    """Another router over the same services, called by the tenant's key."""
    async with (
        router_beside(on, **settings) as address,
        connect("router", address, token=on.tenant.key_secret) as remote,
    ):
        stub = router_pb2_grpc.RouterServiceStub(remote.channel)

        async def usable() -> bool:
            listed = await remote.unary(stub.ListModels, router_pb2.ListModelsRequest(), timeout_s=CALL_S)
            return any(item.usable for item in listed.models)

        await until(usable)
        yield remote


@asynccontextmanager
async def _providers(folder: Path, vendors: Mapping[str, Vendor], budget: str) -> AsyncIterator[str]:
    catalogue = folder / "catalogue"
    catalogue.mkdir()
    text = CATALOGUE
    for name, vendor in vendors.items():
        text += MODEL.format(
            name=name,
            context=vendor.context,
            can="".join(f', "{item}"' for item in vendor.can),
            quality=vendor.quality,
            input_rate=vendor.input_rate,
            output_rate=vendor.output_rate,
            more=vendor.more,
        )
    (catalogue / "local.toml").write_text(text)
    endpoints = [
        {"model": f"local/{name}", "base_url": base_url, "vendor_model": name}
        for name, vendor in vendors.items()
        for base_url in (vendor.base_url, *vendor.elsewhere)
    ]
    (folder / "endpoints.json").write_text(json.dumps({"endpoints": endpoints}))
    made = ProvidersSettings(
        listen=Address("127.0.0.1", 0),
        endpoints_file=folder / "endpoints.json",
        catalogue_folder=catalogue,
        budget_address=budget,
        service_token=Secret(OTHER_SERVICE),
        service_tokens={"router": Secret(SERVICE)},
        access_log="off",
        drain_s=0.2,
    )
    async with serving(providers_app, made) as running:
        yield str(running.address)


@asynccontextmanager
async def _router(dsn: str, budget: str, providers: str, **settings: Any) -> AsyncIterator[str]:
    made = RouterSettings(
        listen=Address("127.0.0.1", 0),
        postgres_dsn=Secret(dsn),
        budget_address=budget,
        providers_address=providers,
        service_token=Secret(SERVICE),
        access_log="off",
        drain_s=0.2,
        **settings,
    )
    async with serving(router_app, made) as running:
        yield str(running.address)


async def _price(stack: contextlib.AsyncExitStack, providers: str, budgets: Budgets) -> None:
    as_router = await stack.enter_async_context(connect("providers", providers, token=SERVICE))
    as_operator = await stack.enter_async_context(connect("budget", budgets.address, token=OPERATOR))
    await import_list_prices(as_router, as_operator)


async def _ready(on: Road, names: set[str]) -> None:
    async def usable() -> bool:
        listed = await on.router.unary(on.stub.ListModels, router_pb2.ListModelsRequest(), timeout_s=CALL_S)
        return {item.model for item in listed.models if item.usable} >= {f"local/{name}" for name in names}

    await until(usable)


async def make_budget(on: Road, budget: Any) -> None:
    """Adds a budget."""
    await on.operator.CreateBudget(
        budget_admin_pb2.CreateBudgetRequest(request_id=request_id(), budget=budget)
    )
