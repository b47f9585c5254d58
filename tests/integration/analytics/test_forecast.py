"""A forecast from entries in a real store."""

from datetime import timedelta

import pytest

from services.analytics.adapters.postgres import PostgresUsage
from services.analytics.domain.queries import Scope
from services.analytics.use_cases.forecast import ForecastSpend
from services.chassis.postgres import Database
from services.kernel.clock import ManualClock
from services.kernel.errors import InvalidRequest
from tests.support.usage import START, page, usage

NOW = START + timedelta(days=10)


async def test_a_forecast_goes_on_with_what_the_ledger_says(database: Database) -> None:
    store, ask = PostgresUsage(database), ForecastSpend(PostgresUsage(database), ManualClock(NOW))
    assert (await ask(Scope("org_1"), NOW + timedelta(days=5), "UTC")).expected_nanos is None
    entries = [usage(n + 1, START + timedelta(minutes=30 * n), cost_nanos=1000) for n in range(480)]
    assert await store.store(page(*entries))
    for scope in (Scope("org_1"), Scope("org_1", dimensions={"task": "chat"})):
        made = await ask(scope, NOW + timedelta(days=5), "Europe/Vienna")
        assert made.expected_nanos == pytest.approx(5 * 48 * 1000, rel=0.03)
        assert made.history_days == 10
    assert (await ask(Scope("org_2"), NOW + timedelta(days=5), "UTC")).expected_nanos is None


@pytest.mark.parametrize(
    ("days", "zone", "field"),
    [(0, "UTC", "until"), (-1, "UTC", "until"), (367, "UTC", "until"), (1, "Mars/Olympus", "time_zone")],
)
async def test_what_makes_no_sense_is_refused_by_field(
    database: Database, days: int, zone: str, field: str
) -> None:
    ask = ForecastSpend(PostgresUsage(database), ManualClock(NOW))
    with pytest.raises(InvalidRequest) as refused:
        await ask(Scope("org_1"), NOW + timedelta(days=days), zone)
    assert [violation.field for violation in refused.value.violations] == [field]
