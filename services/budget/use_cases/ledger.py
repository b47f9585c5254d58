"""The ledger for admins: shown, verified, priced again, compared with what vendors ask for."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from services.budget.admin_ports import AdminStore, Writes
from services.budget.domain.admin import AdminCall, AdminChange, AuditRecord
from services.budget.domain.charges import Charged, DayOfModel, Difference, reconciled, rerated
from services.budget.domain.ids import AuditId
from services.budget.domain.invoice import Invoice
from services.budget.domain.kinds import ORGANISATION
from services.budget.domain.price_book import OrganisationPrices
from services.budget.domain.roles import DEPLOYMENT
from services.budget.domain.verifying import Finding
from services.budget.use_cases.access import permit
from services.budget.use_cases.entities import found
from services.kernel.ids import OrganisationId

RERATED_MAX = 10_000
"""Charges that are changed in one transaction, which keeps the tree locked. A longer period is taken in parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFilter:
    """Which entries to show; None: all."""

    organisation_id: OrganisationId
    after_sequence: int = 0
    before_sequence: int | None = None
    kinds: tuple[int, ...] | None = None
    request_id: str | None = None
    budget_id: str | None = None
    occurred_from: datetime | None = None
    occurred_until: datetime | None = None
    newest_first: bool = False


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Some entries, as contract messages."""

    entries: list[Any]
    next_sequence: int | None
    """Where the next page begins: after this one, or before it if the newest are first. None: this was the last."""


@dataclass(frozen=True, slots=True)
class Rerated:
    """What pricing again changed."""

    entries: int
    nanos: int
    """Positive: more."""


@dataclass(frozen=True, slots=True)
class Period:
    """What was priced again, as the trail has it."""

    occurred_from: datetime
    occurred_until: datetime
    pattern: str
    entries: int
    nanos: int


class LedgerBooks(Protocol):
    """Reads the ledger in consistent views. Everything raises StoreUnavailable while Postgres does not answer."""

    async def page(self, wanted: LedgerFilter, count: int) -> LedgerPage:
        """At most `count` entries, in order."""
        ...

    async def verify(
        self, organisation_id: OrganisationId, after_sequence: int, expected_head: bytes
    ) -> Finding | None:
        """Walks a chain. None: the organisation has no ledger yet."""
        ...

    async def heads(self, organisation_id: OrganisationId | None) -> Sequence[tuple[str, int, bytes]]:
        """(organisation, sequence, hash) of the last entry of its chain, or of every one."""
        ...

    async def charges(
        self, organisation_id: OrganisationId | None, since: datetime, until: datetime
    ) -> Sequence[Charged]:
        """What attempts of a period have cost up to now; of all organisations where none is named. Raises
        EntriesArchived if part of the period has left the ledger of one of them."""
        ...


class Ledger:
    """The ledger for admins."""

    def __init__(self, store: AdminStore, books: LedgerBooks) -> None:
        self._store = store
        self._books = books

    async def page(self, wanted: LedgerFilter, count: int, call: AdminCall) -> LedgerPage:
        """Entries of an organisation."""
        await self._may_see(wanted.organisation_id, call)
        return await self._books.page(wanted, count)

    async def verify(
        self, organisation_id: OrganisationId, after_sequence: int, expected_head: bytes, call: AdminCall
    ) -> Finding:
        """Walks an organisation's chain and sums it up again."""
        await self._may_see(organisation_id, call)
        return await self._books.verify(organisation_id, after_sequence, expected_head) or Finding()

    async def heads(self, organisation_id: OrganisationId | None) -> Sequence[tuple[str, int, bytes]]:
        """The newest hash of each chain that a caller may see."""
        return await self._books.heads(organisation_id)

    async def _may_see(self, organisation_id: OrganisationId, call: AdminCall) -> None:
        async with self._store.reading() as reads:
            await found(reads, call, ORGANISATION, organisation_id)

    async def rerate(
        self,
        organisation_id: OrganisationId,
        since: datetime,
        until: datetime,
        pattern: str,
        dry_run: bool,
        change: AdminChange,
    ) -> Rerated:
        """Prices a period again by the book as it is now, and books what differs; a dry run only says it."""

        async def work(writes: Writes) -> Rerated:
            organisation = await found(writes, change, ORGANISATION, organisation_id)
            book = OrganisationPrices(
                await writes.prices(organisation_id, None),
                revision=await writes.price_revision(),
                discount_ppm=organisation.discount_ppm,
                unknown_price_policy=organisation.unknown_price_policy,
            )

            def changed(charges: Sequence[Charged]) -> list[Difference]:
                wanted = [
                    charged
                    for charged in charges
                    if not pattern or fnmatch.fnmatchcase(charged.model, pattern)
                ]
                return rerated(wanted, book)

            reason = f"priced again by {change.admin.admin_token_id}"
            differences = await writes.rerate(organisation_id, since, until, changed, reason, dry_run)
            done = Rerated(len(differences), sum(difference.nanos for difference in differences))
            if not dry_run:
                period = Period(since, until, pattern, done.entries, done.nanos)
                await writes.record(_trail(change, organisation_id, period))
            return done

        return await self._store.once(change, Rerated, work)

    async def reconcile(
        self, organisation_id: OrganisationId | None, provider: str, invoice: Invoice, call: AdminCall
    ) -> list[DayOfModel]:
        """An invoice beside what the ledger says of its days, by day and model."""
        if organisation_id is None:
            permit(call, DEPLOYMENT, ORGANISATION.label, "")
        else:
            await self._may_see(organisation_id, call)
        if not invoice:
            return []
        days = sorted(day for day, _ in invoice)
        since = datetime.fromisoformat(days[0]).replace(tzinfo=UTC)
        until = datetime.fromisoformat(days[-1]).replace(tzinfo=UTC) + timedelta(days=1)
        charges = await self._books.charges(organisation_id, since, until)
        return reconciled(invoice, charges, provider)


def _trail(change: AdminChange, organisation_id: OrganisationId, period: Period) -> AuditRecord:
    return AuditRecord(
        audit_id=AuditId.new(),
        occurred_at=change.at,
        admin_token_id=change.admin.admin_token_id,
        method=change.method,
        entity_id=organisation_id,
        organisation_id=organisation_id,
        team_id=None,
        before=None,
        after=period,
        change_request_id=change.request_id,
    )
