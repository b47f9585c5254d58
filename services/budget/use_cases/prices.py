"""The price book: looked at and added to. What was charged stays as it was; re-rating books a difference."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.budget.admin_ports import AdminStore, Writes
from services.budget.domain.admin import AdminCall, AdminChange, AuditRecord
from services.budget.domain.ids import AuditId
from services.budget.domain.kinds import ORGANISATION
from services.budget.domain.price_book import OrganisationPrices, StoredPrice, begins, to_import
from services.budget.domain.roles import DEPLOYMENT
from services.budget.use_cases.access import permit
from services.budget.use_cases.entities import found
from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest
from services.kernel.ids import OrganisationId, PriceId
from services.kernel.pricing import ModelPrice


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    added: int
    unchanged: int
    price_revision: int


@dataclass(frozen=True, slots=True)
class PricePage:
    """Some prices in force."""

    prices: list[StoredPrice]
    more: bool
    price_revision: int


class Prices:
    """What models cost."""

    def __init__(self, store: AdminStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def page(
        self,
        call: AdminCall,
        *,
        organisation_id: OrganisationId | None,
        pattern: str,
        as_of: datetime | None,
        after: str,
        count: int,
    ) -> PricePage:
        """Prices in force at a time, by model; with an organisation as that pays, its discount taken off."""
        at = as_of or self._clock.now()
        async with self._store.reading() as reads:
            discount_ppm = 0
            if organisation_id is not None:
                organisation = await found(reads, call, ORGANISATION, organisation_id)
                discount_ppm = organisation.discount_ppm
            revision = await reads.price_revision()
            added = await reads.prices(organisation_id, None)
        book = OrganisationPrices(added, revision=revision, discount_ppm=discount_ppm)
        entries: list[StoredPrice] = []
        for model in book.models():
            if model > after and (not pattern or fnmatch.fnmatchcase(model, pattern)):
                entry = book.entry_of(model, at)
                if entry is not None:
                    entries.append(replace(entry[0], price=entry[1]))
            if len(entries) > count:
                break
        return PricePage(entries[:count], len(entries) > count, revision)

    async def set(
        self, price: ModelPrice, organisation_id: OrganisationId | None, change: AdminChange
    ) -> StoredPrice:
        """A price, in force from its date on; without one from now on."""

        async def work(writes: Writes) -> StoredPrice:
            permit(change, DEPLOYMENT, "price", price.model)
            if organisation_id is not None:
                await found(writes, change, ORGANISATION, organisation_id)
            dated = replace(price, effective_from=price.effective_from or change.at)
            if dated.effective_until is not None and dated.effective_until <= begins(dated):
                raise InvalidRequest.of("price.effective_until", "must be later than effective_from, or now")
            (stored,) = await self._add(writes, change, [dated], organisation_id, imported=False)
            return stored

        return await self._store.once(change, StoredPrice, work)

    async def import_list(self, offered: Sequence[ModelPrice], change: AdminChange) -> Imported:
        """Adds those list prices that are new; the past is not rewritten."""

        async def work(writes: Writes) -> Imported:
            permit(change, DEPLOYMENT, "price", "")
            known = await writes.prices(None, sorted({price.model for price in offered}))
            added, unchanged = to_import(known, offered, change.at)
            if not added:
                return Imported(0, unchanged, await writes.price_revision())
            stored = await self._add(writes, change, added, None, imported=True)
            return Imported(len(stored), unchanged, stored[0].revision)

        return await self._store.once(change, Imported, work)

    async def _add(
        self,
        writes: Writes,
        change: AdminChange,
        prices: Sequence[ModelPrice],
        organisation_id: OrganisationId | None,
        *,
        imported: bool,
    ) -> list[StoredPrice]:
        revision = await writes.next_price_revision()
        stored = [
            StoredPrice(
                price_id=PriceId.new(),
                organisation_id=organisation_id,
                price=price,
                revision=revision,
                created_at=change.at,
                imported=imported,
            )
            for price in prices
        ]
        await writes.add_prices(stored)
        for added in stored:
            await writes.announce("price", added.price_id)
            await writes.record(_trail(change, added))
        concerned = await writes.organisation_ids() if organisation_id is None else [organisation_id]
        for organisation in concerned:
            await writes.configure("price", "", organisation)
        return stored


def _trail(change: AdminChange, added: StoredPrice) -> AuditRecord:
    return AuditRecord(
        audit_id=AuditId.new(),
        occurred_at=change.at,
        admin_token_id=change.admin.admin_token_id,
        method=change.method,
        entity_id=added.price_id,
        organisation_id=added.organisation_id,
        team_id=None,
        before=None,
        after=added,
        change_request_id=change.request_id,
    )
