"""The kinds of entities, so that what is the same for all of them is said once."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from services.budget.domain.alerts import Alert, Webhook
from services.budget.domain.budgets import SubjectKind
from services.budget.domain.entities import AdminToken, Key, Organisation, Project, Team, User
from services.budget.domain.ids import AlertId, LimitRaiseId, WebhookId
from services.budget.domain.limits import LimitOverride, LimitRaise, StoredBudget
from services.budget.domain.roles import DEPLOYMENT, Scope
from services.kernel.ids import (
    AdminTokenId,
    BudgetId,
    KeyId,
    MadeId,
    OrganisationId,
    OverrideId,
    ProjectId,
    TeamId,
    UserId,
)

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Kind(Generic[E]):
    """A kind of entity."""

    name: str
    """In the contract, in tables and in queries, such as `team`."""
    entity: type[E]
    id_type: type[MadeId]

    @property
    def id_field(self) -> str:
        """The field that names an entity of this kind."""
        return f"{self.name}_id"

    @property
    def label(self) -> str:
        """For people."""
        return self.name.replace("_", " ")

    def id_of(self, entity: E) -> str:
        """The id of an entity of this kind."""
        return str(getattr(entity, self.id_field))


ORGANISATION = Kind("organisation", Organisation, OrganisationId)
TEAM = Kind("team", Team, TeamId)
PROJECT = Kind("project", Project, ProjectId)
USER = Kind("user", User, UserId)
KEY = Kind("key", Key, KeyId)
ADMIN_TOKEN = Kind("admin_token", AdminToken, AdminTokenId)
BUDGET = Kind("budget", StoredBudget, BudgetId)
OVERRIDE = Kind("override", LimitOverride, OverrideId)
LIMIT_RAISE = Kind("limit_raise", LimitRaise, LimitRaiseId)
WEBHOOK = Kind("webhook", Webhook, WebhookId)
ALERT = Kind("alert", Alert, AlertId)

KINDS: tuple[Kind[Any], ...] = (
    ORGANISATION,
    TEAM,
    PROJECT,
    USER,
    KEY,
    ADMIN_TOKEN,
    BUDGET,
    OVERRIDE,
    LIMIT_RAISE,
    WEBHOOK,
    ALERT,
)

SUBJECTS: dict[SubjectKind, Kind[Any]] = {
    SubjectKind.ORGANISATION: ORGANISATION,
    SubjectKind.TEAM: TEAM,
    SubjectKind.PROJECT: PROJECT,
    SubjectKind.KEY: KEY,
    SubjectKind.USER: USER,
}


def scope_of(entity: object) -> Scope:
    """Where an entity lies in its tenant's tree."""
    match entity:
        case Organisation(organisation_id=organisation) | User(organisation_id=organisation):
            return Scope(organisation)
        case Team(organisation_id=organisation, team_id=team):
            return Scope(organisation, team)
        case (
            Project(organisation_id=organisation, team_id=team)
            | Key(organisation_id=organisation, team_id=team)
        ):
            return Scope(organisation, team, below_team=True)
        case AdminToken(organisation_id=None) | Webhook(organisation_id=None):
            return DEPLOYMENT
        case Webhook(organisation_id=organisation):
            return Scope(organisation)
        case AdminToken(organisation_id=holder, team_id=holders_team):
            return Scope(holder, holders_team)
        case StoredBudget(organisation_id=organisation, team_id=at, subject_kind=subject):
            return Scope(organisation, at, below_team=subject in (SubjectKind.PROJECT, SubjectKind.KEY))
    raise TypeError(f"{type(entity).__name__} has no place in a tenant's tree")
