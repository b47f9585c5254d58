"""The analytics service over the real budget service's tokens and prices, with two tenants that have used something."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.analytics.adapters.postgres import PostgresDecisions, PostgresUsage
from services.analytics.bootstrap import SQL, app
from services.analytics.convert import from_pb_decision
from services.analytics.settings import AnalyticsSettings
from services.analytics.use_cases.decisions import Decisions
from services.budget.domain.entities import Role
from services.chassis.app import serving
from services.chassis.channel import connect
from services.chassis.postgres import open_database
from services.chassis.settings import Address, Secret
from tests.support.budget import OTHER_SERVICE
from tests.support.budget_admin import SERVICE, Api, Tenant, make_tenant, make_token, serving_admin
from tests.support.usage import page, usage
from turnpike.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from turnpike.common.v1.principal_pb2 import Principal
from turnpike.router.v1.decision_pb2 import Decision


@dataclass
class World:
    """Who is there, and ways to ask."""

    operator: Api
    ours: Tenant
    theirs: Tenant
    address: str
    stack: AsyncExitStack

    async def asked_by(self, secret: str | None) -> Api:
        """The service, asked with a credential."""
        remote = await self.stack.enter_async_context(connect("analytics", self.address, token=secret))
        return Api(remote, AnalyticsServiceStub(remote.channel))

    async def as_(self, role: Role, *, of_team: bool) -> Api:
        """The service, asked by somebody of ours."""
        ours = self.ours
        secret = await make_token(
            self.operator,
            int(role),  # type: ignore[arg-type]
            organisation_id=ours.organisation.organisation_id,
            team_id=ours.team.team_id if of_team else "",
        )
        return await self.asked_by(secret)


@asynccontextmanager
async def two_tenants(postgres_dsn: str, state: Path, now: datetime) -> AsyncIterator[World]:
    """Each has an attempt that failed two days ago, with its decision, and one that succeeded now."""
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(serving_admin(postgres_dsn))
        operator = await admin.operator()
        ours, theirs = await make_tenant(operator, "Ours"), await make_tenant(operator, "Theirs")
        settings = AnalyticsSettings(
            listen=Address("127.0.0.1", 0),
            postgres_dsn=Secret(postgres_dsn),
            budget_address=admin.address,
            service_token=Secret(SERVICE),
            service_tokens={"router": Secret(SERVICE), "providers": Secret(OTHER_SERVICE)},
            state_dir=state,
            drain_s=0.2,
            access_log="off",
        )
        running = await stack.enter_async_context(serving(app, settings))
        async with open_database(postgres_dsn, schema="analytics", folder=SQL) as database:
            for tenant in (ours, theirs):
                await _used(PostgresUsage(database), Decisions(PostgresDecisions(database)), tenant, now)
        yield World(operator, ours, theirs, str(running.address), stack)


async def _used(store: PostgresUsage, decisions: Decisions, tenant: Tenant, now: datetime) -> None:
    whose = ids_of(tenant)
    at = now - timedelta(days=2)
    failed = usage(1, at, **whose, outcome="failed", request_id=f"request-of-{whose['organisation_id']}")
    assert await store.store(page(failed, usage(2, now, **whose)))
    decision = Decision(
        decision_id=f"dec_of_{whose['organisation_id']}",
        request_id=failed.request_id,
        principal=Principal(**whose),
    )
    decision.decided_at.FromDatetime(at)
    await decisions.record([from_pb_decision(decision)])


def ids_of(tenant: Tenant) -> dict[str, Any]:
    """Whose usage a tenant's is."""
    return {
        "organisation_id": tenant.organisation.organisation_id,
        "team_id": tenant.team.team_id,
        "project_id": tenant.project.project_id,
        "key_id": tenant.key.key_id,
    }
