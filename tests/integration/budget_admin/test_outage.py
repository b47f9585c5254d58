"""Without Postgres admins hear so at once, and everything heals by itself."""

import asyncio
import time

import pytest

from services.chassis.status import RemoteError
from tests.support.budget_admin import make_tenant, request_id, serving_admin
from tests.support.severable import severable
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.entities_pb2 import Organisation

# What connecting may take, and this machine's slowness.
PROMPTLY_S = 5.0


async def test_an_outage_is_said_promptly_and_heals(postgres_dsn: str) -> None:
    async with severable(postgres_dsn) as (way, dsn), serving_admin(dsn) as admin:
        api = await admin.operator()
        await make_tenant(api, "Acme")
        way.cut()
        request = pb.CreateOrganisationRequest(
            request_id=request_id(), organisation=Organisation(display_name="Later")
        )
        for call in (api.ListTeams(pb.ListTeamsRequest()), api.CreateOrganisation(request)):
            before = time.monotonic()
            with pytest.raises(RemoteError) as refused:
                await call
            assert refused.value.reason == "STORE_UNAVAILABLE"
            assert time.monotonic() - before < PROMPTLY_S
        way.mend()
        async with asyncio.timeout(20):
            while True:
                try:
                    made = await api.CreateOrganisation(request)
                    break
                except RemoteError as away:
                    assert away.reason == "STORE_UNAVAILABLE"
        assert (await api.CreateOrganisation(request)) == made
        names = [
            organisation.display_name
            for organisation in (await api.ListOrganisations(pb.ListOrganisationsRequest())).organisations
        ]
        assert names == ["Acme", "Later"]
