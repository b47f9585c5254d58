from datetime import UTC, datetime, timedelta

import pytest

from services.cli.words import amount, dollars, moment, seconds
from turnpike.common.v1 import error_pb2


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (250_000_000, "$0.25"),
        (1_000_000_000, "$1.00"),
        (-1_500_000_000, "-$1.50"),
        (1_234_567_000_000_000, "$1,234,567.00"),
        (9_223_372_036_854_775_807, "$9,223,372,036.854775807"),
    ],
)
def test_dollars_are_exact(nanos: int, shown: str) -> None:
    assert dollars(nanos) == shown


def test_an_amount_is_in_its_unit() -> None:
    assert amount(1_000, error_pb2.BUDGET_UNIT_TOKENS) == "1,000 tokens"
    assert amount(60, error_pb2.BUDGET_UNIT_REQUESTS) == "60 requests"
    assert amount(10_000_000, error_pb2.BUDGET_UNIT_MONEY) == "$0.01"


def test_durations_have_the_digits_that_matter() -> None:
    assert seconds(timedelta(milliseconds=12.4)) == "12 ms"
    assert seconds(timedelta(seconds=1.26)) == "1.3 s"


def test_a_moment_of_another_day_has_its_date() -> None:
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert moment(now, now) == now.astimezone().strftime("%H:%M")
    assert "2027" in moment(now + timedelta(days=60), now)
