"""Usage entries as rows of a file: exact, unknown left empty, the same entry always the same bytes."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from services.analytics.domain.usage import UsageEntry

NANOS_PER_DOLLAR = 1_000_000_000
Column = tuple[str, Callable[[UsageEntry], Any]]


class ExportFormat(Enum):
    """How a file is written."""

    CSV = "csv"
    JSON_LINES = "json_lines"
    FOCUS_CSV = "focus_csv"


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole rows of a file, and where the next piece begins."""

    content: bytes
    resume_token: str


def header(wanted: ExportFormat) -> bytes:
    """What a file begins with."""
    if wanted is ExportFormat.JSON_LINES:
        return b""
    return _csv([[name for name, _ in _columns(wanted)]])


def rows(wanted: ExportFormat, entries: Iterable[UsageEntry]) -> bytes:
    """Entries as rows, in their order. FOCUS has charges alone: what was released cost and consumed nothing."""
    columns = _columns(wanted)
    if wanted is ExportFormat.JSON_LINES:
        lines = (json.dumps({name: value(entry) for name, value in columns}) for entry in entries)
        return "".join(f"{line}\n" for line in lines).encode()
    if wanted is ExportFormat.FOCUS_CSV:
        entries = (entry for entry in entries if entry.kind != "release")
    return _csv([_cell(value(entry)) for _, value in columns] for entry in entries)


def decimal(nanos: int) -> str:
    """Dollars with all nine decimals: no rounding, and text that sorts and sums everywhere."""
    whole, part = divmod(abs(nanos), NANOS_PER_DOLLAR)
    return f"{'-' if nanos < 0 else ''}{whole}.{part:09d}"


def _columns(wanted: ExportFormat) -> Sequence[Column]:
    return _FOCUS if wanted is ExportFormat.FOCUS_CSV else _OURS


def _csv(table: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(table)  # RFC 4180: quotes where needed, ends with CRLF
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _provider(entry: UsageEntry) -> str:
    return entry.model.partition("/")[0]


_OURS: Sequence[Column] = (
    ("occurred_at", lambda entry: _moment(entry.occurred_at)),
    ("organisation_id", lambda entry: entry.organisation_id),
    ("ledger_sequence", lambda entry: entry.sequence),
    ("kind", lambda entry: entry.kind),
    ("request_id", lambda entry: entry.request_id),
    ("attempt", lambda entry: entry.attempt),
    ("team_id", lambda entry: entry.team_id),
    ("project_id", lambda entry: entry.project_id),
    ("key_id", lambda entry: entry.key_id),
    ("user_id", lambda entry: entry.user_id),
    ("provider", _provider),
    ("model", lambda entry: entry.model),
    ("endpoint_id", lambda entry: entry.endpoint_id),
    ("outcome", lambda entry: entry.outcome),
    ("currency", lambda entry: "USD"),
    ("cost", lambda entry: decimal(entry.cost_nanos)),
    ("cost_nanos", lambda entry: entry.cost_nanos),
    ("overage_nanos", lambda entry: entry.overage_nanos),
    ("unconfirmed_nanos", lambda entry: entry.unconfirmed_nanos),
    ("input_tokens", lambda entry: entry.input_tokens),
    ("output_tokens", lambda entry: entry.output_tokens),
    ("cache_read_tokens", lambda entry: entry.cache_read_tokens),
    ("reasoning_tokens", lambda entry: entry.reasoning_tokens),
    ("dimensions", lambda entry: entry.dimensions),
)


# ---- FOCUS 1.0: the mandatory columns, and those that say something here ---------------------------------------------
def _month_start(entry: UsageEntry) -> str:
    at = entry.occurred_at.astimezone(UTC)
    return _moment(datetime(at.year, at.month, 1, tzinfo=UTC))


def _month_end(entry: UsageEntry) -> str:
    at = entry.occurred_at.astimezone(UTC)
    return _moment(datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC))


def _category(entry: UsageEntry) -> str:
    return "Adjustment" if entry.kind == "adjust" else "Usage"


def _tokens(entry: UsageEntry) -> int | None:
    if entry.input_tokens is None or entry.output_tokens is None:
        return None
    return entry.input_tokens + entry.output_tokens


def _described(entry: UsageEntry) -> str:
    about = f"request {entry.request_id} attempt {entry.attempt}" if entry.request_id else "no request"
    return f"{entry.kind}, {about}, {entry.outcome}" if entry.outcome else f"{entry.kind}, {about}"


def _tags(entry: UsageEntry) -> dict[str, str]:
    ours = {"project_id": entry.project_id, "key_id": entry.key_id, "user_id": entry.user_id}
    return {**entry.dimensions, **{f"turnpike/{name}": value for name, value in ours.items() if value}}


_FOCUS: Sequence[Column] = (
    ("BilledCost", lambda entry: decimal(entry.cost_nanos)),
    ("BillingAccountId", lambda entry: entry.organisation_id),
    ("BillingAccountName", lambda entry: entry.organisation_id),
    ("BillingCurrency", lambda entry: "USD"),
    ("BillingPeriodStart", _month_start),
    ("BillingPeriodEnd", _month_end),
    ("ChargeCategory", _category),
    # "Correction" is of periods that were invoiced; ours are corrected when that becomes known, within the period.
    ("ChargeClass", lambda entry: None),
    ("ChargeDescription", _described),
    ("ChargeFrequency", lambda entry: "Usage-Based"),
    ("ChargePeriodStart", lambda entry: _moment(entry.occurred_at)),
    ("ChargePeriodEnd", lambda entry: _moment(entry.occurred_at)),
    ("ConsumedQuantity", _tokens),
    ("ConsumedUnit", lambda entry: None if _tokens(entry) is None else "Tokens"),
    # An attempt has several meters (input, output, caches), so there is no one unit price; where that is absent, list
    # and contracted cost are the billed cost.
    ("ContractedCost", lambda entry: decimal(entry.cost_nanos)),
    ("ContractedUnitPrice", lambda entry: None),
    ("EffectiveCost", lambda entry: decimal(entry.cost_nanos)),
    ("InvoiceIssuerName", _provider),
    ("ListCost", lambda entry: decimal(entry.cost_nanos)),
    ("ListUnitPrice", lambda entry: None),
    ("PricingCategory", lambda entry: "Standard"),
    ("PricingQuantity", lambda entry: 1),
    ("PricingUnit", lambda entry: "Requests"),
    ("ProviderName", _provider),
    ("PublisherName", _provider),
    ("ResourceId", lambda entry: entry.endpoint_id or None),
    ("ResourceType", lambda entry: "Endpoint" if entry.endpoint_id else None),
    ("ServiceCategory", lambda entry: "AI and Machine Learning"),
    ("ServiceName", lambda entry: entry.model),
    ("SkuId", lambda entry: entry.model or None),
    ("SubAccountId", lambda entry: entry.team_id),
    ("SubAccountName", lambda entry: entry.team_id),
    ("Tags", _tags),
)
