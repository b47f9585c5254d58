"""Makes a tenant to try things with: an organisation with a team, a project, a user, a key, and a budget on each.

Everything goes through the admin RPCs, by the operator's token, as a real tenant's would. Request ids are fixed per
demo, so a start that was cut short goes on where it stopped and makes nothing twice.
"""

import uuid
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from services.chassis.channel import Remote
from services.local.stack import KEY_SECRET
from services.local.state import StateFolder
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import entities_pb2 as entities
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.common.v1 import error_pb2

FILE = "demo.json"
RPC_TIMEOUT_S = 10.0  # the first call may find the service still opening its store
DOLLAR = 1_000_000_000  # in nano-USD


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo tenant. `created` is true for whoever made it just now: secrets are shown once."""

    organisation_id: str
    project_id: str
    key: str
    created: bool


async def ensure_demo(state: StateFolder, budget: Remote) -> Demo:
    """Return the demo tenant of this state folder, made now if there is none.

    `budget` is a connection with the operator's token. Raises TurnpikeError when the budget service refuses or cannot
    be reached.
    """
    known = state.read(FILE)
    key = state.kept_secret(KEY_SECRET)
    if key and known.get("project_id"):
        return Demo(str(known["organisation_id"]), str(known["project_id"]), key, created=False)
    if "seed" not in known:
        known = {"seed": uuid.uuid4().hex[:12]}
        state.write(FILE, known)
    return await _Maker(budget, f"demo-{known['seed']}").make(state, known)


class _Maker:
    """Makes one demo; `prefix` begins all its request ids."""

    def __init__(self, budget: Remote, prefix: str) -> None:
        self._budget = budget
        self._stub = BudgetAdminServiceStub(budget.channel)
        self._prefix = prefix

    async def make(self, state: StateFolder, known: dict[str, object]) -> Demo:
        organisation = await self._organisation()
        team = await self._team(organisation)
        project = await self._project(team)
        user = await self._user(organisation)
        key, secret = await self._key(project, user)
        await self._budgets(organisation, team, project, key, user)
        state.keep_secret(KEY_SECRET, secret)
        state.write(FILE, {**known, "organisation_id": organisation, "project_id": project})
        return Demo(organisation, project, secret, created=True)

    def _id(self, what: str) -> str:
        return f"{self._prefix}-{what}"

    async def _organisation(self) -> str:
        request = pb.CreateOrganisationRequest(
            request_id=self._id("organisation"),
            organisation=entities.Organisation(display_name="Demo organisation", time_zone="UTC"),
        )
        response = await self._budget.unary(self._stub.CreateOrganisation, request, timeout_s=RPC_TIMEOUT_S)
        return response.organisation.organisation_id

    async def _team(self, organisation: str) -> str:
        request = pb.CreateTeamRequest(
            request_id=self._id("team"),
            team=entities.Team(organisation_id=organisation, display_name="Demo team"),
        )
        response = await self._budget.unary(self._stub.CreateTeam, request, timeout_s=RPC_TIMEOUT_S)
        return response.team.team_id

    async def _project(self, team: str) -> str:
        request = pb.CreateProjectRequest(
            request_id=self._id("project"),
            project=entities.Project(team_id=team, display_name="Demo project"),
        )
        response = await self._budget.unary(self._stub.CreateProject, request, timeout_s=RPC_TIMEOUT_S)
        return response.project.project_id

    async def _user(self, organisation: str) -> str:
        request = pb.CreateUserRequest(
            request_id=self._id("user"),
            user=entities.User(organisation_id=organisation, external_id="demo-user"),
        )
        response = await self._budget.unary(self._stub.CreateUser, request, timeout_s=RPC_TIMEOUT_S)
        return response.user.user_id

    async def _key(self, project: str, user: str) -> tuple[str, str]:
        """Make the key. Its secret is told once, so a new one is made each time: an id of an earlier try is no use."""
        request = pb.CreateKeyRequest(
            request_id=self._id(f"key-{uuid.uuid4().hex[:8]}"),
            key=entities.Key(
                project_id=project,
                user_id=user,
                display_name="Demo key",
                permissions=[entities.KEY_PERMISSION_GENERATE, entities.KEY_PERMISSION_METER],
            ),
        )
        response = await self._budget.unary(self._stub.CreateKey, request, timeout_s=RPC_TIMEOUT_S)
        return response.key.key_id, response.secret

    async def _budgets(self, organisation: str, team: str, project: str, key: str, user: str) -> None:
        """One budget on each level, tighter towards the bottom, in windows of several kinds."""
        month, week, day = (
            entities.Window(calendar=entities.CalendarWindow(period=period))
            for period in (
                entities.CALENDAR_PERIOD_MONTH,
                entities.CALENDAR_PERIOD_WEEK,
                entities.CALENDAR_PERIOD_DAY,
            )
        )
        minute = entities.Window(rolling=entities.RollingWindow(length=Duration(seconds=60)))
        money, requests = error_pb2.BUDGET_UNIT_MONEY, error_pb2.BUDGET_UNIT_REQUESTS
        at = entities.BudgetSubject
        wanted = (
            (
                "organisation",
                "Demo organisation, monthly",
                at(organisation_id=organisation),
                money,
                100 * DOLLAR,
                month,
            ),
            ("team", "Demo team, weekly", at(team_id=team), money, 25 * DOLLAR, week),
            ("project", "Demo project, daily", at(project_id=project), money, 5 * DOLLAR, day),
            ("user", "Demo user, daily", at(user_id=user), money, 2 * DOLLAR, day),
            (f"key-{key}", "Demo key, daily", at(key_id=key), money, 1 * DOLLAR, day),
            (f"rate-{key}", "Demo key, requests", at(key_id=key), requests, 60, minute),
        )
        for name, display_name, subject, unit, limit, window in wanted:
            request = pb.CreateBudgetRequest(
                request_id=self._id(f"budget-{name}"),
                budget=entities.Budget(
                    subject=subject, unit=unit, limit=limit, window=window, display_name=display_name
                ),
            )
            await self._budget.unary(self._stub.CreateBudget, request, timeout_s=RPC_TIMEOUT_S)
