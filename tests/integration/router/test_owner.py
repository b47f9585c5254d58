"""Two replicas of the budget service: a router whose stream leads to the one that does not own an organisation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.app import serving
from services.chassis.channel import connect
from services.chassis.settings import Address, Secret
from services.chassis.status import RemoteError
from services.router.bootstrap import app
from services.router.settings import RouterSettings
from tests.support.budget import serving_budget
from tests.support.budget_admin import SERVICE
from tests.support.conditions import until
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import CALL_S, Road, make_budget, request, road
from tests.support.vendors import failing, speak
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import router_pb2, router_pb2_grpc


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    async with raw_vendor(failing(500)) as broken:
        models = {"broken": broken.base_url, "sound": vendor.base_url}
        async with road(postgres_dsn, tmp_path, models) as running:
            yield running


async def test_holds_settlements_and_refusals_reach_the_owner(on: Road) -> None:
    await on.generate()  # the road's own replica owns the organisation from now on
    async with serving_budget(on.dsn) as other:
        settings = RouterSettings(
            listen=Address("127.0.0.1", 0),
            postgres_dsn=Secret(on.dsn),
            budget_address=other.address,
            providers_address=on.providers,
            service_token=Secret(SERVICE),
            access_log="off",
            drain_s=0.2,
        )
        async with (
            serving(app, settings) as running,
            connect("router", str(running.address), token=on.tenant.key_secret) as router,
        ):
            stub = router_pb2_grpc.RouterServiceStub(router.channel)

            async def usable() -> bool:
                listed = await router.unary(stub.ListModels, router_pb2.ListModelsRequest(), timeout_s=CALL_S)
                return any(model.usable for model in listed.models)

            await until(usable)
            for number in range(4):  # some by way of a fallback: settled and held in one step
                asked = request(request_id=f"owned-{number}")
                answer = await router.unary(stub.Generate, asked, timeout_s=CALL_S)
                assert answer.outcome.model == "local/sound"
            budget = entities_pb2.Budget(
                subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
                unit=error_pb2.BUDGET_UNIT_MONEY,
                limit=1,
                display_name="nothing",
            )
            await make_budget(on, budget)
            with pytest.raises(RemoteError) as raised:
                await router.unary(stub.Generate, request(request_id="refused"), timeout_s=CALL_S)
            assert raised.value.reason == "BUDGET_EXHAUSTED"
            failure = raised.value.detail(error_pb2.BudgetFailure)
            assert failure is not None
            assert failure.shortfalls[0].display_name == "nothing"
    assert all(not kind.startswith("EXPIRE") for kind in await on.settled(holds=5))
