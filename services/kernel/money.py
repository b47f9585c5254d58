"""Exact amounts of money: whole billionths of a US dollar that fit in an int64.

    Money.parse("12.50") + Money(1)  ->  Money(nanos=12_500_000_001)

There is no floating point: amounts are read from text or integers, added and compared, and nothing else. A product or
a quotient is a price times a usage, which services/kernel/pricing.py computes with its rounding named. Hot paths may
carry plain `int` nanos and check them with `checked_nanos` where they enter.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Self

NANOS_PER_DOLLAR = 1_000_000_000

NANOS_MAX = 2**63 - 1
"""Largest amount that travels: about 9.22 billion dollars."""
NANOS_MIN = -(2**63)

AMOUNT_NANOS_MAX = 2**62 - 1
"""Largest single amount that is held or charged, and the largest limit, about 4.6 billion dollars: the sum of two fits
an int64, so `spent + held` cannot overflow where both are at most a limit."""

_DECIMAL = re.compile(r"([+-]?)([0-9]{1,10})(?:\.([0-9]{1,9}))?")


class MoneyOutOfRange(ValueError):
    """An amount does not fit; nothing is ever wrapped or clipped."""


def checked_nanos(nanos: int) -> int:
    """`nanos` if it fits an int64; raises MoneyOutOfRange if not, TypeError for floats and booleans."""
    if type(nanos) is not int:
        raise TypeError(f"an amount is a whole number of nanos, not {type(nanos).__name__}")
    if not NANOS_MIN <= nanos <= NANOS_MAX:
        raise MoneyOutOfRange(f"{nanos} nanos do not fit 64 bits")
    return nanos


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount in nano-USD; may be negative, as a difference is."""

    nanos: int

    def __post_init__(self) -> None:
        checked_nanos(self.nanos)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Dollars as people write them, `12.5`, with at most nine decimals; raises ValueError for anything else."""
        match = _DECIMAL.fullmatch(text.strip())
        if match is None:
            raise ValueError("is not an amount in dollars such as 12.50, with at most nine decimals")
        sign, whole, decimals = match.groups()
        nanos = int(whole) * NANOS_PER_DOLLAR + int((decimals or "").ljust(9, "0"))
        return cls(-nanos if sign == "-" else nanos)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.nanos + other.nanos)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.nanos - other.nanos)

    def __neg__(self) -> "Money":
        return Money(-self.nanos)

    def __bool__(self) -> bool:
        return self.nanos != 0

    def __str__(self) -> str:
        return for_people(self.nanos)


def for_people(nanos: int) -> str:
    """An amount as people read it: `$12.50`; as many decimals as it takes for two digits of a small amount to show.

    Rounded half-even: never compute with it. Amounts below a cent keep what makes them differ, `$0.000012`.
    """
    sign = "-" if nanos < 0 else ""
    dollars = Decimal(abs(nanos)).scaleb(-9)
    places = 2 if dollars == 0 or dollars >= 1 else min(9, max(2, 1 - dollars.adjusted()))
    return f"{sign}${dollars.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"
