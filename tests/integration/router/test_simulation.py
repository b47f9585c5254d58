"""Past requests decided again under another policy, by the engine itself."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from services.chassis.channel import connect
from services.chassis.status import RemoteError
from services.kernel.clock import SystemClock
from services.router.convert_stored import from_pb_past
from services.router.domain.catalogue import Catalogue
from services.router.domain.directory import Entries, PriceEntry
from services.router.domain.estimates import CataloguePriors
from services.router.domain.learned import EstimatorBook
from services.router.domain.world import World
from services.router.use_cases.resimulate import Past, Resimulate
from services.router.use_cases.route import Router
from tests.support.boards import model, price
from tests.support.budget_admin import OPERATOR, Api
from tests.support.governing import put_policy
from tests.support.raw_vendor import raw_vendor
from tests.support.road import Road, Vendor, road
from tests.support.vendors import speak
from turnpike.router.v1 import decision_pb2, router_admin_pb2_grpc, router_pb2
from turnpike.router.v1 import router_admin_pb2 as pb


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with raw_vendor(speak) as vendor:
        models = {
            "cheap": Vendor(vendor.base_url, quality=0.6, input_rate=10**8, output_rate=10**8),
            "good": Vendor(vendor.base_url, quality=0.62, input_rate=10**10, output_rate=10**10),
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            await put_policy(running, "strategy: balanced")
            yield running


async def decisions(on: Road, count: int) -> list[decision_pb2.Decision]:
    found = []
    for _ in range(count):
        response = await on.generate()
        asked = router_pb2.GetDecisionRequest(decision_id=response.outcome.decision_id)
        answer = await on.router.unary(on.stub.GetDecision, asked, timeout_s=5)
        found.append(answer.decision)
    return found


async def test_stored_decisions_are_decided_again(on: Road) -> None:
    stored = await decisions(on, 2)
    assert stored[0].plan[0] == "local/cheap"
    ours = on.tenant.organisation.organisation_id
    async with connect("router", on.address, token=OPERATOR) as remote:
        api = Api(remote, router_admin_pb2_grpc.RouterAdminServiceStub(remote.channel))
        same = await api.DecideStored(pb.DecideStoredRequest(organisation_id=ours, decisions=stored))
        assert [decision.plan[0] for decision in same.decisions] == ["local/cheap"] * 2
        request = pb.DecideStoredRequest(
            organisation_id=ours,
            decisions=stored,
            document_yaml="strategy: capability\nprobe_share: 0\n",
        )
        other = await api.DecideStored(request)
        assert [decision.plan[0] for decision in other.decisions] == ["local/good"] * 2
        request.document_yaml = "tasks: {required: true}"
        refused = await api.DecideStored(request)
        assert not refused.decisions[0].plan
        request.document_yaml = "strategy: none"
        with pytest.raises(RemoteError) as raised:
            await api.DecideStored(request)
        assert raised.value.reason == "POLICY_INVALID"
        stored[0].principal.organisation_id = "org_another"
        with pytest.raises(RemoteError) as raised:
            await api.DecideStored(pb.DecideStoredRequest(organisation_id=ours, decisions=stored))
        assert raised.value.reason == "INVALID_REQUEST"


async def test_a_simulation_sums_what_would_change(on: Road) -> None:
    stored = await decisions(on, 4)
    pasts = [from_pb_past(decision) for decision in stored]

    async def pages() -> AsyncIterator[Sequence[Past]]:
        yield pasts[:3]
        yield pasts[3:]

    world = World()
    rates = {"local/cheap": (0.1, 0.1), "local/good": (10.0, 10.0)}
    known = [
        model("local/cheap", quality_priors={"chat": 0.6}),
        model("local/good", quality_priors={"chat": 0.62}),
    ]
    world.take_catalogue(Catalogue(1, {facts.model: facts for facts in known}))
    prices = [PriceEntry(price(name, *rate), "", 1) for name, rate in rates.items()]
    world.directory.apply(1, Entries(prices=prices))
    resimulate = Resimulate(Router(world, EstimatorBook(CataloguePriors()), SystemClock()))
    lines, count = await resimulate.lines(pages(), "strategy: capability\nprobe_share: 0\n", "")
    assert count == 4
    assert (lines[0].requests, lines[0].moved, lines[0].refused_after) == (4, 4, 0)
    assert lines[0].cost_before_nanos == 4 * 700
    assert lines[0].cost_after_nanos == 4 * 70_000  # the same tokens at the other price
    assert lines[0].models_after == {"local/good": 4}
