"""A router that vanishes in the middle of a stream: providers tells the budget service what was consumed."""

from pathlib import Path
from typing import Any

import pytest

from services.chassis.settings import Secret
from tests.support.budget import MODEL, OTHER_SERVICE, hold, principal_of, serving_budget
from tests.support.budget_admin import Api, Tenant, make_tenant, request_id
from tests.support.conditions import until
from tests.support.providers import attempt, chat_chunk, endpoint, providers
from tests.support.raw_vendor import Connection, Request, raw_vendor
from turnpike.budget.v1 import budget_admin_pb2 as admin_pb
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.common.v1 import price_pb2
from turnpike.providers.v1 import providers_pb2

HELD_NANOS = 400_000_000
NANOS_PER_TOKEN = 1_000
WORDS = "one two three four five six seven eight nine ten"


async def speak_and_wait(request: Request, connection: Connection) -> None:
    await connection.begin_stream()
    await connection.chunk(chat_chunk(content=WORDS))
    await connection.until_closed()


async def never_answer(request: Request, connection: Connection) -> None:
    await connection.until_closed()


async def price(operator: Api) -> None:
    """A price at which the cost tells the tokens."""
    rate = NANOS_PER_TOKEN * 1_000_000
    tier = price_pb2.PriceTier(input_nanos_per_million=rate, output_nanos_per_million=rate)
    await operator.SetPrice(
        admin_pb.SetPriceRequest(
            request_id=request_id(),
            price=price_pb2.ModelPrice(model=MODEL, tiers=[tier], currency_code="USD"),
        )
    )


@pytest.mark.parametrize(
    ("script", "state"),
    [(speak_and_wait, pb.HOLD_STATE_COMMITTED), (never_answer, pb.HOLD_STATE_UNCONFIRMED)],
)
async def test_the_witness_settles_for_a_router_that_is_gone(
    script: Any, state: int, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITNESS_KEY", "key")
    async with (
        serving_budget(postgres_dsn) as budgets,
        raw_vendor(script) as vendor,
        providers(
            tmp_path,
            [endpoint(vendor.base_url, model=MODEL, api_key_env="WITNESS_KEY")],
            budget_address=budgets.address,
            service_token=Secret(OTHER_SERVICE),
        ) as running,
    ):
        operator, router = await budgets.operator(), await budgets.router()
        tenant: Tenant = await make_tenant(operator, "acme")
        await price(operator)
        asked = hold(tenant, HELD_NANOS)
        granted = (await router.Hold(asked)).grant

        operation = providers_pb2.DispatchOperation(
            operation_id=1,
            start=attempt(
                key=asked.key,
                principal=principal_of(tenant),
                model=MODEL,
                stream=True,
                hold_lease=granted.lease,
            ),
        )
        operation.timeout.seconds = 30
        call: Any = running.stub.Dispatch(metadata=running.remote.metadata())
        await call.write(providers_pb2.DispatchRequest(operations=[operation]))
        kinds: list[str] = []
        while not kinds or (script is speak_and_wait and "delta" not in kinds):
            kinds += [event.WhichOneof("event") for event in (await call.read()).events]
        if script is never_answer:

            async def arrived() -> bool:
                return bool(vendor.requests)

            await until(arrived)
        call.cancel()  # the router is gone

        async def settled() -> pb.GetHoldResponse | None:
            found: pb.GetHoldResponse = await router.GetHold(pb.GetHoldRequest(key=asked.key))
            return None if found.state == pb.HOLD_STATE_OPEN else found

        found = await until(settled)
    assert found.state == state
    if state == pb.HOLD_STATE_COMMITTED:
        charged, words = found.receipt.charged.nanos, len(WORDS.split())
        assert words * NANOS_PER_TOKEN <= charged <= 4 * words * NANOS_PER_TOKEN
        assert charged + found.receipt.released.nanos == HELD_NANOS
    else:
        assert found.receipt.charged.nanos == HELD_NANOS
        assert found.receipt.unconfirmed
