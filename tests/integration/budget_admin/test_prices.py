"""The price book: seeded, put right, discounted, and its past left alone."""

from datetime import UTC, datetime, timedelta

import pytest

from services.chassis.status import RemoteError
from tests.support.budget import attempt, commit, hold, serving_budget
from tests.support.budget_admin import Admin, Api, make_tenant, request_id
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1.entities_pb2 import Organisation
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.price_pb2 import ModelPrice, PriceTier

MODEL = "openai/gpt-5.4-mini"


def price(rate: int, *, since: datetime | None = None, model: str = MODEL) -> ModelPrice:
    made = ModelPrice(
        model=model, tiers=[PriceTier(input_nanos_per_million=rate, output_nanos_per_million=rate)]
    )
    if since is not None:
        made.effective_from.FromDatetime(since)
    return made


async def rate(api: Api, *, organisation_id: str = "", as_of: datetime | None = None) -> int | None:
    request = pb.ListPricesRequest(organisation_id=organisation_id, model_pattern="openai/*")
    if as_of is not None:
        request.as_of.FromDatetime(as_of)
    prices = (await api.ListPrices(request)).prices
    return prices[0].price.tiers[0].input_nanos_per_million if prices else None


async def imported(api: Api, *prices: ModelPrice) -> tuple[int, int]:
    answer = await api.ImportPrices(pb.ImportPricesRequest(request_id=request_id(), prices=prices))
    return answer.added, answer.unchanged


async def test_a_second_import_changes_nothing_and_a_new_list_price_begins_now(admin: Admin) -> None:
    api = await admin.operator()
    long_ago = datetime(2025, 1, 1, tzinfo=UTC)
    assert await imported(api, price(100, since=long_ago)) == (1, 0)
    assert await imported(api, price(100, since=long_ago)) == (0, 1)
    before = datetime.now(UTC)
    assert await imported(api, price(70, since=long_ago)) == (1, 0)
    assert await rate(api) == 70
    assert await rate(api, as_of=before - timedelta(seconds=1)) == 100
    assert await rate(api, as_of=long_ago - timedelta(seconds=1)) is None
    assert await imported(api, price(70, since=long_ago)) == (0, 1)


async def test_an_import_leaves_what_an_operator_set_alone(admin: Admin) -> None:
    api = await admin.operator()
    assert await imported(api, price(100)) == (1, 0)
    await api.SetPrice(pb.SetPriceRequest(request_id=request_id(), price=price(80)))
    assert await rate(api) == 80
    for listed in (100, 60):
        assert await imported(api, price(listed)) == (0, 1)
    assert await rate(api) == 80


async def test_an_organisation_pays_its_own_price_or_the_list_less_its_discount(admin: Admin) -> None:
    api = await admin.operator()
    made = await api.CreateOrganisation(
        pb.CreateOrganisationRequest(
            request_id=request_id(), organisation=Organisation(display_name="Acme", discount_ppm=250_000)
        )
    )
    acme = made.organisation.organisation_id
    await imported(api, price(101))
    assert await rate(api) == 101
    assert await rate(api, organisation_id=acme) == 76  # 75.75, and a discount never favours us
    await api.SetPrice(pb.SetPriceRequest(request_id=request_id(), price=price(90), organisation_id=acme))
    assert await rate(api, organisation_id=acme) == 90
    assert await rate(api) == 101


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (ModelPrice(model="gpt"), "price.model"),
        (ModelPrice(model=MODEL), "price.tiers"),
        (ModelPrice(model=MODEL, tiers=[PriceTier()]), "price.tiers[0].input_nanos_per_million"),
        (
            ModelPrice(model=MODEL, tiers=[PriceTier(input_nanos_per_million=-1)]),
            "price.tiers[0].input_nanos_per_million",
        ),
        (
            ModelPrice(model=MODEL, tiers=[PriceTier(input_nanos_per_million=1, input_tokens_above=200_000)]),
            "price.tiers[0].input_tokens_above",
        ),
        (
            ModelPrice(model=MODEL, currency_code="EUR", tiers=[PriceTier(input_nanos_per_million=1)]),
            "price.currency_code",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_price_that_cannot_be_is_refused(admin: Admin, wrong: ModelPrice, field: str) -> None:
    api = await admin.operator()
    with pytest.raises(RemoteError) as refused:
        await api.SetPrice(pb.SetPriceRequest(request_id=request_id(), price=wrong))
    assert field in {violation.field for violation in refused.value.violations}


async def test_a_listed_price_that_ended_before_it_began_is_refused(admin: Admin) -> None:
    over = price(100)
    over.effective_until.nanos = 2  # less than the microsecond that the book counts in
    with pytest.raises(RemoteError) as refused:
        await imported(await admin.operator(), over)
    assert [violation.field for violation in refused.value.violations] == ["prices[0].effective_until"]


async def test_holds_and_charges_follow_the_book(postgres_dsn: str) -> None:
    """An unknown price refuses; a stand-in, a discount and a new price count from the next hold on."""
    async with serving_budget(postgres_dsn) as budgets:
        api, router = await budgets.operator(), await budgets.router()
        tenant = await make_tenant(api, "Acme")
        acme = tenant.organisation.organisation_id

        async def charge() -> int:
            key = attempt(tenant)
            await router.Hold(hold(tenant, None, key, model=MODEL))
            receipt = (await router.Commit(commit(key, None))).receipt
            charged: Money = receipt.charged
            return charged.nanos

        async def update(**fields: object) -> None:
            request = pb.UpdateOrganisationRequest(
                request_id=request_id(),
                organisation=Organisation(organisation_id=acme, **fields),  # type: ignore[arg-type]
            )
            request.update_mask.paths.extend(fields)
            await api.UpdateOrganisation(request)

        with pytest.raises(RemoteError) as refused:
            await charge()
        assert refused.value.reason == "PRICE_UNKNOWN"
        other = "openai/gpt-5.4"
        await imported(api, price(2_000_000_000, model=other))
        await update(unknown_price_policy=other)
        assert await charge() == 340_000
        await imported(api, price(1_000_000_000))
        assert await charge() == 170_000
        await update(discount_ppm=500_000)
        assert await charge() == 85_000
        await api.SetPrice(
            pb.SetPriceRequest(request_id=request_id(), price=price(3_000_000_000), organisation_id=acme)
        )
        assert await charge() == 510_000
