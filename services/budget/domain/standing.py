"""How a budget stands."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How one window of a budget stands; amounts in the budget's unit."""

    budget_id: str
    window_start: datetime
    window_end: datetime | None
    """None: never."""
    limit: int
    spent: int
    held: int
    overage: int
    unconfirmed: int
    """Part of spent that nobody has confirmed."""
    open_holds: int
    sequence: int
    """Position in the organisation's ledger at which this was so."""

    @property
    def left(self) -> int:
        """What would still fit; never negative."""
        return max(0, self.limit - self.spent - self.held - self.overage)
