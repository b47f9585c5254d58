"""Protobuf to domain and back, for what is watched, forecast, compared and exported."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from services.access import AdminCaller
from services.analytics.convert import (
    check_texts,
    from_pb_groupings,
    from_pb_range,
    from_pb_scope,
    from_pb_time,
    known,
    to_pb_decision,
    to_pb_money,
    to_pb_time,
    to_pb_totals,
)
from services.analytics.domain.exporting import ExportFormat, Piece
from services.analytics.domain.forecasting import Forecast
from services.analytics.domain.queries import Breakdown
from services.analytics.domain.reports import WasteRow
from services.analytics.domain.savings import SavingsRow
from services.analytics.domain.usage import UsageEntry
from services.analytics.domain.watching import UsageNews
from services.kernel.errors import InvalidRequest
from services.kernel.pricing import ModelPrice, PriceTier
from turnpike.analytics.v1 import analytics_pb2 as pb
from turnpike.common.v1.money_pb2 import Money
from turnpike.common.v1.price_pb2 import ModelPrice as PriceMessage

_FORMATS = {
    pb.EXPORT_FORMAT_UNSPECIFIED: ExportFormat.CSV,
    pb.EXPORT_FORMAT_CSV: ExportFormat.CSV,
    pb.EXPORT_FORMAT_JSON_LINES: ExportFormat.JSON_LINES,
    pb.EXPORT_FORMAT_FOCUS_CSV: ExportFormat.FOCUS_CSV,
}


def from_pb_breakdown(
    request: pb.QuerySavingsRequest | pb.QueryWasteRequest, admin: AdminCaller, now: datetime
) -> Breakdown:
    """The question of a report."""
    check_texts("dimension", request.dimension)
    return Breakdown(
        scope=from_pb_scope(request.scope, admin),
        range=from_pb_range("range", request.range, now),
        group_by=from_pb_groupings(request.group_by),
        dimension=request.dimension,
    )


def from_pb_since(request: pb.WatchUsageRequest) -> datetime | None:
    """From when on to watch; None: from now."""
    return from_pb_time("since", request.since) if request.HasField("since") else None


def to_pb_news(news: UsageNews) -> pb.WatchUsageResponse:
    """What a watcher is told."""
    return pb.WatchUsageResponse(
        observed_at=to_pb_time(news.observed_at),
        events=[to_pb_event(entry) for entry in news.events],
        totals=to_pb_totals(news.totals),
    )


def to_pb_event(entry: UsageEntry) -> pb.UsageEvent:
    """One charge."""
    return pb.UsageEvent(
        request_id=entry.request_id,
        attempt=entry.attempt,
        team_id=entry.team_id,
        project_id=entry.project_id,
        key_id=entry.key_id,
        user_id=entry.user_id,
        model=entry.model,
        cost=to_pb_money(entry.cost_nanos),
        occurred_at=to_pb_time(entry.occurred_at),
        outcome=entry.outcome,
        ledger_sequence=entry.sequence,
    )


def from_pb_until(request: pb.ForecastSpendRequest) -> datetime:
    """By when."""
    if not request.HasField("until"):
        raise InvalidRequest.of("until", "is required")
    return from_pb_time("until", request.until)


def to_pb_forecast(made: Forecast) -> pb.ForecastSpendResponse:
    """What will be spent; what is not known is absent."""
    return pb.ForecastSpendResponse(
        expected=_known_money(made.expected_nanos),
        low=_known_money(made.low_nanos),
        high=_known_money(made.high_nanos),
        history_days=made.history_days,
        method=made.method,
    )


def _known_money(nanos: int | None) -> Money | None:
    return None if nanos is None else to_pb_money(nanos)


def to_pb_savings(rows: Sequence[SavingsRow]) -> pb.QuerySavingsResponse:
    """The comparisons."""
    return pb.QuerySavingsResponse(
        rows=[
            pb.SavingsRow(
                group=row.group,
                actual=to_pb_money(row.actual_nanos),
                baseline=to_pb_money(row.baseline_nanos),
                requests=row.requests,
                not_comparable=row.not_comparable,
                left_out=to_pb_money(row.left_out_nanos),
                cache_saved=to_pb_money(row.cache_saved_nanos),
            )
            for row in rows
        ]
    )


def from_pb_list_price(price: PriceMessage) -> ModelPrice:
    """A price of the book."""
    return ModelPrice(
        model=price.model,
        tiers=tuple(
            PriceTier(**{rate.name: value for rate, value in tier.ListFields()}) for tier in price.tiers
        ),
        effective_from=price.effective_from.ToDatetime(UTC) if price.HasField("effective_from") else None,
        effective_until=price.effective_until.ToDatetime(UTC) if price.HasField("effective_until") else None,
    )


def ablest_of(record: bytes) -> str:
    """The permitted candidate of the highest expected quality in a decision record; empty: no quality is known.

    Of equals the first is taken, which the decision ranked higher.
    """
    best, quality = "", -math.inf
    for candidate in to_pb_decision(record).candidates:
        known = not candidate.excluded_by and candidate.estimates.HasField("quality")
        if known and candidate.estimates.quality > quality:
            best, quality = candidate.model, candidate.estimates.quality
    return best


def to_pb_waste(rows: Sequence[WasteRow]) -> pb.QueryWasteResponse:
    """What bought nothing."""
    return pb.QueryWasteResponse(
        rows=[
            pb.WasteRow(
                group=row.group, kind=row.kind, cost=to_pb_money(row.cost_nanos), attempts=row.attempts
            )
            for row in rows
        ]
    )


def from_pb_format(value: "pb.ExportFormat.ValueType") -> ExportFormat:
    """How a file is written."""
    return known(_FORMATS, value, "format")


def to_pb_piece(piece: Piece) -> pb.ExportUsageResponse:
    """A piece of a file."""
    return pb.ExportUsageResponse(content=piece.content, resume_token=piece.resume_token)
