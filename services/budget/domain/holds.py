"""An attempt's hold, from the moment it is granted until long after it was settled."""

from services.budget.domain.counters import Legs
from services.budget.domain.operations import AttemptId, Receipt, Terms


class Hold:
    """An attempt's hold: open, or settled of late."""

    __slots__ = (
        "amount", "digest", "expires_us", "extensions", "input_tokens", "key", "legs", "legs_numbers", "occurred_us",
        "path_json", "price_revision", "receipt", "sequence", "settle_digest", "settle_kind", "terms", "tokens",
        "unconfirmed",
    )  # fmt: skip

    def __init__(
        self,
        key: AttemptId,
        sequence: int,
        amount: int,
        input_tokens: int,
        tokens: int,
        terms: Terms,
        digest: str,
        path_json: str,
        price_revision: int,
        occurred_us: int,
        legs: Legs | None,
    ) -> None:
        self.key = key
        self.sequence = sequence
        self.amount = amount
        """Held, extensions included."""
        self.tokens = tokens
        self.input_tokens = input_tokens
        self.terms = terms
        self.digest = digest
        self.expires_us = occurred_us + terms.lease_us
        self.extensions: dict[int, tuple[int, int, int, int, int]] | None = None
        """By number: (asked amount or -1, tokens asked, sequence, amount and expiry after it)."""
        self.legs = legs
        """None once settled: then `legs_numbers` say which counters."""
        self.legs_numbers: tuple[tuple[int, tuple[int, ...]], ...] = ()
        self.occurred_us = occurred_us
        self.path_json = path_json
        self.price_revision = price_revision
        self.receipt: Receipt | None = None
        """None while open."""
        self.settle_kind = 0
        self.settle_digest = ""
        self.unconfirmed = False
        """True if it was charged in full without anybody confirming it; a late commit may put that right, once."""
