"""Figures in words that people read at a glance."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from turnpike.common.v1 import error_pb2

NANOS_PER_DOLLAR = 1_000_000_000


def dollars(nanos: int) -> str:
    """Return an amount exactly: $1.00, $0.25, $0.000012345."""
    sign = "-" if nanos < 0 else ""
    whole, fraction = divmod(abs(nanos), NANOS_PER_DOLLAR)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{sign}${whole:,}.{digits:0<2}"


def amount(value: int, unit: error_pb2.BudgetUnit.ValueType) -> str:
    """Return what a budget counts, in its unit."""
    if unit == error_pb2.BUDGET_UNIT_MONEY:
        return dollars(value)
    return f"{value:,} {unit_word(unit)}"


def left_of(left: int, limit: int, unit: error_pb2.BudgetUnit.ValueType) -> str:
    """Return what is left of a limit: $0.25 of $1.00, 59 of 60 requests."""
    if unit == error_pb2.BUDGET_UNIT_MONEY:
        return f"{dollars(left)} of {dollars(limit)}"
    return f"{left:,} of {limit:,} {unit_word(unit)}"


def unit_word(unit: error_pb2.BudgetUnit.ValueType) -> str:
    """Return the unit's name, in the plural."""
    word = error_pb2.BudgetUnit.Name(unit).removeprefix("BUDGET_UNIT_").lower()
    return "open holds" if unit == error_pb2.BUDGET_UNIT_CONCURRENCY else word


def seconds(span: timedelta) -> str:
    """Return a duration with as many digits as matter."""
    value = span.total_seconds()
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def moment(when: datetime, now: datetime | None = None) -> str:
    """Return a moment in the reader's own time zone, with the date if it is not today."""
    local = when.replace(tzinfo=when.tzinfo or UTC).astimezone()
    today = (now or datetime.now(UTC)).astimezone().date()
    return local.strftime("%H:%M") if local.date() == today else local.strftime("%d %b %Y %H:%M")


def percent(part: Decimal | int, whole: Decimal | int) -> str:
    """Return a share in per cent; empty when there is no whole."""
    return f"{100 * part / whole:.0f} %" if whole else ""
