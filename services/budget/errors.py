"""Every way the budget service says no, with its facts. What all services share is in services/kernel/errors.py."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.budget.domain.budgets import Unit
from services.kernel.errors import Category, TurnpikeError
from services.kernel.money import for_people


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One budget's refusal; amounts in its unit."""

    budget_id: str
    display_name: str
    subject: str
    """Such as `team:team_01…`."""
    model_scope: str
    """Such as `provider:openai`; empty: all models."""
    unit: Unit
    limit: int
    spent: int
    held: int
    overage: int
    asked: int
    resets_at: datetime | None
    """None: never."""
    retry_after_s: float | None = None
    """When the request would fit if nobody else spends; None: waiting does not help, or nobody knows when."""

    @property
    def left(self) -> int:
        """What would still fit; never negative."""
        return max(0, self.limit - self.spent - self.held - self.overage)

    @property
    def tightness(self) -> tuple[float, str]:
        """Sorts the tightest first: least left in proportion to what was asked."""
        return (self.left / self.asked if self.asked else 0.0, self.budget_id)

    def __str__(self) -> str:
        name = f"“{self.display_name}”" if self.display_name else self.budget_id
        until = f" until {self.resets_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if self.resets_at else ""
        scope = f", {self.model_scope}" if self.model_scope else ""
        return (
            f"{name} ({self.subject}{scope}) has {self._amount(self.left)} left of {self._amount(self.limit)}{until};"
            f" {self._amount(self.held)} are held; this request may need {self._amount(self.asked)}"
        )

    def _amount(self, amount: int) -> str:
        if self.unit is Unit.MONEY:
            return for_people(amount)
        return f"{amount} {_PLURALS[self.unit]}"


_PLURALS = {Unit.TOKENS: "tokens", Unit.REQUESTS: "requests", Unit.CONCURRENCY: "open requests"}


@dataclass(eq=False)
class _NoRoom(TurnpikeError):
    shortfalls: tuple[Shortfall, ...]
    """Every budget that has no room, the tightest first."""

    @property
    def message(self) -> str:
        others = len(self.shortfalls) - 1
        more = f"; {others} more budgets have no room either" if others > 1 else ""
        more = "; another budget has no room either" if others == 1 else more
        return f"{self._verdict}: {self.shortfalls[0]}{more}."

    @property
    def metadata(self) -> dict[str, str]:
        tightest = self.shortfalls[0]
        facts = {
            name: str(getattr(tightest, name)) for name in ("budget_id", "subject", "limit", "left", "asked")
        }
        facts["unit"] = tightest.unit.name
        if tightest.resets_at is not None:
            facts["resets_at"] = tightest.resets_at.astimezone(UTC).isoformat()
        return facts

    @property
    def retry_after_s(self) -> float | None:
        waits = [shortfall.retry_after_s for shortfall in self.shortfalls]
        known = [wait for wait in waits if wait is not None]
        return max(known) if len(known) == len(waits) else None

    _verdict = ""


@dataclass(eq=False)
class BudgetExhausted(_NoRoom):
    """A budget has no room for the worst case."""

    category = Category.RESOURCE_EXHAUSTED
    reason = "BUDGET_EXHAUSTED"
    _verdict = "The budget is exhausted"


@dataclass(eq=False)
class RateLimited(_NoRoom):
    """A rate or concurrency limit is reached: waiting a little helps."""

    category = Category.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"
    _verdict = "The rate limit is reached"


@dataclass(eq=False)
class RequestCeiling(_NoRoom):
    """The worst case of this one request is above what a single request may need."""

    category = Category.INVALID_ARGUMENT
    reason = "REQUEST_CEILING"
    _verdict = "The request is above its ceiling"

    @property
    def retry_after_s(self) -> float | None:
        return None


@dataclass(eq=False)
class PriceUnknown(TurnpikeError):
    """The model has no known price, and no policy names a stand-in."""

    category = Category.FAILED_PRECONDITION
    reason = "PRICE_UNKNOWN"
    model: str
    rate: str = "price"
    """What is not known, such as `price of a server-side tool call`."""

    @property
    def message(self) -> str:
        return f"The price book has no {self.rate} for {self.model}; set one, or name a price that stands in for it."


@dataclass(eq=False)
class NotOwner(TurnpikeError):
    """Another replica owns the organisation. Nothing was decided here."""

    category = Category.FAILED_PRECONDITION
    reason = "NOT_OWNER"
    organisation_id: str
    owner_address: str
    """Where to ask; empty: nobody owns it yet, ask again."""

    @property
    def message(self) -> str:
        where = f"the replica at {self.owner_address}" if self.owner_address else "no replica yet"
        return f"{self.organisation_id} is owned by {where}."

    @property
    def retry_after_s(self) -> float | None:
        return 0.05


@dataclass(eq=False)
class HoldNotFound(TurnpikeError):
    """There is no such hold."""

    category = Category.NOT_FOUND
    reason = "HOLD_NOT_FOUND"
    request_id: str
    attempt: int

    @property
    def message(self) -> str:
        return f"There is no hold for attempt {self.attempt} of {self.request_id}."


@dataclass(eq=False)
class HoldAlreadySettled(TurnpikeError):
    """The hold was settled in another way before."""

    category = Category.FAILED_PRECONDITION
    reason = "HOLD_ALREADY_SETTLED"
    request_id: str
    attempt: int
    state: str
    """`committed`, `released` or `unconfirmed`."""
    charged_nanos: int

    @property
    def message(self) -> str:
        return (
            f"The hold of attempt {self.attempt} of {self.request_id} was {self.state} before,"
            f" with a charge of {for_people(self.charged_nanos)}."
        )


@dataclass(eq=False)
class HoldNotYours(TurnpikeError):
    """Another caller made the hold, and no lease of it came along."""

    category = Category.PERMISSION_DENIED
    reason = "HOLD_NOT_YOURS"
    request_id: str
    attempt: int

    @property
    def message(self) -> str:
        return (
            f"Another caller made the hold of attempt {self.attempt} of {self.request_id};"
            " only its maker, or a witness with its lease, may settle it."
        )


@dataclass(eq=False)
class LedgerBroken(TurnpikeError):
    """The ledger's chain or its totals are broken."""

    category = Category.DATA_LOSS
    reason = "LEDGER_BROKEN"
    organisation_id: str
    sequence: int
    """The first entry that is wrong."""
    problem: str
    found: tuple[str, ...] = field(default=())

    @property
    def message(self) -> str:
        return f"The ledger of {self.organisation_id} is broken at entry {self.sequence}: {self.problem}."


@dataclass(eq=False)
class EntriesArchived(TurnpikeError):
    """Entries that are asked for have left the ledger. What is left of a period would look like all of it."""

    category = Category.OUT_OF_RANGE
    reason = "ENTRIES_ARCHIVED"
    organisation_id: str
    first_sequence: int
    """The first entry that has not left."""
    whole_from: datetime
    """Nothing from this time on has left."""

    @property
    def message(self) -> str:
        return (
            f"Entries of {self.organisation_id} have left the ledger for its archive: it is whole from entry"
            f" {self.first_sequence} and from {self.whole_from.astimezone(UTC).isoformat()} on."
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "organisation_id": self.organisation_id,
            "first_sequence": str(self.first_sequence),
            "whole_from": self.whole_from.astimezone(UTC).isoformat(),
        }
