"""What the operator does: sets everything up, and puts a price, a model and a grant in force while all of it runs."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from bench.deployment import Deployment
from bench.scenario.applications import APPLICATIONS
from bench.scenario.vendors import ADDRESSES, NEW, base_url
from services.chassis.channel import Remote
from turnpike.budget.v1 import budget_admin_pb2 as budget_pb
from turnpike.budget.v1 import entities_pb2 as entities
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import error_pb2, price_pb2
from turnpike.providers.v1 import catalogue_pb2, providers_admin_pb2
from turnpike.providers.v1.providers_admin_pb2_grpc import ProviderAdminServiceStub
from turnpike.router.v1 import router_admin_pb2
from turnpike.router.v1.router_admin_pb2_grpc import RouterAdminServiceStub

FOLDER = Path(__file__).parent
DOLLAR = 1_000_000_000  # nano-USD
RPC_TIMEOUT_S = 20.0
DAILY_USD = {"legal": 50, "support": 20, "extraction": 20, "code": 80}
CONFIDENTIAL = "legal"
"""The application whose project holds confidential data."""

NEW_INPUT, NEW_OUTPUT = 600_000_000, 2_400_000_000
NEW_QUALITY = {"summarise": 0.90, "chat": 0.86, "extract": 0.90, "code": 0.92}


@dataclass(slots=True)
class Operator:
    """The one who acts."""

    running: Deployment
    simulator: str
    organisation_id: str = ""
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    """The secret of each application's key."""
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def set_up(self) -> None:
        """Prices, an organisation with a project, a budget, a policy and a key for each application, and grants."""
        await self.running.put_list_prices_in_force()
        async with self.running.as_operator("budget") as budget, self.running.as_operator("router") as router:
            stub = BudgetAdminServiceStub(budget.channel)
            made = await self._ask(
                budget,
                stub.CreateOrganisation,
                budget_pb.CreateOrganisationRequest(organisation=entities.Organisation(display_name="Hansa")),
            )
            self.organisation_id = made.organisation.organisation_id
            for application in APPLICATIONS:
                await self._application(budget, router, application.name)
            for vendor in ADDRESSES:
                if vendor != NEW.partition("/")[0]:
                    await self._grant(router, f"{vendor}/*")

    async def _application(self, budget: Remote, router: Remote, name: str) -> None:
        stub = BudgetAdminServiceStub(budget.channel)
        team = await self._ask(
            budget,
            stub.CreateTeam,
            budget_pb.CreateTeamRequest(
                team=entities.Team(organisation_id=self.organisation_id, display_name=name)
            ),
        )
        project = entities.Project(
            team_id=team.team.team_id,
            display_name=name,
            data_class="confidential" if name == CONFIDENTIAL else "",
        )
        made = await self._ask(budget, stub.CreateProject, budget_pb.CreateProjectRequest(project=project))
        project_id = made.project.project_id
        key = entities.Key(
            project_id=project_id, display_name=name, permissions=[entities.KEY_PERMISSION_GENERATE]
        )
        self.keys[name] = (
            await self._ask(budget, stub.CreateKey, budget_pb.CreateKeyRequest(key=key))
        ).secret
        day = entities.Window(calendar=entities.CalendarWindow(period=entities.CALENDAR_PERIOD_DAY))
        limit = entities.Budget(
            subject=entities.BudgetSubject(project_id=project_id),
            unit=error_pb2.BUDGET_UNIT_MONEY,
            limit=DAILY_USD[name] * DOLLAR,
            window=day,
            mode=entities.BUDGET_MODE_HARD,
            display_name=f"{name}, daily",
        )
        await self._ask(budget, stub.CreateBudget, budget_pb.CreateBudgetRequest(budget=limit))
        policy = router_admin_pb2.Policy(
            organisation_id=self.organisation_id,
            scope=f"project:{project_id}",
            document_yaml=(FOLDER / "policies" / f"{name}.yaml").read_text(encoding="utf-8"),
            state=router_admin_pb2.POLICY_STATE_ACTIVE,
        )
        admin = RouterAdminServiceStub(router.channel)
        await self._ask(router, admin.PutPolicy, router_admin_pb2.PutPolicyRequest(policy=policy))

    async def raise_prices(self, vendor: str, factor: int) -> dict[str, int]:
        """A vendor's new prices are in force from now on; returns the models' new input prices per million tokens."""
        raised: dict[str, int] = {}
        async with self.running.as_operator("budget") as budget:
            stub = BudgetAdminServiceStub(budget.channel)
            listed = await budget.unary(
                stub.ListPrices,
                budget_pb.ListPricesRequest(model_pattern=f"{vendor}/*"),
                timeout_s=RPC_TIMEOUT_S,
            )
            for entry in listed.prices:
                price = price_pb2.ModelPrice(model=entry.price.model, source="the vendor's letter")
                for tier in entry.price.tiers:
                    price.tiers.add(
                        input_nanos_per_million=tier.input_nanos_per_million * factor,
                        output_nanos_per_million=tier.output_nanos_per_million * factor,
                    )
                await self._ask(budget, stub.SetPrice, budget_pb.SetPriceRequest(price=price))
                raised[price.model] = price.tiers[0].input_nanos_per_million
        return raised

    async def welcome(self) -> dict[str, int]:
        """The new model: what is known of it, its endpoint, its price, and a grant; returns its input price."""
        tier = price_pb2.PriceTier(input_nanos_per_million=NEW_INPUT, output_nanos_per_million=NEW_OUTPUT)
        price = price_pb2.ModelPrice(model=NEW, tiers=[tier], source="the vendor's price list")
        facts = catalogue_pb2.Model(
            model=NEW,
            display_name="Nova",
            limits=catalogue_pb2.ModelLimits(context_tokens_max=128_000, output_tokens_max=8_192),
            capabilities=catalogue_pb2.ModelCapabilities(
                streaming=True, system_messages=True, json_schema=True, json_object=True, tools=True
            ),
            quality_priors=NEW_QUALITY,
            tokenizer="bytes",
        )
        vendor, _, name = NEW.partition("/")
        wire_format, _ = ADDRESSES[vendor]
        endpoint = providers_admin_pb2.EndpointConfig(
            endpoint=catalogue_pb2.Endpoint(endpoint_id=NEW, wire_format=wire_format, vendor_model=name),
            model=NEW,
            base_url=base_url(self.simulator, vendor),
        )
        paths = ["display_name", "limits", "capabilities", "quality_priors", "tokenizer"]
        async with self.running.as_operator("providers") as providers:
            stub = ProviderAdminServiceStub(providers.channel)
            await self._ask(
                providers,
                stub.SetModelOverride,
                providers_admin_pb2.SetModelOverrideRequest(model=facts, update_mask=FieldMask(paths=paths)),
            )
            await self._ask(
                providers, stub.CreateEndpoint, providers_admin_pb2.CreateEndpointRequest(endpoint=endpoint)
            )
        async with self.running.as_operator("budget") as budget, self.running.as_operator("router") as router:
            await self._ask(
                budget,
                BudgetAdminServiceStub(budget.channel).SetPrice,
                budget_pb.SetPriceRequest(price=price),
            )
            await self._grant(router, NEW)
        return {NEW: NEW_INPUT}

    async def _grant(self, router: Remote, pattern: str) -> None:
        grant = router_admin_pb2.ModelGrant(
            organisation_id=self.organisation_id,
            subject=f"organisation:{self.organisation_id}",
            model_pattern=pattern,
        )
        stub = RouterAdminServiceStub(router.channel)
        await self._ask(router, stub.CreateModelGrant, router_admin_pb2.CreateModelGrantRequest(grant=grant))

    async def _ask(self, remote: Remote, method: Any, request: Any) -> Any:
        request.request_id = f"scenario-{next(self._ids)}"
        return await remote.unary(method, request, timeout_s=RPC_TIMEOUT_S)


ENVIRONMENT: Mapping[str, str] = {
    "TURNPIKE_CATALOGUE_FOLDER": str(FOLDER / "catalogue"),
    "TURNPIKE_PRIVATE_ENDPOINTS": "true",
    "TURNPIKE_ACCESS_LOG": "failures",
    "TURNPIKE_TRACE_RATIO": "0",
    "TURNPIKE_DRAIN_S": "2",
}
