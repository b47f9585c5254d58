"""What attempts have cost in all, put together from the entries that charge them and those that put charges right.

A charge belongs to the day and the model of the entry that first made it, whatever was corrected later.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.budget.domain.budgets import Unit
from services.budget.domain.config import PriceBook
from services.budget.domain.entries import Kind
from services.budget.domain.moments import from_us
from services.kernel.errors import PreconditionFailed
from services.kernel.pricing import RateUnknown, Usage, charge_nanos

CHARGES_MAX = 200_000
"""Attempts that are put together at once: some hundred megabytes. A longer period is taken in parts."""

CHARGING = (Kind.COMMIT, Kind.EXPIRE)
RIGHTING = (Kind.CORRECT, Kind.RERATE, Kind.ADJUST)

TOLD = ("p", "m", "e", "x", "oc")
"""What an entry about a charge repeats of it, so that whoever reads one entry knows whose money it is."""

AttemptId = tuple[str, int]


@dataclass(slots=True)
class Charged:
    """What one attempt has cost so far."""

    attempt: AttemptId
    model: str
    at: datetime
    nanos: int
    usage: Usage | None
    """None: nobody knows."""
    by_vendor: bool
    """The vendor itself stated the cost: no price of ours changes it."""
    counters: tuple[int, ...]
    """Numbers of the money windows it was booked to."""
    told: Mapping[str, Any]
    """Whose it was, at which model and endpoint, tagged how, and how it ended, as its entry says it."""

    @property
    def day(self) -> str:
        """Its day in UTC, as YYYY-MM-DD."""
        return f"{self.at.astimezone(UTC):%Y-%m-%d}"


class Charges:
    """Charges of a period, and what became of them since."""

    def __init__(self) -> None:
        self._by_attempt: dict[AttemptId, Charged] = {}

    def __iter__(self) -> Iterator[Charged]:
        return iter(self._by_attempt.values())

    def charge(self, body: Mapping[str, Any]) -> None:
        """Takes an entry that charges. Raises PreconditionFailed for more than are put together at once."""
        if len(self._by_attempt) >= CHARGES_MAX:
            raise PreconditionFailed(f"The period has more than {CHARGES_MAX:,} charges; take it in parts.")
        attempt = (body["r"], body["a"])
        self._by_attempt[attempt] = Charged(
            attempt,
            body.get("m", ""),
            from_us(body["t"]),
            body["$"],
            _usage(body),
            bool(body.get("cv")),
            tuple(number for leg in body["l"] if leg[0] == Unit.MONEY for number in leg[1]),
            _told(body),
        )

    def put_right(self, body: Mapping[str, Any]) -> None:
        """Takes a later entry about a charge of the period; one about another charge is passed over."""
        known = self._by_attempt.get((body.get("r", ""), body.get("a", 0)))
        if known is None:
            return
        known.nanos += body["$"]
        if body["k"] == Kind.CORRECT:
            known.usage, known.by_vendor = _usage(body), bool(body.get("cv"))
            known.told = {**known.told, **_told(body)}


def _told(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in TOLD if name in body}


def _usage(body: Mapping[str, Any]) -> Usage | None:
    if "u" not in body:
        return None
    counts = body["u"]
    return Usage(*counts[:10], *counts[11:])  # between them is the source


@dataclass(frozen=True, slots=True)
class Difference:
    """What a charge would be by other prices, less what it is."""

    charged: Charged
    nanos: int


def rerated(charges: Iterable[Charged], book: PriceBook) -> list[Difference]:
    """Charges whose cost by the price book, as it is now for their time, is another.

    Charges by the vendor's own word, without a known usage, or of a model without a price stay as they are.
    """
    differences = []
    for charged in charges:
        price = book.price_of(charged.model, charged.at)
        if charged.by_vendor or charged.usage is None or price is None:
            continue
        try:
            nanos = charge_nanos(price, charged.usage)
        except RateUnknown:
            continue
        if nanos is not None and nanos != charged.nanos:
            differences.append(Difference(charged, nanos - charged.nanos))
    return differences


@dataclass(slots=True)
class DayOfModel:
    """What the ledger and an invoice say of one day of one model."""

    day: str
    model: str
    invoiced: int = 0
    booked: int = 0
    usage: Usage | None = None

    @property
    def difference(self) -> int:
        """Invoiced less booked."""
        return self.invoiced - self.booked


def reconciled(
    invoiced: Mapping[tuple[str, str], int], charges: Iterable[Charged], provider: str
) -> list[DayOfModel]:
    """Invoice and ledger by day and model, in order. Only the provider's models are looked at."""
    lines: dict[tuple[str, str], DayOfModel] = {
        key: DayOfModel(*key, invoiced=nanos) for key, nanos in invoiced.items()
    }
    usages: dict[tuple[str, str], list[Usage]] = defaultdict(list)
    for charged in charges:
        if charged.model.partition("/")[0] != provider:
            continue
        key = (charged.day, charged.model)
        lines.setdefault(key, DayOfModel(*key)).booked += charged.nanos
        if charged.usage is not None:
            usages[key].append(charged.usage)
    for key, some in usages.items():
        lines[key].usage = _sum(some)
    return [lines[key] for key in sorted(lines)]


def _sum(usages: Sequence[Usage]) -> Usage:
    """Counts added up; unknown where nobody said anything."""

    def total(name: str) -> int | None:
        known = [count for usage in usages if (count := getattr(usage, name)) is not None]
        return sum(known) if known else None

    return Usage(*(total(name) for name in Usage.__slots__))
