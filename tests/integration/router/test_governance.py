"""Admins govern by RPC: policies, grants, aliases; each change is in force at once and on the trail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.chassis.channel import connect
from services.chassis.status import RemoteError
from tests.support.budget_admin import OPERATOR, Api, make_token
from tests.support.budget_admin import request_id as new_id
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import Road, Vendor, road
from tests.support.vendors import failing, speak
from turnpike.budget.v1 import entities_pb2
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1 import router_admin_pb2_grpc, router_pb2


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    models = {
        "cheap": Vendor(vendor.base_url, quality=0.5, input_rate=10**8, output_rate=10**8),
        "middle": Vendor(vendor.base_url, quality=0.6),
        "best": Vendor(vendor.base_url, quality=0.9, input_rate=10**10, output_rate=10**10),
    }
    async with road(postgres_dsn, tmp_path, models) as running:
        yield running


@asynccontextmanager
async def admin(on: Road, token: str = OPERATOR) -> AsyncIterator[Api]:
    async with connect("router", on.address, token=token) as remote:
        yield Api(remote, router_admin_pb2_grpc.RouterAdminServiceStub(remote.channel))


def organisation(on: Road) -> str:
    return on.tenant.organisation.organisation_id


def unprobed(document: str) -> str:
    """The document without probes: they would try a close loser now and then, and these tests ask for the winner."""
    return f"{document}\nprobe_share: 0\n"


def policy(on: Road, document: str, scope: str = "", **more: Any) -> pb.PutPolicyRequest:
    """A policy without probes."""
    more.setdefault("state", pb.POLICY_STATE_ACTIVE)
    written = pb.Policy(
        organisation_id=organisation(on),
        scope=scope or f"project:{on.tenant.project.project_id}",
        document_yaml=unprobed(document),
        **more,
    )
    return pb.PutPolicyRequest(request_id=new_id(), policy=written)


async def chosen(on: Road, **more: Any) -> str:
    return (await on.generate(**more)).outcome.model


async def test_the_narrowest_policy_decides_and_can_be_rolled_back(on: Road) -> None:
    async with admin(on) as api:
        scope = f"organisation:{organisation(on)}"
        await api.PutPolicy(policy(on, "strategy: cost", scope))
        assert await chosen(on) == "local/cheap"
        first = (await api.PutPolicy(policy(on, "strategy: capability"))).policy
        assert await chosen(on) == "local/best"
        again = pb.Policy()
        again.CopyFrom(first)
        again.document_yaml = unprobed("quality: {min: 0.55}\nstrategy: cost")
        await api.PutPolicy(pb.PutPolicyRequest(request_id=new_id(), policy=again, expected_version=1))
        assert await chosen(on) == "local/middle"
        stale = pb.PutPolicyRequest(request_id=new_id(), policy=again, expected_version=1)
        with pytest.raises(RemoteError, match="ETAG_MISMATCH|changed since"):
            await api.PutPolicy(stale)
        back = pb.RollBackPolicyRequest(request_id=new_id(), policy_id=first.policy_id, version=1)
        assert (await api.RollBackPolicy(back)).policy.version == 3
        assert await chosen(on) == "local/best"
        versions = await api.ListPolicyVersions(pb.ListPolicyVersionsRequest(policy_id=first.policy_id))
        assert [version.version for version in versions.versions] == [3, 2, 1]
        await api.DeletePolicy(pb.DeletePolicyRequest(request_id=new_id(), policy_id=first.policy_id))
        assert await chosen(on) == "local/cheap"
        trail = await api.ListRouterAuditRecords(
            pb.ListRouterAuditRecordsRequest(organisation_id=organisation(on))
        )
        assert [record.method for record in trail.audit_records] == [
            "DeletePolicy",
            "RollBackPolicy",
            "PutPolicy",
            "PutPolicy",
            "PutPolicy",
        ]


async def test_a_document_with_mistakes_is_refused_with_lines(on: Road) -> None:
    async with admin(on) as api:
        with pytest.raises(RemoteError) as raised:
            await api.PutPolicy(policy(on, "strategy: cost\nquality:\n  min: 3"))
        assert raised.value.reason == "POLICY_INVALID"
        assert [violation.field for violation in raised.value.violations] == ["document_yaml:3:8"]
        checked = await api.ValidatePolicy(pb.ValidatePolicyRequest(document_yaml="stratgy: cost"))
        assert not checked.valid
        assert checked.problems[0].line == 1


async def test_the_same_change_twice_is_one_change(on: Road) -> None:
    async with admin(on) as api:
        request = policy(on, "strategy: cost")
        first, second = await api.PutPolicy(request), await api.PutPolicy(request)
        assert first == second
        request.policy.document_yaml = "strategy: latency"
        with pytest.raises(RemoteError) as raised:
            await api.PutPolicy(request)
        assert raised.value.reason == "REQUEST_ID_REUSED"


async def test_grants_bind_every_path_also_fallback_and_aliases(on: Road, vendor: RawVendor) -> None:
    async with admin(on) as api:

        async def grant(subject: str, pattern: str, *, deny: bool = False) -> str:
            made = pb.ModelGrant(
                organisation_id=organisation(on), subject=subject, model_pattern=pattern, deny=deny
            )
            answer = await api.CreateModelGrant(pb.CreateModelGrantRequest(request_id=new_id(), grant=made))
            return str(answer.grant.grant_id)

        denial = await grant(f"key:{on.tenant.key.key_id}", "local/best", deny=True)
        alias = pb.ModelAlias(
            organisation_id=organisation(on),
            alias="smart",
            targets=[pb.AliasTarget(model="local/best"), pb.AliasTarget(model="local/middle")],
        )
        await api.PutAlias(pb.PutAliasRequest(request_id=new_id(), alias=alias))
        assert await chosen(on, model="smart") == "local/middle"
        with pytest.raises(RemoteError) as raised:
            await on.generate(model="local/best")
        assert raised.value.reason == "MODEL_NOT_ALLOWED"
        listed = await on.router.unary(on.stub.ListModels, router_pb2.ListModelsRequest(), timeout_s=5)
        assert {model.model for model in listed.models} == {"local/cheap", "local/middle", "smart"}

        vendor.requests.clear()
        vendor.script = failing(500)
        with pytest.raises(RemoteError):
            await on.generate(routing={"attempts_max": 8})
        assert not [request for request in vendor.requests if b'"best"' in request.body]
        vendor.script = speak

        await api.DeleteModelGrant(pb.DeleteModelGrantRequest(request_id=new_id(), grant_id=denial))
        assert await chosen(on, model="local/best") == "local/best"
        await grant(f"team:{on.tenant.team.team_id}", "local/cheap")
        assert await chosen(on) == "local/cheap"
        with pytest.raises(RemoteError):
            await on.generate(model="local/best")


async def test_an_alias_is_a_canary(on: Road) -> None:
    async with admin(on) as api:
        alias = pb.ModelAlias(
            organisation_id=organisation(on),
            alias="main",
            targets=[
                pb.AliasTarget(model="local/middle", permille=800),
                pb.AliasTarget(model="local/cheap", permille=200),
            ],
        )
        await api.PutAlias(pb.PutAliasRequest(request_id=new_id(), alias=alias))
    models = [await chosen(on, model="main") for _ in range(60)]
    assert set(models) == {"local/middle", "local/cheap"}
    assert models.count("local/middle") > 30


async def test_a_shadow_policy_is_recorded_and_does_not_act(on: Road) -> None:
    async with admin(on) as api:
        await api.PutPolicy(policy(on, "strategy: cost"))
        await api.PutPolicy(policy(on, "strategy: capability", state=pb.POLICY_STATE_SHADOW))
    response = await on.generate()
    assert response.outcome.model == "local/cheap"
    found = await on.router.unary(
        on.stub.GetDecision,
        router_pb2.GetDecisionRequest(decision_id=response.outcome.decision_id),
        timeout_s=5,
    )
    assert found.decision.shadow_plan_first == "local/best"


async def test_admins_see_and_change_their_own_alone(on: Road) -> None:
    ours = organisation(on)
    viewer = await make_token(on.operator, entities_pb2.ROLE_VIEWER, organisation_id=ours)
    team_admin = await make_token(
        on.operator,
        entities_pb2.ROLE_TEAM_ADMIN,
        organisation_id=ours,
        team_id=on.tenant.team.team_id,
    )
    async with admin(on, viewer) as api:
        assert not (await api.ListPolicies(pb.ListPoliciesRequest())).policies
        with pytest.raises(RemoteError) as raised:
            await api.PutPolicy(policy(on, "strategy: cost"))
        assert raised.value.reason == "PERMISSION_DENIED"
    async with admin(on, team_admin) as api:
        await api.PutPolicy(policy(on, "strategy: cost"))
        with pytest.raises(RemoteError) as raised:
            await api.PutPolicy(policy(on, "strategy: cost", f"organisation:{ours}"))
        assert raised.value.reason == "PERMISSION_DENIED"
    async with admin(on, on.tenant.key_secret) as api:
        with pytest.raises(RemoteError) as raised:
            await api.ListPolicies(pb.ListPoliciesRequest())
        assert raised.value.reason == "CREDENTIALS_INVALID"
