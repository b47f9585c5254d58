"""Single usage entries in Postgres; entries.sql says what each statement does."""

import json
from datetime import datetime

import asyncpg

from services.analytics.domain.queries import Scope, TimeRange
from services.analytics.domain.usage import UsageEntry
from services.chassis.postgres import Database


class PostgresEntries:
    """The usage store's entries, one by one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries

    async def page(
        self, scope: Scope, span: TimeRange, after: tuple[datetime, int] | None, count: int
    ) -> list[UsageEntry]:
        """At most `count` entries of a scope and time, in the order of the ledger, after a time and sequence."""
        rows = await self._database.fetch(
            self._sql["page_of_entries"],
            *of_scope(scope),
            span.start,
            span.end,
            None if after is None else after[0],
            None if after is None else after[1],
            count,
        )
        return [entry_of(row) for row in rows]

    async def newest(self, scope: Scope, span: TimeRange, count: int) -> list[UsageEntry]:
        """The newest charges of a scope and time, newest last."""
        statement = self._sql["newest_charges"]
        rows = await self._database.fetch(statement, *of_scope(scope), span.start, span.end, count)
        return [entry_of(row) for row in reversed(rows)]

    async def after(self, organisation_id: str, sequence: int, up_to: int, count: int) -> list[UsageEntry]:
        """At most `count` entries after a sequence and up to another, in order."""
        rows = await self._database.fetch(self._sql["entries_after"], organisation_id, sequence, up_to, count)
        return [entry_of(row) for row in rows]

    async def last_before(self, organisation_id: str, at: datetime) -> int:
        """The sequence of the last entry before a time; 0: there is none."""
        found: int | None = await self._database.fetchval(self._sql["last_entry_before"], organisation_id, at)
        return found or 0


def of_scope(scope: Scope) -> tuple[str, ...]:
    """What statements about a scope take first, $1 to $7."""
    return (
        scope.organisation_id,
        scope.team_id,
        scope.project_id,
        scope.key_id,
        scope.user_id,
        scope.model_like,
        json.dumps(scope.dimensions),
    )


def entry_of(row: asyncpg.Record) -> UsageEntry:
    """A row of usage_entry with all its columns."""
    return UsageEntry(**{**row, "dimensions": json.loads(row["dimensions"])})
