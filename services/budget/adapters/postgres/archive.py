"""How entries leave the ledger: read as they are, summed up, stood for by a checkpoint, removed."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from services.budget.adapters.postgres.ledger_pages import archived, begun_at, bounds_of
from services.budget.adapters.postgres.statements import statements
from services.budget.adapters.postgres.tree_changes import begin_change
from services.budget.domain.checkpoints import RIGHTING, WINDOWS_MAX, Balance, CheckpointUnreadable
from services.budget.domain.entries import chained, decoded
from services.budget.ports import Connection
from services.budget.use_cases.archiving import Exported, RawEntry
from services.chassis.postgres import Database
from services.kernel.errors import PreconditionFailed
from services.kernel.ids import OrganisationId

READ_ENTRIES = 1000
"""In one go; with checkpoints among them a megabyte or two."""
REMOVED_AT_ONCE = 10_000
"""Entries of one transaction: replication and other writers wait for little."""


class PostgresArchive:
    """Everything raises StoreUnavailable while Postgres does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def export(
        self, organisation_id: OrganisationId, after: int, before: datetime | None
    ) -> AsyncIterator[Exported]:
        """Entries as they are, in order, some at a time; the first page may be empty. Raises EntriesArchived if entries
        leave before they were read."""
        async with self._database.transaction(isolation="repeatable_read") as connection:
            tree_no, at, head, high = await _export_begins(connection, str(organisation_id), after, before)
        yield Exported(at, head, ())
        while at < high - 1:
            async with self._database.connection() as connection:
                rows = await connection.fetch(
                    statements()["export_entries"], tree_no, at, high - 1, READ_ENTRIES
                )
                if not rows or rows[0]["sequence"] != at + 1:
                    archive = await connection.fetchrow(statements()["newest_archive"], tree_no)
                    if archive is not None and archive["until_sequence"] > at:
                        raise archived(str(organisation_id), archive)
                    raise PreconditionFailed(f"Entry {at + 1} is missing: verify the ledger.")
            yield Exported(
                at, head, tuple(RawEntry(row["sequence"], row["body"], row["hash"]) for row in rows)
            )
            at, head = rows[-1]["sequence"], rows[-1]["hash"]

    async def archived_until(self, organisation_id: OrganisationId) -> int:
        """The last entry that a checkpoint stands for."""
        async with self._database.connection() as connection:
            tree = await connection.fetchrow(statements()["tree_of"], str(organisation_id))
            archive = (
                await connection.fetchrow(statements()["newest_archive"], tree["tree_no"]) if tree else None
            )
            return archive["until_sequence"] if archive else 0

    async def balance(self, organisation_id: OrganisationId, until: int) -> Balance:
        """What all entries up to one come to. Walks what is still here; nothing is locked, because what was written
        does not change. Raises PreconditionFailed where the chain is broken."""
        async with self._database.connection() as connection:
            tree = await connection.fetchrow(statements()["tree_of"], str(organisation_id))
            if tree is None or until > tree["sequence"]:
                raise PreconditionFailed(f"The ledger has no entry {until}.")
            balance = await _begun(connection, tree["tree_no"])
            while balance.sequence < until:
                rows = await connection.fetch(
                    statements()["export_entries"], tree["tree_no"], balance.sequence, until, READ_ENTRIES
                )
                for row in rows:
                    good = row["sequence"] == balance.sequence + 1
                    if not good or chained(balance.head, row["body"]) != row["hash"]:
                        raise PreconditionFailed(f"The chain is broken at entry {balance.sequence + 1}.")
                    balance.take(decoded(row["body"]), row["hash"])
                if not rows:
                    raise PreconditionFailed(f"The chain is broken at entry {balance.sequence + 1}.")
            await _look_for_righted(connection, tree["tree_no"], balance, tree["sequence"])
            rolling = await connection.fetch(statements()["rolling_budgets"], str(organisation_id))
            balance.rolling.update(row["budget_id"] for row in rolling)
            return balance

    async def remove(self, organisation_id: OrganisationId) -> int:
        """Removes what a checkpoint stands for, some at a time; how many entries. May be broken off and done again."""
        until, removed = await self.archived_until(organisation_id), 0
        async with self._database.connection() as connection:
            tree = await connection.fetchrow(statements()["tree_of"], str(organisation_id))
            if tree is None:
                return 0
            first = await connection.fetchval(statements()["first_entry"], tree["tree_no"])
            while first is not None and first <= until:
                before = min(first + REMOVED_AT_ONCE, until + 1)
                removed += await connection.fetchval(statements()["remove_archived"], tree["tree_no"], before)
                first = before
        return removed


