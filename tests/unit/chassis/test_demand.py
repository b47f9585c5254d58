"""How much of the time a thread wants a CPU."""

import sys
import time
from pathlib import Path

import pytest

from services.chassis import demand
from services.chassis.demand import Demand

linux = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")


def spin(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        pass


@linux
def test_a_thread_that_always_wants_a_cpu_is_told_from_one_that_sleeps() -> None:
    of_thread = Demand()
    spin(2 * demand.SAMPLE_S)  # also where others take the CPU meanwhile: waiting for it counts
    assert of_thread.share() > 0.8
    time.sleep(2 * demand.SAMPLE_S)
    assert of_thread.share() < 0.2


def test_it_is_looked_at_seldom() -> None:
    of_thread = Demand()
    assert of_thread.share() == 0.0
    assert of_thread.share() == of_thread.share()


def test_a_system_that_does_not_tell_is_at_ease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand, "_SCHEDSTAT", Path("/proc/no-such-file"))
    of_thread = Demand()
    spin(1.1 * demand.SAMPLE_S)
    assert of_thread.share() == 0.0
