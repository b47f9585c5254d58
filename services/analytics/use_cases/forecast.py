"""Answers what will be spent by a date."""

import asyncio
from datetime import datetime, timedelta

from services.analytics.domain.forecasting import (
    HISTORY_DAYS_MAX,
    HORIZON_MAX,
    Forecast,
    SpentHour,
    forecast,
)
from services.analytics.domain.queries import (
    ROWS_MAX,
    Granularity,
    Scope,
    TimeRange,
    UsageQuery,
    zone_violations,
)
from services.analytics.ports import UsageStore
from services.kernel.clock import Clock
from services.kernel.errors import FieldViolation, InvalidRequest


class ForecastSpend:
    """Looks at the last weeks by the hour and says what follows if they go on."""

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def __call__(self, scope: Scope, until: datetime, zone: str) -> Forecast:
        """What is spent from now until then. Raises InvalidRequest for a past or distant date, or no zone."""
        now = self._clock.now()
        violations = list(zone_violations(zone))
        if not now < until <= now + HORIZON_MAX:
            violations.append(FieldViolation("until", f"must be within {HORIZON_MAX.days} days from now"))
        if violations:
            raise InvalidRequest(tuple(violations))
        begin = now - timedelta(days=HISTORY_DAYS_MAX)
        query = UsageQuery(scope, TimeRange(begin, now), Granularity.HOUR, time_zone=zone, rows=ROWS_MAX)
        rows, _ = await self._store.sum(query, query.rollups, None)
        hours = [SpentHour(row.start, row.totals.cost_nanos) for row in rows]
        since = max(begin, hours[0].start) if hours else now
        # Up to some tens of milliseconds of arithmetic: beside the loop, not in it.
        return await asyncio.to_thread(forecast, hours, since, now, until, zone)