async def write_checkpoint(connection: Connection, organisation_id: str, balance: Balance) -> int:
    """Lets a checkpoint stand for what led to a balance; the sequence of its first entry. In the caller's transaction.

    Raises PreconditionFailed if an attempt is open that began before, or there is too much to say.
    """
    if len(balance.standing()) > WINDOWS_MAX:
        raise PreconditionFailed(f"A checkpoint says the totals of at most {WINDOWS_MAX:,} windows.")
    async with begin_change(connection, organisation_id) as change:
        tree = await connection.fetchrow(statements()["tree_of"], organisation_id)
        assert tree is not None, "it is locked"
        tree_no = tree["tree_no"]
        before = await connection.fetchrow(statements()["newest_archive"], tree_no)
        if before is not None and before["until_sequence"] >= balance.sequence:
            raise PreconditionFailed(f"Entries up to {before['until_sequence']} have left already.")
        begun = (
            [request_id for request_id, _ in balance.open],
            [attempt for _, attempt in balance.open],
        )
        settled = await connection.fetchval(statements()["settled_after"], tree_no, balance.sequence, *begun)
        if settled != len(balance.open):
            raise PreconditionFailed(
                f"{len(balance.open) - settled} holds made until entry {balance.sequence} are still open."
            )
        await _look_for_righted(connection, tree_no, balance, tree["sequence"])
        parts = balance.fields_of_checkpoint(organisation_id)
        first = await change.checkpoint(parts)
        await connection.execute(
            statements()["insert_archive"], tree_no, balance.sequence, first, len(parts), balance.decided_us
        )
        await connection.execute(statements()["forget_attempts"], tree_no, *begun)
    return first


async def _look_for_righted(connection: Connection, tree_no: int, balance: Balance, until: int) -> None:
    """Finds the windows that entries after a balance put right, up to `until`; none is looked at twice."""
    after = max(balance.sequence, balance.righted_until)
    kinds = [int(kind) for kind in RIGHTING]
    rows = await connection.fetch(statements()["righted_between"], tree_no, after, until, kinds)
    balance.righted.update(row["number"] for row in rows)
    balance.righted_until = max(after, until)


async def _export_begins(
    connection: Connection, organisation_id: str, after: int, before: datetime | None
) -> tuple[int, int, bytes, int]:
    """(tree, the entry before the first, its hash, the entry after the last), all of one moment."""
    tree = await connection.fetchrow(statements()["tree_of"], organisation_id)
    if tree is None:
        return 0, 0, b"", 0
    begun = await _begun(connection, tree["tree_no"])
    _, high = await bounds_of(connection, organisation_id, until=before)
    at, head = begun.sequence, begun.head
    if after > at:
        previous = await connection.fetchrow(statements()["chain_entry"], tree["tree_no"], after)
        at, head = (after, previous["hash"]) if previous else (tree["sequence"], tree["head"])
    return tree["tree_no"], at, head, high


async def _begun(connection: Connection, tree_no: int) -> Balance:
    """Where the entries that are still here begin. Raises PreconditionFailed if that cannot be read."""
    archive: Any = await connection.fetchrow(statements()["newest_archive"], tree_no)
    if archive is None:
        return Balance()
    try:
        return await begun_at(connection, tree_no, archive)
    except CheckpointUnreadable as wrong:
        raise PreconditionFailed(f"The checkpoint at {archive['checkpoint_sequence']}: {wrong}.") from wrong
