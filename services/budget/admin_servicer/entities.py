"""RPCs for organisations, teams, projects and users."""

from typing import Any, TypeVar

from google.protobuf.message import Message

from services.budget import convert_entities as convert
from services.budget.admin_servicer.calls import asking, changing
from services.budget.convert_entities import to_pb_entity
from services.budget.domain.checks import Checks
from services.budget.domain.kinds import ORGANISATION, PROJECT, TEAM, USER, Kind
from services.budget.use_cases.access import selection
from services.budget.use_cases.entities import Entities
from services.kernel.clock import Clock
from services.kernel.ids import OrganisationId
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc
from turnpike.budget.v1 import entities_pb2 as entities_pb

M = TypeVar("M", bound=Message)


class EntityRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """Organisations, teams, projects, users."""

    def __init__(self, entities: Entities, clock: Clock) -> None:
        self._entities = entities
        self._clock = clock

    async def CreateOrganisation(
        self, request: pb.CreateOrganisationRequest, context: object
    ) -> pb.CreateOrganisationResponse:
        new = convert.from_pb_new(request, convert.ORGANISATION_SHAPE)
        organisation = await self._entities.create(ORGANISATION, new, changing(request, self._clock))
        return pb.CreateOrganisationResponse(
            organisation=to_pb_entity(organisation, entities_pb.Organisation)
        )

    async def GetOrganisation(
        self, request: pb.GetOrganisationRequest, context: object
    ) -> pb.GetOrganisationResponse:
        organisation = await self._entities.get(ORGANISATION, request.organisation_id, asking())
        return pb.GetOrganisationResponse(organisation=to_pb_entity(organisation, entities_pb.Organisation))

    async def ListOrganisations(
        self, request: pb.ListOrganisationsRequest, context: object
    ) -> pb.ListOrganisationsResponse:
        page, token = await list_page(self._entities, ORGANISATION, request, entities_pb.Organisation)
        return pb.ListOrganisationsResponse(organisations=page, next_page_token=token)

    async def UpdateOrganisation(
        self, request: pb.UpdateOrganisationRequest, context: object
    ) -> pb.UpdateOrganisationResponse:
        update = convert.from_pb_update(request, convert.ORGANISATION_SHAPE)
        organisation = await self._entities.update(ORGANISATION, update, changing(request, self._clock))
        return pb.UpdateOrganisationResponse(
            organisation=to_pb_entity(organisation, entities_pb.Organisation)
        )

    async def ArchiveOrganisation(
        self, request: pb.ArchiveOrganisationRequest, context: object
    ) -> pb.ArchiveOrganisationResponse:
        organisation = await self._archive(ORGANISATION, request)
        return pb.ArchiveOrganisationResponse(
            organisation=to_pb_entity(organisation, entities_pb.Organisation)
        )

    async def CreateTeam(self, request: pb.CreateTeamRequest, context: object) -> pb.CreateTeamResponse:
        new = convert.from_pb_new(request, convert.TEAM_SHAPE)
        team = await self._entities.create(TEAM, new, changing(request, self._clock))
        return pb.CreateTeamResponse(team=to_pb_entity(team, entities_pb.Team))

    async def GetTeam(self, request: pb.GetTeamRequest, context: object) -> pb.GetTeamResponse:
        team = await self._entities.get(TEAM, request.team_id, asking())
        return pb.GetTeamResponse(team=to_pb_entity(team, entities_pb.Team))

    async def ListTeams(self, request: pb.ListTeamsRequest, context: object) -> pb.ListTeamsResponse:
        page, token = await list_page(self._entities, TEAM, request, entities_pb.Team)
        return pb.ListTeamsResponse(teams=page, next_page_token=token)

    async def UpdateTeam(self, request: pb.UpdateTeamRequest, context: object) -> pb.UpdateTeamResponse:
        update = convert.from_pb_update(request, convert.TEAM_SHAPE)
        team = await self._entities.update(TEAM, update, changing(request, self._clock))
        return pb.UpdateTeamResponse(team=to_pb_entity(team, entities_pb.Team))

    async def ArchiveTeam(self, request: pb.ArchiveTeamRequest, context: object) -> pb.ArchiveTeamResponse:
        team = await self._archive(TEAM, request)
        return pb.ArchiveTeamResponse(team=to_pb_entity(team, entities_pb.Team))

    async def CreateProject(
        self, request: pb.CreateProjectRequest, context: object
    ) -> pb.CreateProjectResponse:
        new = convert.from_pb_new(request, convert.PROJECT_SHAPE)
        project = await self._entities.create(PROJECT, new, changing(request, self._clock))
        return pb.CreateProjectResponse(project=to_pb_entity(project, entities_pb.Project))

    async def GetProject(self, request: pb.GetProjectRequest, context: object) -> pb.GetProjectResponse:
        project = await self._entities.get(PROJECT, request.project_id, asking())
        return pb.GetProjectResponse(project=to_pb_entity(project, entities_pb.Project))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: object) -> pb.ListProjectsResponse:
        page, token = await list_page(
            self._entities, PROJECT, request, entities_pb.Project, parent_id=request.team_id
        )
        return pb.ListProjectsResponse(projects=page, next_page_token=token)

    async def UpdateProject(
        self, request: pb.UpdateProjectRequest, context: object
    ) -> pb.UpdateProjectResponse:
        update = convert.from_pb_update(request, convert.PROJECT_SHAPE)
        project = await self._entities.update(PROJECT, update, changing(request, self._clock))
        return pb.UpdateProjectResponse(project=to_pb_entity(project, entities_pb.Project))

    async def ArchiveProject(
        self, request: pb.ArchiveProjectRequest, context: object
    ) -> pb.ArchiveProjectResponse:
        project = await self._archive(PROJECT, request)
        return pb.ArchiveProjectResponse(project=to_pb_entity(project, entities_pb.Project))

    async def CreateUser(self, request: pb.CreateUserRequest, context: object) -> pb.CreateUserResponse:
        new = convert.from_pb_new(request, convert.USER_SHAPE)
        user = await self._entities.create(USER, new, changing(request, self._clock))
        return pb.CreateUserResponse(user=to_pb_entity(user, entities_pb.User))

    async def GetUser(self, request: pb.GetUserRequest, context: object) -> pb.GetUserResponse:
        user = await self._entities.get(USER, request.user_id, asking())
        return pb.GetUserResponse(user=to_pb_entity(user, entities_pb.User))

    async def ListUsers(self, request: pb.ListUsersRequest, context: object) -> pb.ListUsersResponse:
        page, token = await list_page(self._entities, USER, request, entities_pb.User)
        return pb.ListUsersResponse(users=page, next_page_token=token)

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: object) -> pb.UpdateUserResponse:
        update = convert.from_pb_update(request, convert.USER_SHAPE)
        user = await self._entities.update(USER, update, changing(request, self._clock))
        return pb.UpdateUserResponse(user=to_pb_entity(user, entities_pb.User))

    async def ArchiveUser(self, request: pb.ArchiveUserRequest, context: object) -> pb.ArchiveUserResponse:
        user = await self._archive(USER, request)
        return pb.ArchiveUserResponse(user=to_pb_entity(user, entities_pb.User))

    async def _archive(self, kind: Kind[Any], request: Any) -> Any:
        entity_id, version = convert.from_pb_archive(request, kind)
        return await self._entities.archive(kind, entity_id, version, changing(request, self._clock))


async def list_page(
    entities: Entities,
    kind: Kind[Any],
    request: Any,
    message_type: type[M],
    *,
    parent_id: str = "",
    state: int = 0,
    newest_first: bool = False,
) -> tuple[list[M], str]:
    """A page of entities on the wire, and the token of the next."""
    checks = Checks()
    after, count = convert.from_pb_page(checks, request)
    organisation_id = None
    if kind is not ORGANISATION and "organisation_id" in request.DESCRIPTOR.fields_by_name:
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
    checks.done()
    chosen = selection(
        asking(),
        organisation_id=organisation_id,
        after=after,
        page_size=count,
        include_archived=getattr(request, "include_archived", True),
        parent_id=parent_id or None,
        state=state or None,
        newest_first=newest_first,
    )
    page = await entities.list(kind, chosen)
    last_id = kind.id_of(page.entities[-1]) if page.entities else ""
    token = convert.to_pb_page_token(last_id, more=page.more)
    return [to_pb_entity(entity, message_type) for entity in page.entities], token
