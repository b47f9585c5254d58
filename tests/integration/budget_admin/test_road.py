import hashlib

import pytest

from services.chassis.status import RemoteError
from tests.support.budget_admin import Admin, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_pb2
from turnpike.budget.v1.entities_pb2 import ENTITY_STATE_ARCHIVED


async def test_a_tenant_is_made_and_listed(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    organisations = await api.ListOrganisations(pb.ListOrganisationsRequest())
    assert [o.organisation_id for o in organisations.organisations] == [tenant.organisation.organisation_id]
    keys = await api.ListKeys(pb.ListKeysRequest(project_id=tenant.project.project_id))
    assert list(keys.keys) == [tenant.key]
    assert tenant.key_secret.startswith("tpk_")
    assert tenant.key_secret.startswith(tenant.key.secret_prefix)
    budgets = await api.ListBudgets(pb.ListBudgetsRequest())
    assert list(budgets.budgets) == list(tenant.budgets)
    status = await api.GetBudgetStatus(pb.GetBudgetStatusRequest(budget_id=tenant.budgets[0].budget_id))
    assert (status.status.limit_in_force, status.status.left) == (1_000_000_000, 1_000_000_000)


async def test_routers_hear_of_a_key_and_of_its_end(admin: Admin) -> None:
    api, router = await admin.operator(), await admin.router()
    tenant = await make_tenant(api, "Acme")
    digest = hashlib.sha256(tenant.key_secret.encode()).digest()
    async with router.watch("WatchDirectory", budget_pb2.WatchDirectoryRequest()) as messages:
        snapshot = await anext(messages)
        assert snapshot.snapshot.complete
        (key,) = snapshot.snapshot.entries.keys
        assert key.secret_hash == digest
        assert key.principal.project_id == tenant.project.project_id
        assert not key.disabled
        known = await router.Authenticate(budget_pb2.AuthenticateRequest(secret_hash=digest))
        assert known.key == key
        await api.RevokeKey(pb.RevokeKeyRequest(request_id=request_id(), key_id=tenant.key.key_id))
        change = await anext(message async for message in messages if not message.HasField("heartbeat"))
        assert change.revision > snapshot.revision
        assert [entry.disabled for entry in change.change.entries.keys] == [True]


async def test_a_request_happens_once(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    request = pb.RotateKeyRequest(request_id=request_id(), key_id=tenant.key.key_id, grace_seconds=60)
    first = await api.RotateKey(request)
    again = await api.RotateKey(request)
    assert first.secret
    assert again == pb.RotateKeyResponse(key=first.key)
    request.grace_seconds = 61
    with pytest.raises(RemoteError) as refused:
        await api.RotateKey(request)
    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_archiving_keeps_what_was(admin: Admin) -> None:
    api = await admin.operator()
    tenant = await make_tenant(api, "Acme")
    request = pb.ArchiveTeamRequest(request_id=request_id(), team_id=tenant.team.team_id)
    assert (await api.ArchiveTeam(request)).team.state == ENTITY_STATE_ARCHIVED
    assert not (await api.ListTeams(pb.ListTeamsRequest())).teams
    assert len((await api.ListTeams(pb.ListTeamsRequest(include_archived=True))).teams) == 1
