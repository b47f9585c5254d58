"""Turnpike as a production of one machine: each service one process, Postgres with fsync, a tenant with hard budgets.

The tenant has a budget on each of five levels (organisation, team, project, key, user) in each of two windows (day,
month), all hard, and twenty candidate models at the mock vendor.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from grpc.aio import UnaryUnaryMultiCallable as UnaryUnary

from bench.deployment import deployment
from bench.road.processes import Group
from services.chassis.channel import Remote, connect
from services.chassis.status import RemoteError
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import entities_pb2 as entities
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import error_pb2
from turnpike.router.v1.router_pb2 import ListModelsRequest
from turnpike.router.v1.router_pb2_grpc import RouterServiceStub

Request = TypeVar("Request", bound=Any)
Response = TypeVar("Response")

CANDIDATES = 20
READY_TIMEOUT_S = 60.0
RPC_TIMEOUT_S = 10.0
DOLLAR = 1_000_000_000  # nano-USD


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who asks."""

    organisation_id: str
    key: str
    admin_token: str


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs, and where."""

    router: str
    dsn: str
    tenant: Tenant
    groups: tuple[Group, ...]
    """Each service's process, Postgres, Redis."""


@asynccontextmanager
async def stack(folder: Path, upstream: str, environment: Mapping[str, str]) -> AsyncIterator[Stack]:
    """The whole of it, for the length of a block. `environment` is added to every service's."""
    async with deployment(folder, _endpoints(upstream), environment) as running:
        await running.put_list_prices_in_force()
        async with running.as_operator("budget") as budget:
            tenant = await _Maker(budget, running.operator).tenant()
        await _served(running.target("router"), tenant)
        yield Stack(running.target("router"), running.dsn, tenant, running.groups)


def _endpoints(upstream: str) -> list[dict[str, Any]]:
    facts = {
        "can": ["streaming", "system_messages", "tools", "json_schema"],
        "limits": {"context_tokens_max": 128_000, "output_tokens_max": 16_384},
    }
    return [
        {
            "model": f"bench/model-{number:02}",
            "base_url": f"{upstream}/v1",
            "wire_format": "openai_chat",
            "concurrency_max": 1024,
            "facts": facts
            | {
                "quality": {"chat": 0.5 + number / 100},
                "prices": [
                    {
                        "source": "bench",
                        "tiers": [{"input": (number + 1) * 10_000_000, "output": (number + 1) * 40_000_000}],
                    }
                ],
            },
        }
        for number in range(CANDIDATES)
    ]


async def _served(target: str, tenant: Tenant) -> None:
    """Waits until the router knows the key, and every candidate with its price."""

    async def usable() -> int:
        try:
            listed = await router.unary(
                stub.ListModels, ListModelsRequest(page_size=100), timeout_s=RPC_TIMEOUT_S
            )
        except RemoteError as error:
            if error.reason == "CREDENTIALS_INVALID":
                return 0
            raise
        return sum(not model.unusable_reason for model in listed.models)

    async with connect("router", target, token=tenant.key) as router:
        stub = RouterServiceStub(router.channel)
        async with asyncio.timeout(READY_TIMEOUT_S):
            while await usable() < CANDIDATES:  # noqa: ASYNC110 - another process hears of it
                await asyncio.sleep(0.05)


class _Maker:
    def __init__(self, budget: Remote, operator: str) -> None:
        self._budget = budget
        self._operator = operator
        self._stub = BudgetAdminServiceStub(budget.channel)
        self._ids = (f"bench-{number}" for number in itertools.count(1))

    async def tenant(self) -> Tenant:
        stub, display_name = self._stub, "Bench"
        organisation = (
            await self._ask(
                stub.CreateOrganisation,
                pb.CreateOrganisationRequest(organisation=entities.Organisation(display_name=display_name)),
            )
        ).organisation.organisation_id
        team = (
            await self._ask(
                stub.CreateTeam,
                pb.CreateTeamRequest(
                    team=entities.Team(organisation_id=organisation, display_name=display_name)
                ),
            )
        ).team.team_id
        project = (
            await self._ask(
                stub.CreateProject,
                pb.CreateProjectRequest(project=entities.Project(team_id=team, display_name=display_name)),
            )
        ).project.project_id
        user = (
            await self._ask(
                stub.CreateUser,
                pb.CreateUserRequest(user=entities.User(organisation_id=organisation, external_id="bench")),
            )
        ).user.user_id
        key = entities.Key(
            project_id=project,
            user_id=user,
            display_name=display_name,
            permissions=[entities.KEY_PERMISSION_GENERATE],
        )
        made = await self._ask(stub.CreateKey, pb.CreateKeyRequest(key=key))
        for subject in (
            entities.BudgetSubject(organisation_id=organisation),
            entities.BudgetSubject(team_id=team),
            entities.BudgetSubject(project_id=project),
            entities.BudgetSubject(key_id=made.key.key_id),
            entities.BudgetSubject(user_id=user),
        ):
            for calendar in (
                entities.CalendarWindow(period=entities.CALENDAR_PERIOD_DAY),
                entities.CalendarWindow(period=entities.CALENDAR_PERIOD_MONTH),
            ):
                budget = entities.Budget(
                    subject=subject,
                    unit=error_pb2.BUDGET_UNIT_MONEY,
                    limit=1_000_000 * DOLLAR,
                    window=entities.Window(calendar=calendar),
                    mode=entities.BUDGET_MODE_HARD,
                    display_name=display_name,
                )
                await self._ask(stub.CreateBudget, pb.CreateBudgetRequest(budget=budget))
        return Tenant(organisation, made.secret, self._operator)

    async def _ask(self, method: UnaryUnary[Request, Response], request: Request) -> Response:
        request.request_id = next(self._ids)
        return await self._budget.unary(method, request, timeout_s=RPC_TIMEOUT_S)
