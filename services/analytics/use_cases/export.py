"""Writes usage entries as a file, in pieces, from the start or from where it broke off."""

from collections.abc import AsyncGenerator
from datetime import datetime

from services.analytics.domain.exporting import ExportFormat, Piece, header, rows
from services.analytics.domain.queries import Scope, TimeRange
from services.analytics.ports import UsageEntries
from services.kernel.errors import InvalidRequest
from services.kernel.pages import key_time, page_key, page_token

PIECE_ENTRIES = 1000  # about 300 kB of CSV: far below a message's limit, far above what a round trip costs
SEQUENCE_MAX = 2**63 - 1  # as the ledger counts


class ExportUsage:
    """A file of any length in the memory of one piece. A slow reader holds it back; nothing is read ahead."""

    def __init__(self, entries: UsageEntries) -> None:
        self._entries = entries

    async def __call__(
        self, scope: Scope, span: TimeRange, wanted: ExportFormat, token: str
    ) -> AsyncGenerator[Piece, None]:
        """Pieces of the file, at least one; entries that arrive while it is written come last, if they are in range.

        A token holds the end of the range, which may have been "now", so that a resumed file is of the same range.
        Raises InvalidRequest for a range without length and for a token of another list.
        """
        after: tuple[datetime, int] | None = None
        if token:
            after, end = _place(token)
            span = TimeRange(span.start, end)
        violations = tuple(span.violations())
        if violations:
            raise InvalidRequest(violations)
        content = header(wanted) if after is None else b""
        while True:
            page = await self._entries.page(scope, span, after, PIECE_ENTRIES)
            if page:
                after = (page[-1].occurred_at, page[-1].sequence)
                content += rows(wanted, page)
            yield Piece(content, "" if after is None else _token(after, span.end))
            if len(page) < PIECE_ENTRIES:
                return
            content = b""


def _place(token: str) -> tuple[tuple[datetime, int], datetime]:
    """The time and sequence of the last row that was given, and the end of the range."""
    try:
        key = page_key(token, 3)
        if key is not None and key[1].isdecimal() and int(key[1]) <= SEQUENCE_MAX:
            return (key_time(key[0]), int(key[1])), key_time(key[2])
    except InvalidRequest:
        pass
    raise InvalidRequest.of("resume_token", "is not one that an export gave")


def _token(after: tuple[datetime, int], end: datetime) -> str:
    return page_token((after[0].isoformat(), str(after[1]), end.isoformat()))
