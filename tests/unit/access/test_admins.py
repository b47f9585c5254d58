"""Whose an admin token is, and how far an admin sees."""

import pytest

from services.access import AdminCaller, AdminRole, AdminTokens
from services.access import admins as module
from services.chassis.auth import secret_hash
from services.chassis.call import Call, CallKind
from services.kernel.errors import (
    CredentialsInvalid,
    CredentialsMissing,
    InvalidRequest,
    NotFound,
    PermissionDenied,
)
from turnpike.budget.v1 import entities_pb2 as entities


def call(credential: str | None) -> Call:
    metadata = {} if credential is None else {"authorization": f"Bearer {credential}"}
    return Call("/x/Y", CallKind.UNARY, metadata, "", None)


class Budget:
    """Knows one token and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def look_up(self, digest: bytes) -> entities.AdminToken:
        self.asked += 1
        if digest != secret_hash("tpa_known"):
            raise CredentialsInvalid("an admin token (tpa_…)")
        return entities.AdminToken(admin_token_id="adm_1", role=entities.ROLE_VIEWER, organisation_id="org_1")


async def test_a_token_is_asked_for_once_and_again_when_the_answer_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = Budget()
    authenticate = AdminTokens(budget.look_up)
    first = await authenticate(call("tpa_known"))
    assert (first.role, first.organisation_id) == (AdminRole.VIEWER, "org_1")
    assert await authenticate(call("tpa_known")) is first
    assert budget.asked == 1
    monkeypatch.setattr(module, "REMEMBERED_S", 0.0)
    await authenticate(call("tpa_known"))
    assert budget.asked == 2


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        (None, CredentialsMissing),
        ("tpk_a_tenants_key", CredentialsInvalid),
        ("tps_a_services_token", CredentialsInvalid),
        ("tpa_unknown", CredentialsInvalid),
    ],
)
async def test_nothing_but_a_known_admin_token_is_taken(
    credential: str | None, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        await AdminTokens(Budget().look_up)(call(credential))


async def test_a_refusal_is_not_remembered() -> None:
    budget = Budget()
    authenticate = AdminTokens(budget.look_up)
    for _ in range(2):
        with pytest.raises(CredentialsInvalid):
            await authenticate(call("tpa_unknown"))
    assert budget.asked == 2


def admin(role: AdminRole, organisation_id: str = "", team_id: str = "") -> AdminCaller:
    return AdminCaller("adm_1", "adm_1", role, organisation_id, team_id)


def test_an_operator_names_the_organisation_and_others_have_theirs() -> None:
    assert admin(AdminRole.OPERATOR).organisation("org_2") == "org_2"
    with pytest.raises(InvalidRequest):
        admin(AdminRole.OPERATOR).organisation("")
    viewer = admin(AdminRole.VIEWER, "org_1")
    assert viewer.organisation("") == "org_1"
    with pytest.raises(NotFound):
        viewer.organisation("org_2")


def test_a_team_admin_sees_his_team_alone() -> None:
    team_admin = admin(AdminRole.TEAM_ADMIN, "org_1", "team_1")
    assert team_admin.team("") == "team_1"
    with pytest.raises(NotFound):
        team_admin.team("team_2")
    assert admin(AdminRole.VIEWER, "org_1").team("team_2") == "team_2"


def test_a_role_is_required_by_name() -> None:
    admin(AdminRole.OPERATOR).require(AdminRole.ORGANISATION_ADMIN)
    with pytest.raises(PermissionDenied) as refused:
        admin(AdminRole.VIEWER, "org_1").require(AdminRole.ORGANISATION_ADMIN)
    assert "operator or organisation admin" in refused.value.message
