"""The price book: what every model costs from when on, for all and for one organisation.

Prices are only ever added. Of those for a model the one in force at a moment is the latest to begin not after it; of
two that begin together the later added counts, which is how a mistake is put right. An organisation's own prices come
before the list; its discount is taken off list prices alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.budget.domain.entities import REFUSE_UNKNOWN_PRICES
from services.budget.domain.windows import EPOCH
from services.kernel.ids import OrganisationId, PriceId
from services.kernel.pricing import ModelPrice, discounted


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrice:
    """A price as it was added."""

    price_id: PriceId
    organisation_id: OrganisationId | None
    """None: a list price, for all."""
    price: ModelPrice
    revision: int
    created_at: datetime
    imported: bool = False
    """It came with a list; otherwise an operator set it."""


def begins(price: ModelPrice) -> datetime:
    """From when on a price holds."""
    return price.effective_from or EPOCH


def in_force(prices: Iterable[StoredPrice], at: datetime) -> StoredPrice | None:
    """Of prices of one model and one reach the one that holds at a moment."""
    holding = [
        stored
        for stored in prices
        if begins(stored.price) <= at
        and (stored.price.effective_until is None or at < stored.price.effective_until)
    ]
    return max(holding, key=lambda stored: (begins(stored.price), stored.revision), default=None)


class OrganisationPrices:
    """The price book as one organisation sees it."""

    def __init__(
        self,
        prices: Iterable[StoredPrice],
        *,
        revision: int,
        discount_ppm: int = 0,
        unknown_price_policy: str = REFUSE_UNKNOWN_PRICES,
    ) -> None:
        self._list: dict[str, list[StoredPrice]] = defaultdict(list)
        self._own: dict[str, list[StoredPrice]] = defaultdict(list)
        for stored in prices:
            reach = self._list if stored.organisation_id is None else self._own
            reach[stored.price.model].append(stored)
        self._revision = revision
        self._discount_ppm = discount_ppm
        self._stand_in = None if unknown_price_policy == REFUSE_UNKNOWN_PRICES else unknown_price_policy
        self._discounted: dict[PriceId, ModelPrice] = {}

    @property
    def revision(self) -> int:
        """Of the book when this was read."""
        return self._revision

    def price_of(self, model: str, at: datetime) -> ModelPrice | None:
        """The price of "provider/model" at a moment. None: it has none, and no policy names a stand-in."""
        known = self.entry_of(model, at)
        if known is None and self._stand_in is not None:
            known = self.entry_of(self._stand_in, at)
            return None if known is None else replace(known[1], model=model)
        return None if known is None else known[1]

    def entry_of(self, model: str, at: datetime) -> tuple[StoredPrice, ModelPrice] | None:
        """The price as it was added and as this organisation pays it; no stand-in."""
        own = in_force(self._own.get(model, ()), at)
        if own is not None:
            return own, own.price
        listed = in_force(self._list.get(model, ()), at)
        if listed is None:
            return None
        price = self._discounted.get(listed.price_id)
        if price is None:
            price = self._discounted[listed.price_id] = discounted(listed.price, self._discount_ppm)
        return listed, price

    def models(self) -> list[str]:
        """Every model with a price of some time, in order."""
        return sorted({*self._list, *self._own})


def to_import(
    known: Sequence[StoredPrice], offered: Iterable[ModelPrice], now: datetime
) -> tuple[list[ModelPrice], int]:
    """Which of the offered list prices to add, and how many are in the book already.

    The past is not rewritten: a model that has prices gets another from now on, whatever date its list has. A price
    that an operator set is left alone for as long as it is in force, and one that is over already is not added.
    """
    by_model: dict[str, list[StoredPrice]] = defaultdict(list)
    for stored in known:
        by_model[stored.price.model].append(stored)
    added: list[ModelPrice] = []
    unchanged = 0
    for price in offered:
        mine = by_model.get(price.model, [])
        present = in_force(mine, now)
        by_hand = present is not None and not present.imported
        over = bool(mine) and price.effective_until is not None and price.effective_until <= now
        if (
            by_hand
            or over
            or any(_same(stored, price, begins(price)) for stored in mine)
            or (present is not None and begins(price) <= now and _same(present, price, begins(present.price)))
        ):
            unchanged += 1
        elif mine and begins(price) <= now:
            added.append(replace(price, effective_from=now))
        else:
            added.append(price)
    return added, unchanged


def _same(stored: StoredPrice, price: ModelPrice, begin: datetime) -> bool:
    return (
        stored.price.tiers == price.tiers
        and begins(stored.price) == begin
        and stored.price.effective_until == price.effective_until
    )
