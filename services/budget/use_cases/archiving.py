"""Old entries leave the ledger: taken out as they are, then removed behind a checkpoint that says what they came to."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.budget.admin_ports import AdminStore, Writes
from services.budget.domain.admin import AdminCall, AdminChange, AuditRecord
from services.budget.domain.checkpoints import Balance
from services.budget.domain.ids import AuditId
from services.budget.domain.kinds import ORGANISATION
from services.budget.domain.moments import from_us
from services.budget.use_cases.entities import found
from services.kernel.errors import PreconditionFailed
from services.kernel.ids import OrganisationId


@dataclass(frozen=True, slots=True)
class RawEntry:
    """An entry as it is hashed."""

    sequence: int
    body: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Exported:
    """Some entries in order."""

    after_sequence: int
    previous_hash: bytes
    """Of the entry before the first; empty before the start of the chain."""
    entries: tuple[RawEntry, ...]


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What stands for entries that leave, as the trail has it."""

    until_sequence: int
    checkpoint_sequence: int
    """Of the first entry of the checkpoint; 0: nothing leaves."""


class ArchiveBooks(Protocol):
    """Reads and removes entries. Everything raises StoreUnavailable while Postgres does not answer."""

    def export(
        self, organisation_id: OrganisationId, after: int, before: datetime | None
    ) -> AsyncIterator[Exported]:
        """Entries after a sequence and before a moment; at least one page, which may be empty."""
        ...

    async def archived_until(self, organisation_id: OrganisationId) -> int:
        """The last entry that a checkpoint stands for; 0: none."""
        ...

    async def balance(self, organisation_id: OrganisationId, until: int) -> Balance:
        """What entries up to one come to. Raises PreconditionFailed where the chain breaks."""
        ...

    async def remove(self, organisation_id: OrganisationId) -> int:
        """Removes what a checkpoint stands for; how many entries."""
        ...


class Archiving:
    """Export and removal. An attempt whose entries have left is forgotten: its id would be taken for a new one."""

    def __init__(self, store: AdminStore, books: ArchiveBooks, kept: timedelta) -> None:
        """Entries that are younger than `kept` never leave."""
        self._store = store
        self._books = books
        self._kept = kept

    async def export(
        self, organisation_id: OrganisationId, after: int, before: datetime | None, call: AdminCall
    ) -> AsyncIterator[Exported]:
        """Entries as they are hashed, for whoever may see them."""
        async with self._store.reading() as reads:
            await found(reads, call, ORGANISATION, organisation_id)
        async for page in self._books.export(organisation_id, after, before):
            yield page

    async def trim(
        self, organisation_id: OrganisationId, until: int, until_hash: bytes, change: AdminChange
    ) -> tuple[Trimmed, int]:
        """Lets entries up to `until` leave; the checkpoint, and how many were removed.

        `until_hash` shows that the caller has them. Done again, it removes what was left when it was broken off.
        """
        async with self._store.reading() as reads:
            await found(reads, change, ORGANISATION, organisation_id)
        balance: Balance | None = None
        if until > await self._books.archived_until(organisation_id):
            balance = await self._books.balance(organisation_id, until)
            decided_at = from_us(balance.decided_us)
            if balance.head != until_hash:
                raise PreconditionFailed(f"Entry {until} has another hash than the one that was given.")
            if decided_at > change.at - self._kept:
                raise PreconditionFailed(
                    f"Entries stay for {self._kept.days} days at least; entry {until} is from {decided_at:%Y-%m-%d}."
                )

        async def work(writes: Writes) -> Trimmed:
            if balance is None:
                return Trimmed(until, 0)
            done = Trimmed(until, await writes.checkpoint(organisation_id, balance))
            await writes.record(
                AuditRecord(
                    audit_id=AuditId.new(),
                    occurred_at=change.at,
                    admin_token_id=change.admin.admin_token_id,
                    method=change.method,
                    entity_id=organisation_id,
                    organisation_id=organisation_id,
                    team_id=None,
                    before=None,
                    after=done,
                    change_request_id=change.request_id,
                )
            )
            return done

        done = await self._store.once(change, Trimmed, work)
        return done, await self._books.remove(organisation_id)
