"""Turnpike as a production of one machine: each service one process, Postgres with fsync, a tenant with hard budgets.

The tenant has a budget on each of five levels (organisation, team, project, key, user) in each of two windows (day,
month), all hard, and twenty candidate models at the mock vendor.
"""

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from grpc.aio import UnaryUnaryMultiCallable as UnaryUnary

from bench.road.processes import Group
from services.chassis.channel import Remote, connect
from services.local import ports, redis
from services.local.child import running
from services.local.postgres import LocalPostgres
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import entities_pb2 as entities
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import error_pb2
from turnpike.common.v1.price_pb2 import ModelPrice
from turnpike.providers.v1 import providers_pb2 as providers
from turnpike.providers.v1.providers_pb2_grpc import ProviderServiceStub

Request = TypeVar("Request", bound=Any)
Response = TypeVar("Response")

CANDIDATES = 20
READY_TIMEOUT_S = 60.0
RPC_TIMEOUT_S = 10.0
DOLLAR = 1_000_000_000  # nano-USD
SERVICES = ("budget", "providers", "analytics", "router")


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
    async with contextlib.AsyncExitStack() as opened:
        postgres = LocalPostgres(folder / "postgres", port=ports.any_free())
        database = opened.enter_context(running(await asyncio.to_thread(postgres.prepare)))
        await _until(lambda: postgres.is_ready(database.pid))
        told = {
            "TURNPIKE_POSTGRES_DSN": postgres.dsn,
            "TURNPIKE_ENDPOINTS_FILE": str(_endpoints(folder, upstream)),
            **_identities(),
            **environment,
        }
        redis_pids: tuple[int, ...] = ()
        program = redis.find_program()
        if program is not None:
            server = redis.LocalRedis(folder / "redis", program, port=ports.any_free())
            redis_pids = (opened.enter_context(running(server.prepare())).pid,)
            told["TURNPIKE_REDIS_URL"] = server.url
        operator = f"tpa_{secrets.token_urlsafe(32)}"
        told["TURNPIKE_BOOTSTRAP_ADMIN_TOKEN"] = operator
        addresses = {name: f"127.0.0.1:{ports.any_free()}" for name in SERVICES}
        told |= {f"TURNPIKE_{name.upper()}_ADDRESS": address for name, address in addresses.items()}
        pids = []
        for name in SERVICES:
            pids.append(await opened.enter_async_context(_service(name, addresses[name], folder, told)))
            if name == "providers":
                tenant = await _tenant(addresses, operator, told)
        groups = [Group(name, (pid,)) for name, pid in zip(SERVICES, pids, strict=True)]
        stores = (Group("postgres", (database.pid,)), Group("redis", redis_pids))
        yield Stack(addresses["router"], postgres.dsn, tenant, (*groups, *stores))


def _endpoints(folder: Path, upstream: str) -> Path:
    file = folder / "endpoints.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "can": ["streaming", "system_messages", "tools", "json_schema"],
        "limits": {"context_tokens_max": 128_000, "output_tokens_max": 16_384},
    }
    written = [
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
    file.write_text(json.dumps({"endpoints": written}))
    return file


def _identities() -> dict[str, str]:
    tokens = {name: f"tps_{secrets.token_urlsafe(32)}" for name in (*SERVICES, "bench")}
    return {"TURNPIKE_SERVICE_TOKENS": ",".join(f"{name}={token}" for name, token in tokens.items())}


def _token(told: Mapping[str, str], name: str) -> str:
    return dict(pair.split("=", 1) for pair in told["TURNPIKE_SERVICE_TOKENS"].split(","))[name]


@asynccontextmanager
async def _service(name: str, address: str, folder: Path, told: Mapping[str, str]) -> AsyncIterator[int]:
    ready = folder / f"{name}.ready"
    environment = {
        **os.environ,
        **told,
        "TURNPIKE_LISTEN": address,
        "TURNPIKE_SERVICE_TOKEN": _token(told, name),
        "TURNPIKE_READY_FILE": str(ready),
        "TURNPIKE_STATE_DIR": str(folder),
    }
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{name}", env=environment, stdout=log, stderr=log
        )
    try:
        await _until(lambda: ready.exists() or process.returncode is not None)
        if process.returncode is not None:
            raise RuntimeError(f"{name} ended:\n{(folder / f'{name}.log').read_text()[-2000:]}")
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until(holds: Callable[[], bool]) -> None:
    """Waits until something holds; raises TimeoutError after READY_TIMEOUT_S."""
    async with asyncio.timeout(READY_TIMEOUT_S):
        while not holds():  # noqa: ASYNC110 - another process's doing gives no event
            await asyncio.sleep(0.05)


async def _tenant(addresses: Mapping[str, str], operator: str, told: Mapping[str, str]) -> Tenant:
    async with (
        connect("budget", addresses["budget"], token=operator) as budget,
        connect("providers", addresses["providers"], token=_token(told, "bench")) as catalogue,
    ):
        models = await catalogue.unary(
            ProviderServiceStub(catalogue.channel).ListModels,
            providers.ListModelsRequest(page_size=1000, provider="bench"),
            timeout_s=RPC_TIMEOUT_S,
        )
        prices = [price for model in models.models for price in model.list_prices]
        return await _Maker(budget, operator).tenant(prices)


class _Maker:
    def __init__(self, budget: Remote, operator: str) -> None:
        self._budget = budget
        self._operator = operator
        self._stub = BudgetAdminServiceStub(budget.channel)
        self._ids = (f"bench-{number}" for number in itertools.count(1))

    async def tenant(self, prices: Sequence[ModelPrice]) -> Tenant:
        stub, display_name = self._stub, "Bench"
        await self._ask(stub.ImportPrices, pb.ImportPricesRequest(prices=prices))
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
