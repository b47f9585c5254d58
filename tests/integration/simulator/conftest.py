from collections.abc import AsyncIterator

import pytest

from services.providers.simulator.scenario import Pace, Scenario
from services.providers.simulator.server import RunningSimulator

FAST = Pace(first_token_ms=0, tokens_per_s=0, jitter=0)


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with RunningSimulator(Scenario(seed=1, pace=FAST)) as running:
        yield running
