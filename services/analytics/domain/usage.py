"""Usage entries and their sums."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """What one settlement in the ledger says was consumed. Its key is (organisation_id, sequence)."""

    organisation_id: str
    sequence: int
    occurred_at: datetime
    kind: str
    """`commit`, `release`, `expire`, `correct`, `rerate` or `adjust`."""
    request_id: str
    attempt: int
    team_id: str
    project_id: str
    key_id: str
    user_id: str
    model: str
    outcome: str
    """`succeeded`, `failed`, `cancelled`, `interrupted`, `unknown` or, for releases, `released`."""
    cost_nanos: int
    """Charged, overage included; for corrections the signed difference."""
    overage_nanos: int
    unconfirmed_nanos: int
    """Part of the cost that nobody has confirmed; a correction takes it back with a negative figure."""
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    reasoning_tokens: int | None
    endpoint_id: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over usage entries; unknown counts add nothing."""

    cost_nanos: int = 0
    attempts: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    reasoning_tokens: int = 0
    unconfirmed_nanos: int = 0
    overage_nanos: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The sums of one span of time and one group."""

    start: datetime
    group: tuple[str, ...]
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class Freshness:
    """Up to where an organisation's ledger has been read."""

    sequence: int
    occurred_at: datetime | None


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Consecutive entries of one organisation's ledger, of which some are usage."""

    organisation_id: str
    after_sequence: int
    """The sequence before the page's first entry."""
    last_sequence: int
    last_occurred_at: datetime
    usage: tuple[UsageEntry, ...]
