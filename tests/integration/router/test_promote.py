"""A trained prior is put in force by an operator: on every replica, with its trail, and taken back in one call."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.chassis.channel import connect
from services.chassis.status import RemoteError
from services.cli.prior_files import judged_prior
from services.cli.route import route
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.prior import to_bytes
from tests.support.budget_admin import OPERATOR, Api
from tests.support.budget_admin import request_id as new_id
from tests.support.conditions import until
from tests.support.governing import put_policy
from tests.support.raw_vendor import raw_vendor
from tests.support.road import Road, Vendor, replica, request, road
from tests.support.vendors import speak
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1 import router_admin_pb2_grpc, router_pb2, router_pb2_grpc

CODE = {"task": "code"}


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with raw_vendor(speak) as vendor:
        models = {
            "modest": Vendor(vendor.base_url, quality=0.70),
            "famous": Vendor(vendor.base_url, quality=0.80),
        }
        async with road(postgres_dsn, tmp_path, models) as running:
            await put_policy(running, "strategy: capability")
            yield running


def outcomes(modest: float, famous: float, *, later: float | None = None) -> list[Outcome]:
    """300 rows in time; `later`: what became of the modest model in the last fifth."""
    rows = []
    for number in range(300):
        share = later if later is not None and number >= 240 else modest
        arms: dict[str, tuple[float, float | None]] = {
            "local/modest": (float(number % 10 < 10 * share), 0.001),
            "local/famous": (float(number % 10 < 10 * famous), 0.002),
        }
        rows.append(Outcome(f"r{number}", f"write function number {number}", arms, "code", "own"))
    return rows


def prior_of(rows: list[Outcome], version: str = "made") -> bytes:
    prior, _ = judged_prior(rows, seed=0, version=version)
    return to_bytes(prior)


async def admin_api(on: Road, token: str = OPERATOR) -> Api:
    remote = await on.stack.enter_async_context(connect("router", on.address, token=token))
    return Api(remote, router_admin_pb2_grpc.RouterAdminServiceStub(remote.channel))


async def chosen(on: Road) -> str:
    return (await on.generate(routing=CODE)).outcome.model


async def test_a_prior_is_in_force_everywhere_and_taken_back_in_one_call(on: Road) -> None:
    api = await admin_api(on)
    assert await chosen(on) == "local/famous"
    content = prior_of(outcomes(0.9, 0.4))
    checked = await api.PromotePrior(pb.PromotePriorRequest(request_id=new_id(), prior=content, dry_run=True))
    assert (checked.passed, checked.promoted, checked.prior_version) == (True, False, "shipped")
    assert await chosen(on) == "local/famous"
    asked = pb.PromotePriorRequest(request_id=new_id(), prior=content)
    async with replica(on) as other:
        stub = router_pb2_grpc.RouterServiceStub(other.channel)
        promoted = await api.PromotePrior(asked)
        assert promoted.promoted, promoted.findings
        assert promoted.prior_version == checked.checked_version
        assert await chosen(on) == "local/modest"

        async def there() -> bool:
            answer = await other.unary(stub.Generate, request(routing=CODE), timeout_s=5)
            return bool(answer.outcome.model == "local/modest")

        await until(there, within_s=2.0)
    answer = await on.generate(routing=CODE)
    found = await on.router.unary(
        on.stub.GetDecision,
        router_pb2.GetDecisionRequest(decision_id=answer.outcome.decision_id, replay=True),
        timeout_s=5,
    )
    assert found.identical
    assert found.decision.versions.prior == f"prior {promoted.prior_version}"
    first = found.decision.candidates[0].estimates
    assert list(first.quality_sources) == ["catalogue", f"prior {promoted.prior_version}"]
    assert first.prior_outcomes > 250  # of 300, by how sure the task is
    assert (await api.PromotePrior(asked)).prior_version == promoted.prior_version, "the same again"
    back = pb.PromotePriorRequest(request_id=new_id(), prior_version="shipped")
    assert (await api.PromotePrior(back)).prior_version == "shipped"
    assert await chosen(on) == "local/famous"
    again = pb.PromotePriorRequest(request_id=new_id(), prior_version=promoted.prior_version)
    assert (await api.PromotePrior(again)).promoted
    assert await chosen(on) == "local/modest"
    trail = await api.ListRouterAuditRecords(pb.ListRouterAuditRecordsRequest())
    assert [(record.method, record.entity_id) for record in trail.audit_records] == [
        ("PromotePrior", promoted.prior_version),
        ("PromotePrior", "shipped"),
        ("PromotePrior", promoted.prior_version),
    ]


async def test_what_misses_its_floor_is_no_prior_or_no_operators_is_refused(on: Road) -> None:
    api = await admin_api(on)
    missed = await api.PromotePrior(
        pb.PromotePriorRequest(request_id=new_id(), prior=prior_of(outcomes(0.9, 0.6, later=0.1)))
    )
    assert not missed.promoted
    assert not missed.passed
    assert "own: 0." in missed.findings[0]
    assert missed.prior_version == "shipped"
    for wrong in (
        pb.PromotePriorRequest(request_id=new_id(), prior=b"PK no prior"),
        pb.PromotePriorRequest(request_id=new_id()),
        pb.PromotePriorRequest(request_id=new_id(), prior=b"PK", prior_version="shipped"),
    ):
        with pytest.raises(RemoteError) as raised:
            await api.PromotePrior(wrong)
        assert raised.value.reason == "INVALID_REQUEST"
    with pytest.raises(RemoteError) as raised:
        await api.PromotePrior(pb.PromotePriorRequest(request_id=new_id(), prior_version="0123456789ab"))
    assert raised.value.reason == "NOT_FOUND"


async def test_a_prior_that_promises_more_than_was_found_is_refused(on: Road) -> None:
    api = await admin_api(on)
    for number in range(25):
        answer = await on.generate(model="local/modest", routing={"task": "code"})
        feedback = router_pb2.SubmitFeedbackRequest(
            feedback_id=f"bad-{number}", decision_id=answer.outcome.decision_id, rating=0.2
        )
        await on.router.unary(on.stub.SubmitFeedback, feedback, timeout_s=5)
    asked = pb.PromotePriorRequest(request_id=new_id(), prior=prior_of(outcomes(0.9, 0.4)))
    refused = await api.PromotePrior(asked)
    assert not refused.promoted
    assert "local/modest at code" in refused.findings[0]


async def test_the_command_promotes_and_says_what_is_in_force(on: Road, tmp_path: Path) -> None:
    file = tmp_path / "prior.npz"
    file.write_bytes(prior_of(outcomes(0.9, 0.4)))

    async def run(*arguments: str) -> tuple[int, str]:
        options = ["promote", *arguments, "--address", on.address, "--token", OPERATOR]
        result = await asyncio.to_thread(CliRunner().invoke, route, options)
        return result.exit_code, result.output

    code, told = await run(str(file), "--dry-run")
    assert code == 0, told
    assert "may be used; in force: shipped" in told
    code, told = await run(str(file))
    assert code == 0, told
    assert await chosen(on) == "local/modest"
    file.write_bytes(prior_of(outcomes(0.9, 0.6, later=0.1)))
    code, told = await run(str(file))
    assert code == 1
    assert "refused" in told
    code, told = await run("--version", "shipped")
    assert code == 0
    assert "in force: shipped" in told
