"""The price book against a slower one that reads like its definition."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.budget.domain.price_book import OrganisationPrices, StoredPrice, begins, in_force, to_import
from services.kernel.ids import OrganisationId, PriceId
from services.kernel.pricing import ModelPrice, PriceTier

START = datetime(2026, 1, 1, tzinfo=UTC)
OURS = OrganisationId.new()
MODELS = ("a/one", "a/two")

days = st.integers(min_value=0, max_value=6)
moments = days.map(lambda day: START + timedelta(days=day))


@st.composite
def model_prices(draw: st.DrawFn) -> ModelPrice:
    begin = draw(days)
    end = draw(st.none() | st.integers(min_value=begin + 1, max_value=8))
    return ModelPrice(
        model=draw(st.sampled_from(MODELS)),
        tiers=(PriceTier(input_nanos_per_million=draw(st.integers(min_value=0, max_value=3))),),
        effective_from=START + timedelta(days=begin),
        effective_until=None if end is None else START + timedelta(days=end),
    )


def book(prices: list[tuple[ModelPrice, bool, bool]]) -> list[StoredPrice]:
    return [
        StoredPrice(
            price_id=PriceId.new(),
            organisation_id=OURS if own else None,
            price=price,
            revision=revision,
            created_at=START,
            imported=imported,
        )
        for revision, (price, own, imported) in enumerate(prices, 1)
    ]


books = st.lists(st.tuples(model_prices(), st.booleans(), st.booleans()), max_size=8).map(book)


def by_definition(prices: list[StoredPrice], model: str, at: datetime) -> StoredPrice | None:
    """Organisation's own before the list; the latest to begin; of those the last added."""
    for owner in (OURS, None):
        best = None
        for stored in prices:
            price = stored.price
            if price.model != model or stored.organisation_id != owner or begins(price) > at:
                continue
            if price.effective_until is not None and price.effective_until <= at:
                continue
            if best is None or begins(price) >= begins(best.price):
                best = stored
        if best is not None:
            return best
    return None


@given(books, st.sampled_from(MODELS), moments)
def test_the_price_in_force_is_the_one_by_definition(
    prices: list[StoredPrice], model: str, at: datetime
) -> None:
    found = OrganisationPrices(prices, revision=len(prices)).entry_of(model, at)
    expected = by_definition(prices, model, at)
    assert (None if found is None else found[0]) == expected


@given(books, st.sampled_from(MODELS), moments, st.integers(min_value=0, max_value=1_000_000))
def test_a_discount_is_taken_off_list_prices_alone(
    prices: list[StoredPrice], model: str, at: datetime, discount_ppm: int
) -> None:
    found = OrganisationPrices(prices, revision=1, discount_ppm=discount_ppm).entry_of(model, at)
    if found is None:
        return
    stored, pays = found
    listed, paid = (price.tiers[0].input_nanos_per_million for price in (stored.price, pays))
    assert listed is not None
    assert paid is not None
    if stored.organisation_id is not None:
        assert paid == listed
    else:
        exact = listed * (1_000_000 - discount_ppm) / 1_000_000
        assert exact <= paid < exact + 1


@given(books, st.lists(model_prices(), max_size=6), moments)
def test_an_import_comes_true_once_and_rewrites_no_past(
    known: list[StoredPrice], offered: list[ModelPrice], now: datetime
) -> None:
    listed = [stored for stored in known if stored.organisation_id is None]
    added, unchanged = to_import(listed, offered, now)
    assert len(added) + unchanged == len(offered)
    fresh = {model for model in MODELS if all(stored.price.model != model for stored in listed)}
    for price in added:
        assert price.model in fresh or begins(price) >= now
        assert price.effective_until is None or price.effective_until > begins(price)
    after = listed + [
        StoredPrice(price_id=PriceId.new(), organisation_id=None, price=price, revision=100, created_at=now)
        for price in added
    ]
    for model in MODELS:
        present = in_force([s for s in listed if s.price.model == model], now)
        if present is not None and not present.imported:
            assert all(price.model != model for price in added)
    for model in set(MODELS) - fresh:
        for day in range(8):
            at = START + timedelta(days=day)
            if at < now:
                assert in_force([s for s in after if s.price.model == model], at) == in_force(
                    [s for s in listed if s.price.model == model], at
                )
