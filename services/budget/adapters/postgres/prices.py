"""Prices as rows."""

from collections.abc import Mapping
from typing import Any

from services.budget.adapters.postgres.rows import from_json, to_json
from services.budget.domain.price_book import StoredPrice, begins
from services.kernel.ids import OrganisationId, PriceId
from services.kernel.pricing import ModelPrice, PriceTier


def price_of(row: Mapping[str, Any]) -> StoredPrice:
    """A row of the price book."""
    organisation_id = row["organisation_id"]
    return StoredPrice(
        price_id=PriceId(row["price_id"]),
        organisation_id=None if organisation_id is None else OrganisationId(organisation_id),
        price=ModelPrice(
            model=row["model"],
            tiers=from_json(row["tiers"], tuple[PriceTier, ...]),
            effective_from=row["effective_from"],
            effective_until=row["effective_until"],
            source=row["source"],
        ),
        revision=row["revision"],
        created_at=row["created_at"],
        imported=row["imported"],
    )


def parameters_of(stored: StoredPrice) -> list[Any]:
    """The parameters of `insert_price`."""
    price = stored.price
    return [
        str(stored.price_id),
        None if stored.organisation_id is None else str(stored.organisation_id),
        price.model,
        begins(price),
        price.effective_until,
        to_json(price.tiers),
        price.source,
        stored.revision,
        stored.created_at,
        stored.imported,
    ]
