from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.kernel.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_is_in_utc_and_moves() -> None:
    clock: Clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic_s() <= clock.monotonic_s()


def test_a_manual_clock_moves_when_told() -> None:
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    clock.advance(1.5)
    assert clock.now() == datetime(2026, 3, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert clock.monotonic_s() == 1.5


def test_setting_the_wall_clock_does_not_touch_the_monotonic_one() -> None:
    clock = ManualClock()
    clock.set_wall(datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2019, 12, 31, 22, tzinfo=UTC)
    assert clock.monotonic_s() == 0


def test_a_manual_clock_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="zone"):
        ManualClock(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="go back"):
        ManualClock().advance(-1)
