"""Usage entries and decision records in Postgres; queries.sql says what each statement does."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg

from services.analytics.adapters.postgres_entries import entry_of
from services.analytics.domain.decisions import DecisionRecord, Snapshot
from services.analytics.domain.queries import DecisionQuery, TimeRange, UsageQuery
from services.analytics.domain.usage import Freshness, LedgerPage, UsageEntry, UsageRow, UsageTotals
from services.chassis.postgres import Database

SNAPSHOTS_OUTLIVE = timedelta(days=1)  # the records that name them; routers tell of those in use once a day

_TOTALS = (
    "cost_nanos",
    "attempts",
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "reasoning_tokens",
    "unconfirmed_nanos",
    "overage_nanos",
    "failed",
)


class PostgresUsage:
    """The usage store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries

    async def positions(self) -> Mapping[str, int]:
        """The last sequence read, by organisation."""
        rows = await self._database.fetch(self._sql["ledger_positions"])
        return {row["organisation_id"]: row["sequence"] for row in rows}

    async def store(self, page: LedgerPage) -> bool:
        """Stores a page, its sums and the new position in one statement; False if it does not follow the position."""
        usage = await self._with_attempts(page.usage)
        stored = await self._database.fetchval(
            self._sql["store_usage"],
            page.organisation_id,
            page.after_sequence,
            page.last_sequence,
            page.last_occurred_at,
            [entry.sequence for entry in usage],
            [entry.occurred_at for entry in usage],
            [entry.kind for entry in usage],
            [entry.request_id for entry in usage],
            [entry.attempt for entry in usage],
            [entry.team_id for entry in usage],
            [entry.project_id for entry in usage],
            [entry.key_id for entry in usage],
            [entry.user_id for entry in usage],
            [entry.model for entry in usage],
            [entry.outcome for entry in usage],
            [entry.endpoint_id for entry in usage],
            [entry.cost_nanos for entry in usage],
            [entry.overage_nanos for entry in usage],
            [entry.unconfirmed_nanos for entry in usage],
            [entry.input_tokens for entry in usage],
            [entry.output_tokens for entry in usage],
            [entry.cache_read_tokens for entry in usage],
            [entry.reasoning_tokens for entry in usage],
            [json.dumps(entry.dimensions) for entry in usage],
        )
        return bool(stored)

    async def _with_attempts(self, usage: Sequence[UsageEntry]) -> Sequence[UsageEntry]:
        """The entries, those of them that do not say whose they are (re-rated before the ledger said it) as their
        attempt's charge says it. Found by a scan of the organisation's entries: there are no new ones of the kind."""
        lost = [entry for entry in usage if entry.kind == "rerate" and not entry.key_id]
        if not lost:
            return usage
        statement = self._sql["charges_of_requests"]
        rows = await self._database.fetch(
            statement, lost[0].organisation_id, sorted({each.request_id for each in lost})
        )
        charges = {(row["request_id"], row["attempt"]): entry_of(row) for row in rows}
        charges |= {
            (entry.request_id, entry.attempt): entry
            for entry in usage
            if entry.kind in ("commit", "expire", "correct")
        }
        return [
            _as_charged(entry, charges.get((entry.request_id, entry.attempt)))
            if entry.kind == "rerate" and not entry.key_id
            else entry
            for entry in usage
        ]

    async def sum(
        self, query: UsageQuery, rollups: TimeRange | None, after: tuple[datetime, Sequence[str]] | None
    ) -> tuple[list[UsageRow], UsageTotals]:
        """Rows after a key, and the sums over all rows."""
        scope, span = query.scope, query.range
        rows = await self._database.fetch(
            self._sql["sum_usage"],
            scope.organisation_id,
            scope.team_id,
            scope.project_id,
            scope.key_id,
            scope.user_id,
            span.start,
            span.end,
            span.end if rollups is None else rollups.start,
            span.end if rollups is None else rollups.end,
            query.granularity.value,
            query.time_zone,
            [grouping.value for grouping in query.group_by],
            query.dimension,
            scope.model_like,
            None if after is None else after[0],
            None if after is None else list(after[1]),
            query.rows,
            json.dumps(scope.dimensions),
        )
        found = [UsageRow(row["start"], tuple(row["grouped"]), _totals(row)) for row in rows[:-1]]
        return found, _totals(rows[-1])

    async def freshness(self, organisation_id: str) -> Freshness | None:
        """Up to where an organisation's ledger has been read."""
        row = await self._database.fetchrow(self._sql["freshness"], organisation_id)
        return None if row is None else Freshness(row["sequence"], row["occurred_at"])


