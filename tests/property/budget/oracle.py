"""What the budget service must answer, worked out the slow way: every figure is summed anew from what happened.

It shares nothing with the service but the contract, and keeps no totals: a budget's figures are sums over attempts.
"""

from dataclasses import dataclass, field


@dataclass
class OracleBudget:
    """A limit on one unit."""

    unit: str
    limit: int
    ceiling: bool = False
    rate_of: str = ""
    """The models it counts, where holds can be told to leave a share of it to others."""


@dataclass
class OracleAttempt:
    """An attempt that was granted."""

    content: tuple[int, int]
    held: dict[str, int]
    state: str = "open"
    charged: dict[str, int] = field(default_factory=dict)
    settled_by: tuple[object, ...] = ()
    extensions: dict[int, int] = field(default_factory=dict)


@dataclass
class Oracle:
    """All of it."""

    budgets: dict[str, OracleBudget]
    attempts: dict[tuple[str, int], OracleAttempt] = field(default_factory=dict)

    def figures(self, name: str) -> tuple[int, int, int]:
        """(spent, held, overage) of a budget."""
        unit = self.budgets[name].unit
        held = sum(a.held[unit] for a in self.attempts.values() if a.state == "open")
        over = sum(max(0, a.charged[unit] - a.held[unit]) for a in self.attempts.values() if a.charged)
        spent = sum(min(a.charged[unit], a.held[unit]) for a in self.attempts.values() if a.charged)
        return spent, held, over

    def short_of(self, asked: dict[str, int], whole: dict[str, int]) -> set[str]:
        """The budgets that have no room for `asked`; `whole` is what the one request needs in all."""
        ceilings = {
            name
            for name, budget in self.budgets.items()
            if budget.ceiling and whole[budget.unit] > budget.limit
        }
        if ceilings:
            return ceilings
        return {
            name
            for name, budget in self.budgets.items()
            if not budget.ceiling
            and budget.unit in asked
            and sum(self.figures(name)) + asked[budget.unit] > budget.limit
        }

    def hold(self, key: tuple[str, int], money: int, tokens: int, kept: dict[str, int]) -> str:
        """`granted`, or the reason of the refusal. `kept`: what must be left of rates, in parts per thousand, by the
        models they count."""
        known = self.attempts.get(key)
        if known is not None:
            if known.content != (money, tokens):
                return "REQUEST_ID_REUSED"
            return "granted" if known.state == "open" else "HOLD_ALREADY_SETTLED"
        wanted = {"money": money, "tokens": tokens, "requests": 1, "open": 1}
        short = self.short_of(wanted, wanted)
        if short:
            return self._reason(short)
        for name, budget in self.budgets.items():
            left = budget.limit - sum(self.figures(name)) - wanted[budget.unit]
            if budget.rate_of and left < budget.limit * kept.get(budget.rate_of, 0) // 1000:
                return "RATE_LIMITED"
        self.attempts[key] = OracleAttempt((money, tokens), wanted)
        return "granted"

    def _reason(self, short: set[str]) -> str:
        if any(self.budgets[name].ceiling for name in short):
            return "REQUEST_CEILING"
        return (
            "RATE_LIMITED" if {self.budgets[name].unit for name in short} == {"open"} else "BUDGET_EXHAUSTED"
        )

    def extend(self, key: tuple[str, int], number: int, money: int) -> str:
        """`granted`, or the reason of the refusal."""
        attempt = self.attempts.get(key)
        if attempt is None:
            return "HOLD_NOT_FOUND"
        if attempt.state != "open":
            return "HOLD_ALREADY_SETTLED"
        if number in attempt.extensions:
            return "granted" if attempt.extensions[number] == money else "REQUEST_ID_REUSED"
        if number != len(attempt.extensions) + 1:
            return "PRECONDITION_FAILED"
        short = self.short_of({"money": money}, {**attempt.held, "money": attempt.held["money"] + money})
        if short:
            return self._reason(short)
        attempt.held = {**attempt.held, "money": attempt.held["money"] + money}
        attempt.extensions[number] = money
        return "granted"

    def commit(self, key: tuple[str, int], cost: int | None, tokens: int) -> str | tuple[int, bool]:
        """(charged, unconfirmed), or the reason of the refusal. `cost` None: nobody knows."""
        attempt = self.attempts.get(key)
        if attempt is None:
            return "HOLD_NOT_FOUND"
        content = ("commit", cost, tokens if cost is not None else None)
        if attempt.state == "open" or (attempt.state == "unconfirmed" and cost is not None):
            attempt.state = "committed" if cost is not None else "unconfirmed"
            money = attempt.held["money"] if cost is None else cost
            counted = attempt.held["tokens"] if cost is None else tokens
            attempt.charged = {"money": money, "tokens": counted, "requests": 1, "open": 0}
            attempt.settled_by = content
            return (money, cost is None)
        if attempt.settled_by == content or (attempt.state == "unconfirmed" and cost is None):
            return (attempt.charged["money"], attempt.state == "unconfirmed")
        return "HOLD_ALREADY_SETTLED"

    def release(self, key: tuple[str, int]) -> str:
        """`released`, or the reason of the refusal."""
        attempt = self.attempts.get(key)
        if attempt is None:
            return "HOLD_NOT_FOUND"
        if attempt.state in ("open", "unconfirmed"):
            attempt.state = "released"
            attempt.charged = {}
        return "released" if attempt.state == "released" else "HOLD_ALREADY_SETTLED"
