"""The ledger for admins: pages of it, and walks along its chain. TailLedger's reader is ledger_reader.py."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from services.budget.adapters.postgres.charges import read_charges
from services.budget.adapters.postgres.ledger_reader import PostgresLedgerReader
from services.budget.adapters.postgres.statements import statements
from services.budget.domain.charges import Charged
from services.budget.domain.checkpoints import Balance, CheckpointUnreadable, begun_by
from services.budget.domain.entries import decoded
from services.budget.domain.moments import from_us, to_us
from services.budget.domain.verifying import ChainWalk, Finding, KeptCounter, Totals
from services.budget.errors import EntriesArchived
from services.budget.ports import Connection
from services.budget.use_cases.ledger import LedgerFilter, LedgerPage
from services.chassis.postgres import Database
from services.kernel.ids import OrganisationId

# Entries read in one go of a walk: about a megabyte.
WALK_ENTRIES = 2000
# Entries looked through for one page. A filter that finds nothing in so many gives a short page and a token to go on.
SCANNED_MAX = 20_000
SCAN_ENTRIES = 1000


class PostgresLedgerPages:
    """Reads in one consistent view. Everything raises StoreUnavailable while Postgres does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = PostgresLedgerReader(database)

    async def page(self, wanted: LedgerFilter, count: int) -> LedgerPage:
        """At most `count` entries, in order."""
        async with self._database.transaction(isolation="repeatable_read") as connection:
            low, high = await bounds_of(
                connection,
                str(wanted.organisation_id),
                after=wanted.after_sequence,
                before=wanted.before_sequence,
                since=wanted.occurred_from,
                until=wanted.occurred_until,
            )
            name = "ledger_page_newest_first" if wanted.newest_first else "ledger_page"
            entries: list[Any] = []
            for _ in range(SCANNED_MAX // SCAN_ENTRIES):
                asked = SCAN_ENTRIES if wanted.budget_id else count + 1 - len(entries)
                rows = await connection.fetch(
                    statements()[name],
                    str(wanted.organisation_id),
                    low,
                    high,
                    None if wanted.kinds is None else list(wanted.kinds),
                    wanted.request_id,
                    asked,
                )
                found = await self._reader.entries_of(connection, str(wanted.organisation_id), rows)
                for entry in found:
                    if wanted.budget_id and all(leg.budget_id != wanted.budget_id for leg in entry.legs):
                        continue
                    if len(entries) == count:
                        return LedgerPage(entries, entries[-1].sequence)
                    entries.append(entry)
                if len(rows) < asked:
                    return LedgerPage(entries, None)
                low, high = (
                    (low, rows[-1]["sequence"]) if wanted.newest_first else (rows[-1]["sequence"], high)
                )
        return LedgerPage(entries, high if wanted.newest_first else low)

    async def verify(
        self, organisation_id: OrganisationId, after_sequence: int, expected_head: bytes
    ) -> Finding | None:
        """Walks a chain in one consistent view. None: the organisation has no ledger yet."""
        async with self._database.transaction(isolation="repeatable_read") as connection:
            tree = await connection.fetchrow(statements()["tree_of"], str(organisation_id))
            if tree is None:
                return None
            try:
                walk = await _walk(connection, tree["tree_no"], after_sequence, expected_head)
            except CheckpointUnreadable as wrong:
                return Finding(problem=f"the checkpoint that stands for what has left: {wrong}")
            async for rows in _batches(connection, tree["tree_no"], walk.finding.after_sequence):
                if not all(walk.step(row["sequence"], row["body"], row["hash"]) for row in rows):
                    break
            kept = await connection.fetch(statements()["kept_counters"], tree["tree_no"])
            return walk.end((_counter(row) for row in kept), tree["sequence"])

    async def heads(self, organisation_id: OrganisationId | None) -> Sequence[tuple[str, int, bytes]]:
        rows = await self._database.fetch(statements()["ledger_heads"])
        return [
            (row["organisation_id"], row["sequence"], row["head"])
            for row in rows
            if organisation_id in (None, row["organisation_id"])
        ]

    async def charges(
        self, organisation_id: OrganisationId | None, since: datetime, until: datetime
    ) -> Sequence[Charged]:
        charged: list[Charged] = []
        for organisation, head, _ in await self.heads(organisation_id):
            async with self._database.transaction(isolation="repeatable_read") as connection:
                await check_whole(connection, organisation, since)
                low, high = await bounds_of(connection, organisation, since=since, until=until)
                charged += await read_charges(connection, organisation, low, high, head)
        return charged


async def bounds_of(
    connection: Connection,
    organisation_id: str,
    *,
    after: int = 0,
    before: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[int, int]:
    """The sequences between which everything wanted lies, both excluded."""
    tree = await connection.fetchrow(statements()["tree_of"], organisation_id)
    if tree is None:
        return 0, 0
    low, high = after, tree["sequence"] + 1
    if before is not None:
        high = min(high, before)
    if since is not None:
        low = max(low, await _first_at(connection, tree, since) - 1)
    if until is not None:
        high = min(high, await _first_at(connection, tree, until))
    return low, high


async def check_whole(connection: Connection, organisation_id: str, since: datetime) -> None:
    """Raises EntriesArchived if anything from a moment on may have left the ledger."""
    tree = await connection.fetchrow(statements()["tree_of"], organisation_id)
    archive = await connection.fetchrow(statements()["newest_archive"], tree["tree_no"]) if tree else None
    if archive is not None and to_us(since) <= archive["until_us"]:
        raise archived(organisation_id, archive)


def archived(organisation_id: str, archive: Any) -> EntriesArchived:
    """The error that says what a row of newest_archive stands for."""
    return EntriesArchived(organisation_id, archive["until_sequence"] + 1, from_us(archive["until_us"] + 1))


async def _first_at(connection: Connection, tree: Any, moment: datetime) -> int:
    """The first sequence not before a moment: time never goes back in a chain, so halving finds it."""
    low, high, at_us = 1, tree["sequence"] + 1, to_us(moment)
    while low < high:
        middle = (low + high) // 2
        row = await connection.fetchrow(statements()["chain_entry"], tree["tree_no"], middle)
        if row is not None and decoded(row["body"])["t"] >= at_us:
            high = middle
        else:
            low = middle + 1
    return low


async def _walk(connection: Connection, tree_no: int, after: int, expected_head: bytes) -> ChainWalk:
    """A walk after an entry, or after what has left. Raises CheckpointUnreadable."""
    archive = await connection.fetchrow(statements()["newest_archive"], tree_no)
    previous = await connection.fetchrow(statements()["chain_entry"], tree_no, after)
    if archive is not None and (previous is None or after <= archive["until_sequence"]):
        begun = await begun_at(connection, tree_no, archive)
        totals = {number: Totals(w.held, w.spent, w.overage) for number, w in begun.windows.items()}
        return ChainWalk(begun.sequence, begun.head, expected_head, totals, begun.decided_us)
    return ChainWalk(after, previous["hash"], expected_head) if previous else ChainWalk(0, b"", expected_head)


async def begun_at(connection: Connection, tree_no: int, archive: Any) -> Balance:
    """The balance that the checkpoint of a row of newest_archive says. Raises CheckpointUnreadable."""
    first = archive["checkpoint_sequence"]
    rows = await connection.fetch(
        statements()["bodies_between"], tree_no, first, first + archive["checkpoint_entries"] - 1
    )
    balance = begun_by([row["body"] for row in rows])
    if balance.sequence != archive["until_sequence"]:
        raise CheckpointUnreadable(f"they are about entry {balance.sequence}")
    return balance


async def _batches(connection: Connection, tree_no: int, after: int) -> AsyncIterator[Sequence[Any]]:
    while True:
        rows = await connection.fetch(statements()["chain_entries"], tree_no, after, WALK_ENTRIES)
        if not rows:
            return
        yield rows
        after = rows[-1]["sequence"]


def _counter(row: Any) -> KeptCounter:
    totals = Totals(row["held"], row["spent"], row["overage"])
    return KeptCounter(row["no"], row["budget_id"], totals, row["end_us"])
