"""The fault run in short, and a vendor that works again."""

from pathlib import Path

import pytest
import uvloop

from tests.chaos.fallback.run import chaos
from tests.chaos.fallback.verdict import Options, report
from tests.chaos.fallback.weather import SOUND, VENDORS, schedule
from tests.support.conditions import until
from tests.support.raw_vendor import raw_vendor
from tests.support.road import Vendor, road
from tests.support.vendors import failing, speak

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(280)]


@pytest.mark.parametrize("seed", range(20))
def test_somebody_is_sound_at_every_moment(seed: int) -> None:
    windows = schedule(seed, 120)
    for begun_s in {window.from_s for window in windows}:
        now = [window for window in windows if window.from_s == begun_s]
        assert {window.vendor for window in now} == set(VENDORS)
        assert any(window.condition == SOUND for window in now)


def test_whoever_some_model_can_serve_is_served(tmp_path: Path) -> None:
    outcome = uvloop.run(chaos(Options(seconds=30, rate=8, seed=1), tmp_path))
    print(report(outcome))
    assert outcome.problems == []
    assert len(outcome.added_s()) > 10


async def test_a_vendor_that_recovers_is_found_within_seconds(postgres_dsn: str, tmp_path: Path) -> None:
    async with raw_vendor(failing(500)) as better, raw_vendor(speak) as worse:
        models = {
            "better": Vendor(better.base_url, quality=0.9),
            "worse": Vendor(worse.base_url, quality=0.5),
        }
        async with road(postgres_dsn, tmp_path, models) as on:
            for _ in range(8):
                assert (await on.generate()).outcome.model == "local/worse"
            before = len(better.requests)
            for _ in range(5):
                await on.generate()
            assert len(better.requests) - before <= 1  # its breaker is open
            better.script = speak

            async def back() -> bool:
                return (await on.generate()).outcome.model == "local/better"

            await until(back)
