"""Asks the table of roles, and turns its verdict into what the caller hears."""

from services.budget.admin_ports import Selection
from services.budget.domain.admin import AdminCall
from services.budget.domain.entities import Role
from services.budget.domain.roles import RULES, Reach, Scope, Verdict, judge
from services.kernel.errors import NotFound, PermissionDenied
from services.kernel.ids import OrganisationId


def permit(call: AdminCall, scope: Scope, label: str, entity_id: str) -> None:
    """Returns if the caller may; raises NotFound for what he may not see, PermissionDenied for what he may not do."""
    match judge(call.admin, call.method, scope):
        case Verdict.HIDDEN:
            raise NotFound(label, entity_id)
        case Verdict.FORBIDDEN:
            raise denied(call)


def denied(call: AdminCall) -> PermissionDenied:
    """The refusal of a caller who may not do this, naming the roles that may."""
    roles = sorted(RULES[call.method].roles)
    return PermissionDenied("the role " + " or ".join(role.name.lower().replace("_", " ") for role in roles))


def selection(
    call: AdminCall,
    *,
    organisation_id: OrganisationId | None,
    after: str,
    page_size: int,
    include_archived: bool = False,
    parent_id: str | None = None,
    state: int | None = None,
    newest_first: bool = False,
) -> Selection:
    """What a list shows to its caller: nothing outside of his organisation and team.

    Raises NotFound if he names another organisation, PermissionDenied if his role may not list this at all.
    """
    admin, rule = call.admin, RULES[call.method]
    if admin.role not in rule.roles:
        raise denied(call)
    team_id = None
    if admin.role is not Role.OPERATOR:
        if organisation_id not in (None, admin.organisation_id):
            raise NotFound("organisation", str(organisation_id))
        organisation_id = admin.organisation_id
        if admin.team_id is not None and rule.reach is Reach.NOTHING:
            raise PermissionDenied("a token for the whole organisation")
        team_id = None if rule.reach is Reach.READ else admin.team_id
    return Selection(
        organisation_id=organisation_id,
        team_id=team_id,
        parent_id=parent_id,
        state=state,
        include_archived=include_archived,
        after=after,
        count=page_size,
        newest_first=newest_first,
    )
