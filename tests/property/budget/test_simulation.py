"""Histories of many kinds, none of which may break a promise."""

import os
import time

import pytest

from tests.property.budget.simulator import Simulation

SEEDS = 30
FOUND = {
    1_000_328: "a rolling window read after a pause, with one bucket that is over",
    1_001_333: "an owner of yesterday reads of the next one's holds and mixes them with its own windows",
}
SHARES = 4
LONG_OPERATIONS = int(os.environ.get("TURNPIKE_SIMULATED_OPERATIONS", "10000000"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_history_keeps_every_promise(seed: int) -> None:
    simulation = Simulation(seed, operations=600)
    simulation.run()
    assert simulation.tally["HoldAsk Grant"]  # some budgets are exhausted soon, and few are granted then


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_put_right(seed: int) -> None:
    Simulation(seed, operations=4000, reserves=False, runs=False, trims=False).run()


def test_histories_have_everything_in_them() -> None:
    seen: set[str] = set()
    for seed in range(100, 108):
        simulation = Simulation(seed, operations=800)
        simulation.run()
        seen |= simulation.tally.keys()
    for what in (
        "fenced",
        "died before its write",
        "died before its answer",
        "limit changed",
        "HoldAsk BUDGET_EXHAUSTED",
        "HoldAsk RATE_LIMITED",
        "refused for the sake of others",
        "HoldAsk REQUEST_CEILING",
        "HoldAsk REQUEST_ID_REUSED",
        "CommitAsk Receipt",
        "CommitAsk HOLD_NOT_YOURS",
        "CommitAsk HOLD_ALREADY_SETTLED",
        "ReleaseAsk Released",
        "ReleaseAsk HOLD_NOT_FOUND",
        "CommitAndHoldAsk CommittedAndHeld",
        "ExtendAsk Grant",
        "RenewAsk Renewed",
        "a checkpoint stands for entries",
        "a checkpoint waits for holds",
        "windows left out of a checkpoint",
        "a refused hold was settled long ago",
    ):
        assert what in seen, f"no history had: {what}"


@pytest.mark.long
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("share", range(SHARES))
def test_ten_million_operations(share: int) -> None:
    """About 4,600 operations a second of CPU: the shares run side by side where there are cores for them."""
    first = 1_000_000 + share * 100_000
    done, seed, begun = 0, first, time.monotonic()
    while done < LONG_OPERATIONS // SHARES:
        Simulation(seed, operations=4000).run()
        done += 4000
        seed += 1
    print(f"{done} operations in {time.monotonic() - begun:.0f} s, {seed - first} seeds")
