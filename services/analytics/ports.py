"""What the use cases need of the world."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from services.analytics.domain.decisions import DecisionRecord, Snapshot
from services.analytics.domain.queries import Breakdown, DecisionQuery, Scope, TimeRange, UsageQuery
from services.analytics.domain.reports import WasteRow
from services.analytics.domain.savings import ComparedTokens, PriceList
from services.analytics.domain.usage import Freshness, LedgerPage, UsageEntry, UsageRow, UsageTotals
from services.kernel.pricing import ModelPrice


class EntriesLeft(Exception):
    """What follows on a position has left an organisation's ledger: nobody can read it any more."""

    def __init__(self, organisation_id: str, first_sequence: int, whole_from: datetime) -> None:
        super().__init__(organisation_id)
        self.organisation_id = organisation_id
        self.first_sequence = first_sequence
        """The first entry there is."""
        self.whole_from = whole_from
        """Nothing from this time on has left."""


class UsageStore(Protocol):
    """Usage entries, their sums, and how far the ledger has been read. Raises StoreUnavailable when it is down."""

    async def positions(self) -> Mapping[str, int]:
        """The last sequence read, by organisation."""
        ...

    async def store(self, page: LedgerPage) -> bool:
        """Stores a page, its sums and the new position in one step; False if the page does not follow the position."""
        ...

    async def sum(
        self, query: UsageQuery, rollups: TimeRange | None, after: tuple[datetime, Sequence[str]] | None
    ) -> tuple[list[UsageRow], UsageTotals]:
        """Rows after a key, and the sums over all rows. `rollups`: the part of the range to take from rollups."""
        ...

    async def freshness(self, organisation_id: str) -> Freshness | None:
        """Up to where an organisation's ledger has been read; None: nothing of it."""
        ...


class UsageEntries(Protocol):
    """Single usage entries. Raises StoreUnavailable when the store is down."""

    async def page(
        self, scope: Scope, span: TimeRange, after: tuple[datetime, int] | None, count: int
    ) -> list[UsageEntry]:
        """At most `count` entries of a scope and time, in the order of the ledger, after a time and sequence."""
        ...

    async def newest(self, scope: Scope, span: TimeRange, count: int) -> list[UsageEntry]:
        """The newest charges of a scope and time, newest last."""
        ...

    async def after(self, organisation_id: str, sequence: int, up_to: int, count: int) -> list[UsageEntry]:
        """At most `count` entries after a sequence and up to another, in order."""
        ...

    async def last_before(self, organisation_id: str, at: datetime) -> int:
        """The sequence of the last entry before a time; 0: there is none."""
        ...


class Reports(Protocol):
    """Sums over usage entries. Raises StoreUnavailable when the store is down."""

    async def waste(self, asked: Breakdown) -> list[WasteRow]:
        """Charges that bought nothing, dearest first; at most one row more than a report may have."""
        ...

    async def learn_ablest(self, asked: Breakdown) -> None:
        """Finds the ablest model that was permitted for each request, where that is not known yet."""
        ...

    async def compared(
        self, asked: Breakdown, baseline_model: str, prices: PriceList
    ) -> list[ComparedTokens]:
        """Sums by group and prices; an empty baseline is the ablest model. Raises InvalidRequest for too many."""
        ...


class PriceBook(Protocol):
    """The budget service's price book, asked on behalf of the caller. Raises ServiceUnavailable when it is down."""

    async def listed(self, span: TimeRange) -> Sequence[ModelPrice]:
        """All list prices that were in force at some moment of the span."""
        ...


class LedgerTail(Protocol):
    """The budget service's ledger, as it grows."""

    def read(self, after: Mapping[str, int]) -> AsyncIterator[Sequence[LedgerPage]]:
        """Pages after the given positions, for ever; an empty sequence is a heartbeat. Raises ServiceUnavailable, and
        EntriesLeft where a page would not follow on its position."""
        ...


class DecisionStore(Protocol):
    """Decision records. Raises StoreUnavailable when it is down."""

    async def store(self, records: Sequence[DecisionRecord], snapshots: Sequence[Snapshot] = ()) -> int:
        """Stores what is new of the records, and the snapshots that they name; how many records were new."""
        ...

    async def snapshots(self, snapshot_ids: Sequence[bytes]) -> list[Snapshot]:
        """Those of the snapshots that are kept."""
        ...

    async def forget(self, before: datetime, rows: int) -> int:
        """Deletes up to so many records from before a time, and as many snapshots that no later one names; how many."""
        ...

    async def list(self, query: DecisionQuery, after: tuple[datetime, str] | None) -> list[DecisionRecord]:
        """Records after a key, newest first."""
        ...

    async def by_id(self, organisation_id: str, decision_id: str, team_id: str) -> bytes | None:
        """A record; None if there is none that this team (empty: any) may see."""
        ...

    async def by_request(self, organisation_id: str, request_id: str, team_id: str) -> bytes | None:
        """The newest record of a request; None as above."""
        ...
