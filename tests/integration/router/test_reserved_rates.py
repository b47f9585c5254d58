"""A share of a model group's rate is kept for priorities or tasks: others move on or are refused before they use it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from services.chassis.status import RemoteError
from tests.support.governing import decision_of, put_policy
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import Road, Vendor, make_budget, road
from tests.support.vendors import speak
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import error_pb2
from turnpike.router.v1 import decision_pb2

LIMIT = 5
RESERVED = """
strategy: capability
reserve:
  - {models: "group:large", share: 0.4, priorities: [interactive], tasks: [code]}
"""
BACKGROUND: dict[str, Any] = {"priority": decision_pb2.PRIORITY_BACKGROUND}
LARGE_ONLY: dict[str, Any] = {**BACKGROUND, "allow_models": ["group:large"]}


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(speak) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor) -> AsyncIterator[Road]:
    """A large model whose group answers five requests an hour, and a small one without a rate."""
    models: dict[str, Vendor | str] = {
        "large": Vendor(vendor.base_url, quality=0.9, more='groups = ["large"]'),
        "small": Vendor(vendor.base_url, quality=0.5),
    }
    async with road(postgres_dsn, tmp_path, models) as running:
        await make_budget(
            running,
            entities_pb2.Budget(
                subject=entities_pb2.BudgetSubject(
                    organisation_id=running.tenant.organisation.organisation_id
                ),
                unit=error_pb2.BUDGET_UNIT_REQUESTS,
                limit=LIMIT,
                window=entities_pb2.Window(fixed=entities_pb2.FixedWindow(length=Duration(seconds=3600))),
                model_scope=entities_pb2.ModelScope(model_group="large"),
                display_name="large an hour",
            ),
        )
        await put_policy(running, RESERVED)
        yield running


async def models_of(on: Road, times: int, **more: Any) -> list[str]:
    return [(await on.generate(**more)).outcome.model.removeprefix("local/") for _ in range(times)]


async def test_background_leaves_the_reserved_share_to_people(on: Road) -> None:
    assert await models_of(on, 5, routing=BACKGROUND) == ["large"] * 3 + ["small"] * 2
    assert await models_of(on, 3) == ["large"] * 2 + ["small"]


async def test_a_reserved_task_may_use_it_whatever_its_priority(on: Road) -> None:
    assert await models_of(on, 5, routing={**BACKGROUND, "task": "code"}) == ["large"] * 5


async def test_a_refusal_names_the_rate_and_what_is_left_for_such_requests(
    on: Road, vendor: RawVendor
) -> None:
    await models_of(on, 3, routing=LARGE_ONLY)
    with pytest.raises(RemoteError) as raised:
        await on.generate(routing=LARGE_ONLY)
    assert raised.value.reason == "RATE_LIMITED"
    failure = raised.value.detail(error_pb2.BudgetFailure)
    assert failure is not None
    (short,) = failure.shortfalls
    assert (short.display_name, short.model_scope) == ("large an hour", "group:large")
    assert (short.limit, short.left) == (3, 0)
    assert len(vendor.requests) == 3


async def test_the_decision_shows_that_it_moved_on(on: Road) -> None:
    await models_of(on, 3, routing=BACKGROUND)
    response = await on.generate(routing=BACKGROUND)
    decision = (await decision_of(on, response.outcome.decision_id)).decision
    assert decision.replans == 1
    assert {item.model: item.excluded_by for item in decision.candidates} == {
        "local/small": "",
        "local/large": "budget.headroom",
    }
