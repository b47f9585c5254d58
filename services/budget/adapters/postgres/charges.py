"""Charges of a period, read from the ledger, and differences booked to it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from services.budget.adapters.postgres.statements import statements
from services.budget.domain.charges import CHARGING, RIGHTING, Charges, Difference
from services.budget.domain.entries import Kind, decoded
from services.budget.domain.moments import from_us
from services.budget.ports import Adjustment, Connection, TreeChange

READ_ENTRIES = 2000

Bodies = Sequence[Mapping[str, Any]]


async def read_charges(
    connection: Connection, organisation_id: str, low: int, high: int, until: int
) -> Charges:
    """Charges of the entries after `low` and before `high`, and what was put right up to `until`."""
    charges = Charges()
    async for body in _entries(connection, organisation_id, low, high, CHARGING):
        charges.charge(body)
    await put_right(connection, organisation_id, charges, low, until)
    return charges


async def put_right(
    connection: Connection, organisation_id: str, charges: Charges, low: int, until: int
) -> None:
    """Applies what was put right after `low` and up to `until`."""
    async for body in _entries(connection, organisation_id, low, until + 1, RIGHTING):
        charges.put_right(body)


async def _entries(
    connection: Connection, organisation_id: str, low: int, high: int, kinds: Sequence[Kind]
) -> AsyncIterator[Mapping[str, Any]]:
    while True:
        rows = await connection.fetch(
            statements()["ledger_page"],
            organisation_id,
            low,
            high,
            [int(kind) for kind in kinds],
            None,
            READ_ENTRIES,
        )
        for row in rows:
            yield decoded(row["body"])
        if len(rows) < READ_ENTRIES:
            return
        low = rows[-1]["sequence"]


async def book(
    connection: Connection, tree_no: int, tree: TreeChange, difference: Difference, reason: str
) -> None:
    """Books a difference to the windows of the charge."""
    charged = difference.charged
    rows = await connection.fetch(statements()["counters_by_no"], tree_no, list(charged.counters))
    await tree.adjust(
        "RERATE",
        [Adjustment(row["budget_id"], from_us(row["start_us"]), difference.nanos) for row in rows],
        amount_nanos=difference.nanos,
        reason=reason,
        about=charged.attempt,
        told=charged.told,
    )
