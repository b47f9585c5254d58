"""When nobody takes calls at this moment: a request waits for whoever is back, and no longer than makes sense."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.status import RemoteError
from services.router.use_cases.second_look import WAIT_S_MAX
from tests.support.raw_vendor import RawVendor, raw_vendor
from tests.support.road import Road, make_budget, road
from tests.support.vendors import failing, speak, stall
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import error_pb2

OPENS_A_BREAKER = 6


@pytest.fixture
async def vendor() -> AsyncIterator[RawVendor]:
    async with raw_vendor(failing(500)) as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[RawVendor]:
    async with raw_vendor(failing(500)) as running:
        yield running


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path, vendor: RawVendor, other: RawVendor) -> AsyncIterator[Road]:
    async with road(postgres_dsn, tmp_path, {"one": vendor.base_url, "two": other.base_url}) as running:
        yield running


async def test_who_is_back_is_waited_for(on: Road, vendor: RawVendor) -> None:
    for _ in range(OPENS_A_BREAKER):
        with pytest.raises(RemoteError):
            await on.generate(timeout_s=2.0)
    vendor.script = speak
    answers = await asyncio.gather(*(on.generate() for _ in range(8)))
    assert {answer.outcome.model for answer in answers} == {"local/one"}


async def test_nobody_is_asked_more_than_twice_and_an_outage_of_all_is_told(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    begun = time.monotonic()
    with pytest.raises(RemoteError) as raised:
        await on.generate(request_id="outage", timeout_s=60.0)
    assert raised.value.reason == "ALL_ATTEMPTS_FAILED"
    assert time.monotonic() - begun < WAIT_S_MAX + 5.0
    assert 2 <= len(vendor.requests) + len(other.requests) <= 4
    kinds = await on.settled(holds=2)
    assert sum(kind.startswith("HOLD") for kind in kinds) == len(vendor.requests) + len(other.requests)


async def test_the_only_one_that_does_not_rest_is_not_waited_for_to_the_end(
    on: Road, vendor: RawVendor, other: RawVendor
) -> None:
    vendor.script = speak
    await on.generate()
    vendor.script = failing(500)
    for _ in range(OPENS_A_BREAKER):
        with pytest.raises(RemoteError):
            await on.generate(timeout_s=1.0)
    vendor.script, other.script = stall, speak
    begun = time.monotonic()
    assert (await on.generate(timeout_s=20.0)).outcome.model == "local/two"
    assert time.monotonic() - begun < 15.0


async def test_a_probe_whose_hold_is_refused_leaves_the_endpoint_to_the_next(
    postgres_dsn: str, tmp_path: Path, vendor: RawVendor
) -> None:
    async with road(postgres_dsn, tmp_path, {"one": vendor.base_url}) as on:
        await make_budget(
            on,
            entities_pb2.Budget(
                subject=entities_pb2.BudgetSubject(key_id=on.tenant.key.key_id),
                unit=error_pb2.BUDGET_UNIT_MONEY,
                limit=1_000_000,
                display_name="tight",
            ),
        )
        for _ in range(OPENS_A_BREAKER):
            with pytest.raises(RemoteError):
                await on.generate(timeout_s=0.5)
        vendor.script = speak
        with pytest.raises(RemoteError) as raised:  # let pass when the rest is over, and then not paid for
            await on.generate(cap=4000)
        assert raised.value.reason == "BUDGET_EXHAUSTED"
        answer = await on.generate()
        assert answer.outcome.duration.ToNanoseconds() < 2e9
