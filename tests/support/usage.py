"""Usage entries and ledger pages for tests of the analytics service."""

from datetime import UTC, datetime

from services.analytics.domain.usage import LedgerPage, UsageEntry

START = datetime(2026, 3, 27, 22, 7, 3, tzinfo=UTC)


def usage(sequence: int, at: datetime = START, **changes: object) -> UsageEntry:
    """An ordinary charge, with changes."""
    base: dict[str, object] = {
        "organisation_id": "org_1",
        "sequence": sequence,
        "occurred_at": at,
        "kind": "commit",
        "request_id": f"r{sequence}",
        "attempt": 1,
        "team_id": "team_1",
        "project_id": "proj_1",
        "key_id": "key_1",
        "user_id": "",
        "model": "openai/gpt-4o",
        "outcome": "succeeded",
        "cost_nanos": 10,
        "overage_nanos": 0,
        "unconfirmed_nanos": 0,
        "input_tokens": 3,
        "output_tokens": None,
        "cache_read_tokens": 0,
        "reasoning_tokens": None,
        "dimensions": {"task": "chat"},
    }
    return UsageEntry(**(base | changes))  # type: ignore[arg-type]


def page(*entries: UsageEntry, after: int = 0, last: int | None = None) -> LedgerPage:
    """A page of the ledger in which these entries are."""
    end = entries[-1].sequence if last is None else last
    return LedgerPage(entries[0].organisation_id, after, end, entries[-1].occurred_at, entries)
