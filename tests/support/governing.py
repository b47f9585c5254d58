"""An admin of the router on the whole road: policies, aliases and grants in one line each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.channel import connect
from tests.support.budget_admin import OPERATOR, Api
from tests.support.budget_admin import request_id as new_id
from tests.support.road import Road
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1 import router_admin_pb2_grpc, router_pb2


@asynccontextmanager
async def admin(on: Road) -> AsyncIterator[Api]:
    """The admin API, as the operator."""
    async with connect("router", on.address, token=OPERATOR) as remote:
        yield Api(remote, router_admin_pb2_grpc.RouterAdminServiceStub(remote.channel))


async def put_policy(on: Road, document: str) -> None:
    """Puts a policy of the tenant's project in force; without probes, because tests ask for the winner."""
    policy = pb.Policy(
        organisation_id=on.tenant.organisation.organisation_id,
        scope=f"project:{on.tenant.project.project_id}",
        document_yaml=f"{document}\nprobe_share: 0\n",
        state=pb.POLICY_STATE_ACTIVE,
    )
    async with admin(on) as api:
        await api.PutPolicy(pb.PutPolicyRequest(request_id=new_id(), policy=policy))


async def put_alias(on: Road, name: str, *targets: str) -> None:
    """An alias for these models; the engine chooses among them."""
    alias = pb.ModelAlias(
        organisation_id=on.tenant.organisation.organisation_id,
        alias=name,
        targets=[pb.AliasTarget(model=target) for target in targets],
    )
    async with admin(on) as api:
        await api.PutAlias(pb.PutAliasRequest(request_id=new_id(), alias=alias))


async def put_grant(on: Road, pattern: str, *, deny: bool = False) -> None:
    """Allows or denies a pattern of models to the tenant's project."""
    grant = pb.ModelGrant(
        organisation_id=on.tenant.organisation.organisation_id,
        subject=f"project:{on.tenant.project.project_id}",
        model_pattern=pattern,
        deny=deny,
    )
    async with admin(on) as api:
        await api.CreateModelGrant(pb.CreateModelGrantRequest(request_id=new_id(), grant=grant))


async def decision_of(on: Road, decision_id: str, *, replay: bool = False) -> router_pb2.GetDecisionResponse:
    """A decision that was made."""
    asked = router_pb2.GetDecisionRequest(decision_id=decision_id, replay=replay)
    return await on.router.unary(on.stub.GetDecision, asked, timeout_s=5)
