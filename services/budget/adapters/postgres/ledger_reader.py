"""Reads the ledger back as the contract's entries."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from services.budget.domain.entries import Entry, Kind, decoded
from services.budget.domain.moments import from_us
from services.budget.errors import EntriesArchived
from services.budget.ports import Connection
from services.chassis.postgres import Database
from turnpike.budget.v1 import ledger_pb2 as pb
from turnpike.budget.v1.budget_pb2 import TailLedgerResponse

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
    "source",
    "unbilled_input_tokens",
    "unbilled_output_tokens",
)
"""As entries have them; the last two are there only if they are known."""

_WITHOUT_USAGE = frozenset({Kind.HOLD, Kind.EXTEND, Kind.LIMIT, Kind.CHECKPOINT})
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

    async def page_after(
        self, organisation_id: str, sequence: int, count: int, *, usage_only: bool
    ) -> tuple[TailLedgerResponse, int, int]:
        """A page of at most `count` entries after a sequence, in order; how many these are, and the last's sequence.

        Raises EntriesArchived if the first of them has left.
        """
        page = TailLedgerResponse()
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._sql["ledger_after"], organisation_id, sequence, count)
            if rows and rows[0]["sequence"] != sequence + 1:
                first = decoded(rows[0]["body"])
                raise EntriesArchived(organisation_id, first["n"], from_us(first["t"]))
            if usage_only:
                for row in rows:
                    _fill_usage(page.entries.add(), organisation_id, decoded(row["body"]))
            else:
                page.entries.extend(await self.entries_of(connection, organisation_id, rows))
        return page, len(rows), rows[-1]["sequence"] if rows else sequence

    def page_of(self, organisation_id: str, entries: Sequence[Entry]) -> TailLedgerResponse:
        """A page of entries just written, for readers of usage only."""
        page = TailLedgerResponse()
        for entry in entries:
            _fill_usage(page.entries.add(), organisation_id, decoded(entry.body))
        return page

    def empty_page(self) -> TailLedgerResponse:
        """A heartbeat."""
        return TailLedgerResponse()

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
    entry = pb.LedgerEntry(previous_hash=previous or b"", hash=hashed)
    _fill(entry, organisation_id, body)
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


def _fill(entry: pb.LedgerEntry, organisation_id: str, body: Mapping[str, Any]) -> None:
    """Writes what an entry says, but for its legs and its place in the chain. In place: copies take longer."""
    _fill_head(entry, organisation_id, body)
    if "r" in body:
        key = entry.key
        key.organisation_id, key.request_id, key.attempt = organisation_id, body["r"], body["a"]
    if "p" in body:
        principal = entry.principal
        principal.organisation_id = organisation_id
        principal.team_id, principal.project_id, principal.key_id, principal.user_id = body["p"]
    entry.model = body.get("m", "")
    entry.unconfirmed = bool(body.get("un", 0))
    entry.outcome = body.get("oc", "")
    entry.price_revision = body.get("pr", 0)
    entry.endpoint_id = body.get("e", "")
    entry.vendor_request_id = body.get("vr", "")
    dimensions = body.get("x")
    if dimensions:
        entry.dimensions.update(dimensions)
    if "$" in body:
        entry.amount.nanos = body["$"]
    if "o" in body:
        entry.overage.nanos = body["o"]
    if "re" in body:
        entry.replaces.nanos = body["re"]
    if "u" in body:
        usage = entry.usage
        for name, count in zip(_COUNTS, body["u"], strict=False):
            if count is not None:
                setattr(usage, name, count)


def _fill_usage(entry: pb.LedgerEntry, organisation_id: str, body: Mapping[str, Any]) -> None:
    """Writes an entry as a reader of usage wants it."""
    if body["k"] in _WITHOUT_USAGE:
        _fill_head(entry, organisation_id, body)
    else:
        _fill(entry, organisation_id, body)


def _fill_head(entry: pb.LedgerEntry, organisation_id: str, body: Mapping[str, Any]) -> None:
    at_us = body["t"]
    entry.organisation_id = organisation_id
    entry.sequence = body["n"]
    entry.kind = body["k"]
    occurred_at = entry.occurred_at
    occurred_at.seconds, occurred_at.nanos = at_us // 1_000_000, at_us % 1_000_000 * 1000


def _timestamp(at_us: int) -> Timestamp:
    return Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)
