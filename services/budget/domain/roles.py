"""Who may do what with BudgetAdminService: one table, and the pure function that reads it.

`docs/roles.md` shows the table to people; a test keeps the two and the contract's list of RPCs the same. What a caller
may not see is hidden, as if it did not exist; what he sees and may not do is forbidden.
"""

from dataclasses import dataclass
from enum import Enum

from services.budget.domain.entities import AdminToken, Role
from services.kernel.ids import OrganisationId, TeamId


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a thing lies in a tenant's tree."""

    organisation_id: OrganisationId | None
    """None: it belongs to the deployment, not to a tenant."""
    team_id: TeamId | None = None
    """None: it belongs to the organisation as a whole."""
    below_team: bool = False
    """True: it hangs below the team, as projects, keys and their budgets do; the team itself does not."""


DEPLOYMENT = Scope(None)


class Verdict(Enum):
    """What becomes of a call."""

    ALLOWED = "allowed"
    HIDDEN = "hidden"
    FORBIDDEN = "forbidden"


class Reach(Enum):
    """How far down a team admin's right to write goes, and whether tokens of a team see the thing at all."""

    NOTHING = "nothing of it"
    READ = "reads it"
    """Seen by tokens of a team although it belongs to the organisation."""
    BELOW_TEAM = "below the team"
    TEAM = "the team and below"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which roles an RPC takes."""

    roles: frozenset[Role]
    reach: Reach = Reach.NOTHING
    """For tokens of a team."""

    @property
    def reads(self) -> bool:
        """True if viewers may: nothing is changed by it."""
        return Role.VIEWER in self.roles


_OPERATOR = frozenset({Role.OPERATOR})
_ORGANISATION_ADMINS = _OPERATOR | {Role.ORGANISATION_ADMIN}
_TEAM_ADMINS = _ORGANISATION_ADMINS | {Role.TEAM_ADMIN}
_EVERYBODY = _TEAM_ADMINS | {Role.VIEWER}

OPERATE = Rule(_OPERATOR)
ADMINISTER = Rule(_ORGANISATION_ADMINS)
ADMINISTER_BELOW_TEAM = Rule(_TEAM_ADMINS, Reach.BELOW_TEAM)
ASK_FOR_TEAM = Rule(_TEAM_ADMINS, Reach.TEAM)
READ_ORGANISATION = Rule(_EVERYBODY)
READ_TEAM = Rule(_EVERYBODY, Reach.TEAM)
READ_SHARED = Rule(_EVERYBODY, Reach.READ)

RULES: dict[str, Rule] = {
    "CreateOrganisation": OPERATE,
    "GetOrganisation": READ_SHARED,
    "ListOrganisations": READ_SHARED,
    "UpdateOrganisation": ADMINISTER,
    "ArchiveOrganisation": OPERATE,
    "CreateTeam": ADMINISTER,
    "GetTeam": READ_TEAM,
    "ListTeams": READ_TEAM,
    "UpdateTeam": ADMINISTER,
    "ArchiveTeam": ADMINISTER,
    "CreateProject": ADMINISTER_BELOW_TEAM,
    "GetProject": READ_TEAM,
    "ListProjects": READ_TEAM,
    "UpdateProject": ADMINISTER_BELOW_TEAM,
    "ArchiveProject": ADMINISTER_BELOW_TEAM,
    "CreateUser": ADMINISTER,
    "GetUser": READ_SHARED,
    "ListUsers": READ_SHARED,
    "UpdateUser": ADMINISTER,
    "ArchiveUser": ADMINISTER,
    "CreateBudget": ADMINISTER_BELOW_TEAM,
    "GetBudget": READ_TEAM,
    "ListBudgets": READ_TEAM,
    "UpdateBudget": ADMINISTER_BELOW_TEAM,
    "ArchiveBudget": ADMINISTER_BELOW_TEAM,
    "CreateKey": ADMINISTER_BELOW_TEAM,
    "GetKey": READ_TEAM,
    "ListKeys": READ_TEAM,
    "UpdateKey": ADMINISTER_BELOW_TEAM,
    "RotateKey": ADMINISTER_BELOW_TEAM,
    "RevokeKey": ADMINISTER_BELOW_TEAM,
    "CreateAdminToken": ADMINISTER,
    "ListAdminTokens": ADMINISTER,
    "RevokeAdminToken": ADMINISTER,
    "GetBudgetStatus": READ_TEAM,
    "ListBudgetStatuses": READ_TEAM,
    "WatchBudgets": READ_TEAM,
    "CreateBudgetOverride": ADMINISTER_BELOW_TEAM,
    "ListBudgetOverrides": READ_TEAM,
    "RevokeBudgetOverride": ADMINISTER_BELOW_TEAM,
    "TransferBudget": ADMINISTER_BELOW_TEAM,
    "RequestLimitRaise": ASK_FOR_TEAM,
    "ListLimitRaises": READ_TEAM,
    "ApproveLimitRaise": ADMINISTER,
    "DenyLimitRaise": ADMINISTER,
    "ListLedgerEntries": READ_ORGANISATION,
    "VerifyLedger": READ_ORGANISATION,
    "ListChainHeads": READ_ORGANISATION,
    "ExportLedger": READ_ORGANISATION,
    "TrimLedger": OPERATE,
    "ListPrices": READ_SHARED,
    "SetPrice": OPERATE,
    "ImportPrices": OPERATE,
    "RerateUsage": OPERATE,
    "ReconcileInvoice": READ_ORGANISATION,
    "ListAlerts": READ_TEAM,
    "CreateWebhook": ADMINISTER,
    "ListWebhooks": ADMINISTER,
    "DeleteWebhook": ADMINISTER,
    "ListAuditRecords": READ_TEAM,
}

# What an organisation costs and whether it may call at all is between it and whoever runs the deployment.
OPERATORS_FIELDS = frozenset({"state", "discount_ppm", "unknown_price_policy"})


def judge(admin: AdminToken, method: str, scope: Scope) -> Verdict:
    """Whether `admin` may call `method` on something in `scope`."""
    rule = RULES[method]
    if admin.role is Role.OPERATOR:
        return Verdict.ALLOWED
    if scope.organisation_id is None:
        return Verdict.FORBIDDEN
    if scope.organisation_id != admin.organisation_id:
        return Verdict.HIDDEN
    if admin.team_id is not None and not _team_sees(admin.team_id, rule, scope):
        return Verdict.HIDDEN
    if admin.role not in rule.roles:
        return Verdict.FORBIDDEN
    if admin.role is Role.TEAM_ADMIN and not _team_admin_writes(rule, scope):
        return Verdict.FORBIDDEN
    return Verdict.ALLOWED


def _team_sees(team: TeamId, rule: Rule, scope: Scope) -> bool:
    if scope.team_id is None:
        return rule.reach is Reach.READ
    return scope.team_id == team


def _team_admin_writes(rule: Rule, scope: Scope) -> bool:
    if rule.reads or rule.reach is Reach.TEAM:
        return True
    return rule.reach is Reach.BELOW_TEAM and scope.below_team


def may_grant(admin: AdminToken, role: Role, scope: Scope) -> bool:
    """Whether a token of `role` for `scope` gives nobody more than `admin` has himself."""
    if admin.role is Role.OPERATOR:
        return True
    if role < admin.role or scope.organisation_id != admin.organisation_id:
        return False
    return admin.team_id is None or scope.team_id == admin.team_id
