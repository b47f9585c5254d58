"""The admin half of the budget service, serving in this process over a fresh database."""

import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.budget.adapters.postgres.statements import FOLDER
from services.budget.admin_half import open_admin_half
from services.budget.admin_settings import AdminSettings
from services.budget.directory_servicer import DirectoryRpcs
from services.chassis.app import App, Runtime, serving
from services.chassis.auth import ServiceTokens
from services.chassis.channel import Remote, connect
from services.chassis.postgres import open_database
from services.chassis.server import Registration
from services.chassis.service_settings import ServiceSettings
from services.chassis.settings import Secret
from services.kernel.clock import SystemClock
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub, add_BudgetServiceServicer_to_server
from turnpike.budget.v1.entities_pb2 import (
    AdminToken,
    Budget,
    BudgetSubject,
    Key,
    Organisation,
    Project,
    Role,
    Team,
    User,
)
from turnpike.common.v1.error_pb2 import BUDGET_UNIT_MONEY

OPERATOR = "tpa_" + "operator" * 5
SERVICE = "tps_" + "router" * 6
WEBHOOK_KEY = Secret(base64.b64encode(b"k" * 32).decode())
SCHEMA = "budget"
CALL_TIMEOUT_S = 20.0

_numbers = itertools.count(1)


def request_id() -> str:
    """A request id nobody used before."""
    return f"test-{next(_numbers)}"


@dataclass(frozen=True, kw_only=True)
class Settings(ServiceSettings, AdminSettings):
    """What the half needs, as the whole service has it."""

    dsn: str = ""


@asynccontextmanager
async def _bootstrap(settings: Settings, runtime: Runtime) -> AsyncIterator[Sequence[Registration]]:
    clock = SystemClock()
    async with (
        open_database(settings.dsn, schema=SCHEMA, folder=FOLDER) as database,
        open_admin_half(database, settings.dsn, settings, clock, runtime.stopping) as half,
    ):
        directory = DirectoryRpcs(half.directory, half.store, clock)
        tokens = ServiceTokens({"router": SERVICE})
        yield [half.registration, Registration(add_BudgetServiceServicer_to_server, directory, tokens)]


class Api:
    """A service by the names of its RPCs: `await api.GetTeam(request)`, `async with api.watch("…", request) as parts`.

    Failures come typed, as RemoteError with the service's reason.
    """

    def __init__(self, remote: Remote, stub: Any) -> None:
        self._remote = remote
        self._stub = stub

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        return lambda request: self._remote.unary(
            getattr(self._stub, name), request, timeout_s=CALL_TIMEOUT_S
        )

    def watch(self, name: str, request: Any) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        return self._remote.stream(getattr(self._stub, name), request, timeout_s=CALL_TIMEOUT_S)


@dataclass(frozen=True)
class Admin:
    """The served half, and ways to call it."""

    address: str
    stack: contextlib.AsyncExitStack = field(repr=False)

    async def as_(self, secret: str | None) -> Api:
        """The admin service, called with a credential."""
        remote = await self._connected(secret)
        return Api(remote, BudgetAdminServiceStub(remote.channel))

    async def operator(self) -> Api:
        """The admin service, called by the operator."""
        return await self.as_(OPERATOR)

    async def router(self) -> Api:
        """BudgetService, called by a service of ours."""
        remote = await self._connected(SERVICE)
        return Api(remote, BudgetServiceStub(remote.channel))

    async def _connected(self, secret: str | None) -> Remote:
        return await self.stack.enter_async_context(connect("budget", self.address, token=secret))


@asynccontextmanager
async def serving_admin(dsn: str, **settings: Any) -> AsyncIterator[Admin]:
    """The half over a database."""
    settings.setdefault("bootstrap_admin_token", Secret(OPERATOR))
    settings.setdefault("webhook_key", WEBHOOK_KEY)
    app = App(name="budget", settings=Settings, bootstrap=_bootstrap)
    made = Settings(dsn=dsn, state_dir=Path("/nonexistent"), drain_s=0.2, access_log="off", **settings)
    async with serving(app, made) as running, contextlib.AsyncExitStack() as stack:
        yield Admin(str(running.address), stack)


@dataclass(frozen=True)
class Tenant:
    """One organisation with one of everything."""

    organisation: Organisation
    team: Team
    project: Project
    user: User
    key: Key
    key_secret: str = field(repr=False)
    budgets: tuple[Budget, ...] = ()

    @property
    def ids(self) -> set[str]:
        """Ids that nobody outside of the organisation may see."""
        return {
            self.organisation.organisation_id,
            self.team.team_id,
            self.project.project_id,
            self.user.user_id,
            self.key.key_id,
            *(budget.budget_id for budget in self.budgets),
        }


async def make_tenant(api: Api, name: str) -> Tenant:
    """An organisation with a team, a project, a user, a key, and budgets: one on the first
    two each, two on the project."""
    organisation = (
        await api.CreateOrganisation(
            pb.CreateOrganisationRequest(
                request_id=request_id(), organisation=Organisation(display_name=name)
            )
        )
    ).organisation
    team = (
        await api.CreateTeam(
            pb.CreateTeamRequest(
                request_id=request_id(),
                team=Team(organisation_id=organisation.organisation_id, display_name=f"{name} team"),
            )
        )
    ).team
    project = (
        await api.CreateProject(
            pb.CreateProjectRequest(
                request_id=request_id(),
                project=Project(team_id=team.team_id, display_name=f"{name} project"),
            )
        )
    ).project
    user = (
        await api.CreateUser(
            pb.CreateUserRequest(
                request_id=request_id(),
                user=User(organisation_id=organisation.organisation_id, external_id="user-1"),
            )
        )
    ).user
    made = await api.CreateKey(
        pb.CreateKeyRequest(
            request_id=request_id(), key=Key(project_id=project.project_id, display_name=f"{name} key")
        )
    )
    budgets = []
    for subject in (
        BudgetSubject(organisation_id=organisation.organisation_id),
        BudgetSubject(team_id=team.team_id),
        BudgetSubject(project_id=project.project_id),
        BudgetSubject(project_id=project.project_id),
    ):
        budget = Budget(
            subject=subject, unit=BUDGET_UNIT_MONEY, limit=1_000_000_000, display_name=f"{name} budget"
        )
        answer = await api.CreateBudget(pb.CreateBudgetRequest(request_id=request_id(), budget=budget))
        budgets.append(answer.budget)
    return Tenant(organisation, team, project, user, made.key, made.secret, tuple(budgets))


async def make_token(
    api: Api, role: "Role.ValueType", *, organisation_id: str = "", team_id: str = ""
) -> str:
    """The secret of a new admin token."""
    token = AdminToken(display_name="test", role=role, organisation_id=organisation_id, team_id=team_id)
    answer = await api.CreateAdminToken(
        pb.CreateAdminTokenRequest(request_id=request_id(), admin_token=token)
    )
    secret: str = answer.secret
    return secret