def _as_charged(entry: UsageEntry, charge: UsageEntry | None) -> UsageEntry:
    if charge is None:
        return entry
    return replace(
        entry,
        team_id=charge.team_id,
        project_id=charge.project_id,
        key_id=charge.key_id,
        user_id=charge.user_id,
        model=charge.model,
        outcome=charge.outcome,
        endpoint_id=charge.endpoint_id,
        dimensions=charge.dimensions,
    )


def _totals(row: asyncpg.Record) -> UsageTotals:
    return UsageTotals(**{name: row[name] for name in _TOTALS})


class PostgresDecisions:
    """The decision store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries

    async def store(self, records: Sequence[DecisionRecord], snapshots: Sequence[Snapshot] = ()) -> int:
        """Stores what is new of the records, and the snapshots that they name; how many records were new."""
        if snapshots:
            # First: a record never names what is not there, whatever crashes. By their names, for one order of locks;
            # each once, as a statement changes no row twice.
            once = {each.snapshot_id: each for each in snapshots}
            by_name = [once[snapshot_id] for snapshot_id in sorted(once)]
            await self._database.execute(
                self._sql["store_snapshots"],
                [each.snapshot_id for each in by_name],
                [each.content for each in by_name],
                max(record.decided_at for record in records).date(),
            )
        stored = await self._database.fetchval(
            self._sql["store_decisions"],
            [record.organisation_id for record in records],
            [record.decision_id for record in records],
            [record.request_id for record in records],
            [record.decided_at for record in records],
            [record.team_id for record in records],
            [record.project_id for record in records],
            [record.key_id for record in records],
            [record.user_id for record in records],
            [record.model for record in records],
            [record.task for record in records],
            [record.failed for record in records],
            [record.attempts for record in records],
            [record.record for record in records],
        )
        return int(stored)

    async def snapshots(self, snapshot_ids: Sequence[bytes]) -> list[Snapshot]:
        """Those of the snapshots that are kept."""
        rows = await self._database.fetch(self._sql["snapshots_by_id"], list(snapshot_ids))
        return [Snapshot(**row) for row in rows]

    async def forget(self, before: datetime, rows: int) -> int:
        """Deletes up to so many records from before a time, and as many snapshots that no later one names; how many."""
        records = await self._database.fetchval(self._sql["forget_decisions"], before, rows)
        # A record of the day before may still be there, or under way.
        snapshots = await self._database.fetchval(
            self._sql["forget_snapshots"], before.date() - SNAPSHOTS_OUTLIVE, rows
        )
        return int(records) + int(snapshots)

    async def list(self, query: DecisionQuery, after: tuple[datetime, str] | None) -> list[DecisionRecord]:
        """Records after a key, newest first."""
        scope, span = query.scope, query.range
        rows = await self._database.fetch(
            self._sql["list_decisions"],
            scope.organisation_id,
            scope.team_id,
            scope.project_id,
            scope.key_id,
            scope.user_id,
            scope.model_like,
            None if span is None else span.start,
            None if span is None else span.end,
            query.failed_only,
            query.fallback_only,
            query.task,
            query.rows,
            None if after is None else after[0],
            None if after is None else after[1],
        )
        return [DecisionRecord(**row) for row in rows]

    async def by_id(self, organisation_id: str, decision_id: str, team_id: str) -> bytes | None:
        """A record; None if there is none that this team (empty: any) may see."""
        found: bytes | None = await self._database.fetchval(
            self._sql["decision_by_id"], organisation_id, decision_id, team_id
        )
        return found

    async def by_request(self, organisation_id: str, request_id: str, team_id: str) -> bytes | None:
        """The newest record of a request; None as above."""
        found: bytes | None = await self._database.fetchval(
            self._sql["decision_by_request"], organisation_id, request_id, team_id
        )
        return found
