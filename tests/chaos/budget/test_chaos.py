"""A short chaos run: the long one is `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.budget.race import race
from tests.chaos.budget.run import Options, chaos, report


@pytest.mark.timeout(240)
async def test_nothing_is_lost_while_everything_is_killed(tmp_path: Path) -> None:
    options = Options(kills=6, seconds=90.0, seed=11, replicas=2, routers=1, callers=16, durable=False)
    outcome = await chaos(options, tmp_path)
    assert outcome.verdict.sound, report(outcome)
    assert outcome.counted >= 3, report(outcome)
    assert outcome.verdict.acknowledged["hold"] > 50, report(outcome)


@pytest.mark.timeout(240)
async def test_many_callers_fight_for_little_money_on_several_replicas(tmp_path: Path) -> None:
    options = Options(kills=0, seconds=20.0, seed=5, replicas=2, routers=2, callers=100)
    outcome = await race(options, 3000, tmp_path)
    assert outcome.verdict.sound, report(outcome)
    assert outcome.verdict.acknowledged["hold"] > 200, report(outcome)
    assert outcome.verdict.acknowledged["refused"] > 50, report(outcome)
