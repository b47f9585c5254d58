"""The first operator: a token that exists once."""

import stat
from pathlib import Path

import pytest

from services.budget.admin_settings import AdminSettings
from services.chassis.settings import Secret, load
from services.chassis.status import RemoteError
from tests.support.budget_admin import OPERATOR, serving_admin
from turnpike.budget.v1 import budget_admin_pb2 as pb


async def test_an_empty_deployment_writes_its_token_once_for_its_owner_alone(
    postgres_dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "operator"
    for _ in range(2):
        async with serving_admin(
            postgres_dsn, bootstrap_admin_token=None, bootstrap_token_file=file
        ) as admin:
            token = file.read_text().strip()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            api = await admin.as_(token)
            tokens = (await api.ListAdminTokens(pb.ListAdminTokensRequest())).admin_tokens
            assert [known.secret_prefix for known in tokens] == [token[:10]]
    file.unlink()
    async with serving_admin(postgres_dsn, bootstrap_admin_token=None, bootstrap_token_file=file):
        assert not file.exists()  # the deployment has an operator: nothing is made, nothing is shown


async def test_a_given_token_counts_beside_others(postgres_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "operator"
    async with serving_admin(postgres_dsn, bootstrap_admin_token=None, bootstrap_token_file=file):
        first = file.read_text().strip()
    async with serving_admin(postgres_dsn, bootstrap_admin_token=Secret(OPERATOR)) as admin:
        for secret in (first, OPERATOR):
            await (await admin.as_(secret)).ListTeams(pb.ListTeamsRequest())


async def test_without_either_nobody_is_let_in(postgres_dsn: str) -> None:
    async with serving_admin(postgres_dsn, bootstrap_admin_token=None) as admin:
        with pytest.raises(RemoteError) as refused:
            await (await admin.operator()).ListTeams(pb.ListTeamsRequest())
        assert refused.value.reason == "CREDENTIALS_INVALID"


def test_a_weak_token_is_refused_before_the_start() -> None:
    settings = load(AdminSettings, {"TURNPIKE_BOOTSTRAP_ADMIN_TOKEN": "tpa_short"})
    assert [problem.variable for problem in settings.admin_problems()] == ["TURNPIKE_BOOTSTRAP_ADMIN_TOKEN"]
