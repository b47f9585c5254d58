"""Reads the ledger back as the contract's entries."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from services.budget.domain.entries import decoded
from services.budget.ports import Connection
from services.chassis.postgres import Database
from turnpike.budget.v1 import ledger_pb2 as pb
from turnpike.common.v1 import money_pb2, principal_pb2, usage_pb2

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_image_tokens",
    "billed_tool_calls",
)
WINDOWS_REMEMBERED = 200_000
"""Counters whose budget and start are kept in memory; about 40 MB."""

Window = tuple[str, int, int]
"""(budget, unit, start in µs)."""


class PostgresLedgerReader:
    """Entries in order, for tails and lists. Raises StoreUnavailable when Postgres does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.queries
        self._windows: dict[tuple[int, int], Window] = {}

    async def heads(self) -> dict[str, int]:
        """The last sequence of every organisation that has one."""
        rows = await self._database.fetch(self._sql["ledger_heads"])
        return {row["organisation_id"]: row["sequence"] for row in rows}

    async def chain_heads(self) -> list[tuple[str, int, bytes]]:
        """(organisation, sequence, hash) of the last entry of every chain."""
        rows = await self._database.fetch(self._sql["ledger_heads"])
        return [(row["organisation_id"], row["sequence"], row["head"]) for row in rows]

    async def after(self, organisation_id: str, sequence: int, count: int) -> Sequence[pb.LedgerEntry]:
        """At most `count` entries after a sequence, in order."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._sql["ledger_after"], organisation_id, sequence, count)
            return await self.entries_of(connection, organisation_id, rows)

    async def before(self, organisation_id: str, sequence: int, count: int) -> Sequence[pb.LedgerEntry]:
        """At most `count` entries before a sequence, newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._sql["ledger_before"], organisation_id, sequence, count)
            return await self.entries_of(connection, organisation_id, rows)

    async def entries_of(
        self, connection: Connection, organisation_id: str, rows: Sequence[Any]
    ) -> list[pb.LedgerEntry]:
        """Rows of ledger_after, or of a statement with its columns, as entries."""
        if not rows:
            return []
        tree_no = rows[0]["tree_no"]
        bodies = [decoded(row["body"]) for row in rows]
        wanted = {
            no
            for body in bodies
            for leg in body.get("l", ())
            for no in leg[1]
            if (tree_no, no) not in self._windows
        }
        if wanted:
            if len(self._windows) > WINDOWS_REMEMBERED:
                self._windows.clear()
            for counter in await connection.fetch(self._sql["counters_by_no"], tree_no, list(wanted)):
                self._windows[tree_no, counter["no"]] = (
                    counter["budget_id"],
                    counter["unit"],
                    counter["start_us"],
                )
        windows = {
            no: self._windows[tree_no, no] for body in bodies for leg in body.get("l", ()) for no in leg[1]
        }
        return [
            to_pb_entry(organisation_id, body, windows, row["hash"], row["previous_hash"])
            for body, row in zip(bodies, rows, strict=True)
        ]


def to_pb_entry(
    organisation_id: str,
    body: Mapping[str, Any],
    windows: Mapping[int, Window],
    hashed: bytes,
    previous: bytes | None,
) -> pb.LedgerEntry:
    """An entry whose counters are `windows`."""
    entry = pb.LedgerEntry(
        organisation_id=organisation_id,
        sequence=body["n"],
        kind=body["k"],
        occurred_at=_timestamp(body["t"]),
        model=body.get("m", ""),
        unconfirmed=bool(body.get("un", 0)),
        outcome=body.get("oc", ""),
        dimensions=body.get("x", {}),
        price_revision=body.get("pr", 0),
        endpoint_id=body.get("e", ""),
        vendor_request_id=body.get("vr", ""),
        previous_hash=previous or b"",
        hash=hashed,
    )
    if "r" in body:
        entry.key.CopyFrom(
            principal_pb2.AttemptKey(organisation_id=organisation_id, request_id=body["r"], attempt=body["a"])
        )
    if "p" in body:
        team_id, project_id, key_id, user_id = body["p"]
        entry.principal.CopyFrom(
            principal_pb2.Principal(
                organisation_id=organisation_id,
                team_id=team_id,
                project_id=project_id,
                key_id=key_id,
                user_id=user_id,
            )
        )
    for name, field in (("$", entry.amount), ("o", entry.overage), ("re", entry.replaces)):
        if name in body:
            field.CopyFrom(money_pb2.Money(nanos=body[name]))
    if "u" in body:
        *counts, source = body["u"]
        known = {name: count for name, count in zip(_COUNTS, counts, strict=True) if count is not None}
        entry.usage.CopyFrom(usage_pb2.Usage(**known, source=source))
    for unit, numbers, held, spent, overage in body.get("l", ()):
        for no in numbers:
            budget_id, _, start_us = windows[no]
            entry.legs.add(
                budget_id=budget_id,
                window_start=_timestamp(start_us),
                unit=unit,
                held_delta=held,
                spent_delta=spent,
                overage_delta=overage,
            )
    for _, budget_id, unit, start_us, _, limit, _ in body.get("w", ()):
        entry.legs.add(budget_id=budget_id, window_start=_timestamp(start_us), unit=unit, limit=limit)
    return entry


def _timestamp(at_us: int) -> Timestamp:
    return Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)
