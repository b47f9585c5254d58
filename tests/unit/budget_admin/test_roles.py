from pathlib import Path

import pytest

from services.budget.domain.entities import AdminToken, Role
from services.budget.domain.roles import DEPLOYMENT, RULES, Scope, Verdict, judge, may_grant
from services.kernel.clock import ManualClock
from services.kernel.ids import AdminTokenId, OrganisationId, TeamId

OURS, THEIRS = OrganisationId.new(), OrganisationId.new()
TEAM, OTHER_TEAM = TeamId.new(), TeamId.new()


def token(role: Role, organisation: OrganisationId | None = OURS, team: TeamId | None = None) -> AdminToken:
    return AdminToken(
        admin_token_id=AdminTokenId.new(),
        display_name="test",
        role=role,
        organisation_id=organisation,
        team_id=team,
        secret_hash=b"",
        secret_prefix="",
        created_at=ManualClock().now(),
    )


OPERATOR = token(Role.OPERATOR, None)
ADMIN = token(Role.ORGANISATION_ADMIN)
TEAM_ADMIN = token(Role.TEAM_ADMIN, team=TEAM)
VIEWER = token(Role.VIEWER)
TEAM_VIEWER = token(Role.VIEWER, team=TEAM)


def test_the_page_shows_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "roles.md").read_text()
    for name, rule in RULES.items():
        cells = ["yes" if role in rule.roles else "–" for role in Role]
        assert f"| {name} | {' | '.join(cells)} | {rule.reach.value} |" in page


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("admin", [ADMIN, TEAM_ADMIN, VIEWER, TEAM_VIEWER], ids=lambda t: t.role.name)
def test_another_organisation_is_hidden(method: str, admin: AdminToken) -> None:
    for scope in (Scope(THEIRS), Scope(THEIRS, TEAM), Scope(THEIRS, TEAM, below_team=True)):
        assert judge(admin, method, scope) is Verdict.HIDDEN


@pytest.mark.parametrize("method", RULES)
def test_operators_do_everything_and_viewers_change_nothing(method: str) -> None:
    for scope in (DEPLOYMENT, Scope(OURS), Scope(OURS, TEAM), Scope(OURS, TEAM, below_team=True)):
        assert judge(OPERATOR, method, scope) is Verdict.ALLOWED
        if judge(VIEWER, method, scope) is Verdict.ALLOWED:
            assert method.startswith(("Get", "List", "Watch", "Verify", "Export", "Reconcile"))


def test_a_team_admin_stays_below_his_team() -> None:
    below, team, whole = Scope(OURS, TEAM, below_team=True), Scope(OURS, TEAM), Scope(OURS)
    assert judge(TEAM_ADMIN, "UpdateBudget", below) is Verdict.ALLOWED
    assert judge(TEAM_ADMIN, "UpdateBudget", team) is Verdict.FORBIDDEN
    assert judge(TEAM_ADMIN, "UpdateBudget", whole) is Verdict.HIDDEN
    assert judge(TEAM_ADMIN, "UpdateBudget", Scope(OURS, OTHER_TEAM, below_team=True)) is Verdict.HIDDEN
    assert judge(TEAM_ADMIN, "RequestLimitRaise", team) is Verdict.ALLOWED
    assert judge(TEAM_ADMIN, "GetOrganisation", whole) is Verdict.ALLOWED
    assert judge(TEAM_VIEWER, "ListLedgerEntries", whole) is Verdict.HIDDEN


def test_nobody_gives_more_than_he_has() -> None:
    assert may_grant(OPERATOR, Role.OPERATOR, DEPLOYMENT)
    assert may_grant(ADMIN, Role.ORGANISATION_ADMIN, Scope(OURS))
    assert may_grant(ADMIN, Role.VIEWER, Scope(OURS, TEAM))
    assert not may_grant(ADMIN, Role.OPERATOR, DEPLOYMENT)
    assert not may_grant(ADMIN, Role.VIEWER, Scope(THEIRS))
    assert not may_grant(TEAM_ADMIN, Role.VIEWER, Scope(OURS))
    assert not may_grant(VIEWER, Role.TEAM_ADMIN, Scope(OURS, TEAM))
