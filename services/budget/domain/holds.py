"""An attempt's hold, from the moment it is granted until long after it was settled."""

from msgspec import Struct

from services.budget.domain.counters import Legs
from services.budget.domain.operations import AttemptId, Receipt, Terms


class Hold(Struct, eq=False, gc=False):
    """An attempt's hold: open, or settled of late. Nothing it refers to refers back to it (`gc`)."""

    key: AttemptId
    sequence: int
    amount: int
    """Held, extensions included."""
    input_tokens: int
    tokens: int
    terms: Terms
    digest: str
    path_json: str
    price_revision: int
    occurred_us: int
    expires_us: int
    legs: Legs | None
    """None once settled: then `legs_numbers` say which counters."""
    legs_numbers: tuple[tuple[int, tuple[int, ...]], ...] = ()
    extensions: dict[int, tuple[int, int, int, int, int]] | None = None
    """By number: (asked amount or -1, tokens asked, sequence, amount and expiry after it)."""
    receipt: Receipt | None = None
    """None while open."""
    settled_as: str = ""
    """What its settlement is known by when it is repeated (settling.py); empty: nobody spoke."""
    unconfirmed: bool = False
    """True if it was charged in full without anybody confirming it; a late commit may put that right, once."""

    @property
    def claim(self) -> str:
        """The run that asked for it (HoldAsk.digest); empty: none was named."""
        return "".join(self.digest.split(".", 4)[4:])
