"""Changes of a tree by others than its owner: an admin's new limit, a key that is revoked, a booking by hand.

Within the caller's transaction the tree's row is locked, so no hold is decided meanwhile; the configuration revision
rises, so the owner decides nothing more before it has read what changed. Once the caller has committed and answered,
no hold is admitted by what was before.
"""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from services.budget.adapters.postgres.statements import statements
from services.budget.domain.budgets import LIMIT_MAX, Budget, Mode
from services.budget.domain.config import ConfigChange, ConfigKind
from services.budget.domain.entries import Kind, chained, text
from services.budget.domain.moments import NEVER_US, from_us, to_us
from services.budget.ports import Adjustment, Connection, TreeChange
from services.kernel.errors import PreconditionFailed

SECRET_BYTES = 32
"""Of the key that signs a tree's leases."""


@asynccontextmanager
async def begin_change(connection: Connection, organisation_id: str) -> AsyncIterator[TreeChange]:
    """A change of the organisation's tree, written when the block ends well; the caller's transaction is open."""
    sql = statements()
    row = await connection.fetchrow(sql["lock_tree"], organisation_id)
    if row is None:
        await connection.execute(sql["new_tree"], organisation_id, secrets.token_bytes(SECRET_BYTES))
        row = await connection.fetchrow(sql["lock_tree"], organisation_id)
    change = _Change(connection, organisation_id, row)
    yield change
    await change.write()


class _Change:
    """What is changed of one tree."""

    def __init__(self, connection: Connection, organisation_id: str, row: Any) -> None:
        self._connection = connection
        self._organisation_id = organisation_id
        self._tree_no: int = row["tree_no"]
        self._sequence: int = row["sequence"]
        self._head: bytes = row["head"]
        self._revision: int = row["config_revision"]
        self._now_us = max(row["now_us"], row["last_at_us"])
        self._changes: set[ConfigChange] = set()

    def touch(self, change: ConfigChange) -> None:
        self._changes.add(change)

    async def limits(self, budgets: Sequence[Budget]) -> None:
        for budget in budgets:
            self.touch(ConfigChange(ConfigKind.BUDGET, budget.budget_id))
        now = from_us(self._now_us)
        starts = [to_us(budget.span_at(now).start) for budget in budgets]
        counters = {row["budget_id"]: row for row in await self._counters(budgets, starts)}
        changed: list[tuple[Any, int, int]] = []
        for budget in budgets:
            counter = counters.get(budget.budget_id)
            if counter is None:
                continue
            limit = budget.limit_at(now)
            ceiling = limit if budget.mode is Mode.HARD else LIMIT_MAX
            changed.append((counter, limit, ceiling))
        if not changed:
            return
        await self._connection.execute(
            statements()["change_limits"],
            self._tree_no,
            [counter["no"] for counter, _, _ in changed],
            [limit for _, limit, _ in changed],
            [ceiling for _, _, ceiling in changed],
        )
        windows = [
            [
                counter["no"],
                counter["budget_id"],
                counter["unit"],
                counter["start_us"],
                None if counter["end_us"] == NEVER_US else counter["end_us"],
                limit,
                1,
            ]
            for counter, limit, _ in changed
            if counter["lim"] != limit
        ]
        if windows:
            await self._append(Kind.LIMIT, "", 0, f'"w":{text(windows)}')

    async def adjust(
        self,
        kind: str,
        adjustments: Sequence[Adjustment],
        *,
        amount_nanos: int,
        reason: str,
        about: tuple[str, int] | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> int:
        sql = statements()
        starts = [to_us(adjustment.window_start) for adjustment in adjustments]
        rows = await self._connection.fetch(
            sql["counters_of_budgets"], self._tree_no, [each.budget_id for each in adjustments], starts
        )
        found = {(row["budget_id"], row["start_us"]): row for row in rows}
        moves: list[tuple[Any, int]] = []
        for adjustment, start_us in zip(adjustments, starts, strict=True):
            counter = found.get((adjustment.budget_id, start_us))
            if counter is None or counter["spent"] + adjustment.spent_delta < 0:
                raise PreconditionFailed(
                    f"The window of {adjustment.budget_id} that began at"
                    f" {adjustment.window_start.isoformat()} has not spent as much as would be taken from it."
                )
            moves.append((counter, adjustment.spent_delta))
        await self._connection.execute(
            sql["adjust_counters"],
            self._tree_no,
            [counter["no"] for counter, _ in moves],
            [delta for _, delta in moves],
        )
        legs = [[counter["unit"], [counter["no"]], 0, delta, 0] for counter, delta in moves]
        request_id, attempt = about or ("", 0)
        repeated = f"{text(told)[1:-1]}," if told else ""
        fields = f'{repeated}"$":{amount_nanos},"l":{text(legs)},"why":{text(reason)}'
        return await self._append(Kind[kind], request_id, attempt, fields)

    async def checkpoint(self, parts: Sequence[str]) -> int:
        first = self._sequence + 1
        for part in parts:
            await self._append(Kind.CHECKPOINT, "", 0, part)
        return first

    async def write(self) -> None:
        """Lets the owner know, and moves the tree on."""
        sql = statements()
        revision = self._revision + 1
        if self._changes:
            await self._connection.execute(
                sql["note_changes"],
                self._tree_no,
                revision,
                [change.kind.value for change in self._changes],
                [change.id for change in self._changes],
            )
        await self._connection.execute(
            sql["advance_tree"], self._tree_no, self._sequence, self._head, self._now_us, revision
        )

    async def _counters(self, budgets: Sequence[Budget], starts: Sequence[int]) -> Sequence[asyncpg.Record]:
        rows: Sequence[asyncpg.Record] = await self._connection.fetch(
            statements()["counters_of_budgets"],
            self._tree_no,
            [budget.budget_id for budget in budgets],
            starts,
        )
        return rows

    async def _append(self, kind: Kind, request_id: str, attempt: int, fields: str) -> int:
        self._sequence += 1
        about = f'"r":"{request_id}","a":{attempt},' if request_id else ""
        first = f'"org":"{self._organisation_id}",' if self._sequence == 1 else ""
        body = f'{{"n":{self._sequence},"k":{int(kind)},"t":{self._now_us},{about}{first}{fields}}}'.encode()
        self._head = chained(self._head, body)
        await self._connection.execute(
            statements()["append_entry"],
            self._tree_no,
            self._sequence,
            int(kind),
            request_id,
            attempt,
            body,
            self._head,
        )
        return self._sequence
