"""What the owner is asked, and what it answers. Amounts are plain nanos, times microseconds since 1970 (UTC): these
values are made ten thousand times a second, so they are lean, and checked where they come in (convert.py)."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from services.budget.domain.entries import text

AttemptId = tuple[str, int]
"""(request_id, attempt); within one organisation."""

LEASE_DEFAULT_US = 120_000_000
LEASE_MAX_US = 3_600_000_000
RENEWALS_MAX = 1000
"""Holds that one RenewLease may name."""
DIMENSIONS_MAX = 16

UsageCounts = tuple[int | None, ...]
"""The first ten counts of services.kernel.pricing.Usage in their order, then the number of the usage's source.

The two counts that follow are those of tokens that are not billed, and are there only if the vendor told any."""


class Terms:
    """What many holds have in common: who, for whom, which model. Made once, shared, with what is derived from it."""

    __slots__ = (
        "caller", "digest", "dimensions", "endpoint_id", "groups", "json", "keep_free", "key_id", "lease_us",
        "metering", "model", "path_name", "price_revision", "principal", "project_id", "team_id", "user_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        caller: str,
        metering: bool,
        principal: tuple[str, str, str, str],
        model: str,
        groups: tuple[str, ...],
        price_revision: int,
        lease_us: int,
        endpoint_id: str,
        dimensions: Mapping[str, str],
        digest: str,
        keep_free: Mapping[str, int] | None = None,
    ) -> None:
        """`digest`: of all of this, as hex."""
        self.caller = caller
        """Who makes the hold, and alone may settle it: `service:router` or a key's id."""
        self.metering = metering
        """True if the caller is a key that runs its own model calls, which needs that permission."""
        self.principal = principal
        self.team_id, self.project_id, self.key_id, self.user_id = principal
        self.model = model
        self.groups = groups
        self.price_revision = price_revision
        self.lease_us = lease_us
        self.endpoint_id = endpoint_id
        self.dimensions = dimensions
        self.digest = digest
        self.keep_free = keep_free
        """Parts per thousand of the rates that count these models, which the hold must leave free. None: nothing."""
        self.path_name = (*principal, model, groups, metering)
        """What decides which budgets apply."""
        extra = f',"x":{text(dimensions)}' if dimensions else ""
        self.json = f'"by":{text(caller)},"le":{lease_us},"e":{text(endpoint_id)}{extra}'


class HoldAsk(Struct, gc=False):
    """Set the worst case of an attempt aside."""

    request_id: str
    attempt: int
    amount: int | None
    """None: computed from the price book and the token bounds."""
    input_tokens: int
    output_tokens: int
    terms: Terms
    claim: str = ""
    """Names the caller's run that asks, in characters that JSON leaves alone: another run is another request."""

    @property
    def digest(self) -> str:
        """Of the request's content: what tells the same request from another with its id."""
        claim = f".{self.claim}" if self.claim else ""
        return f"{self.terms.digest}.{self.amount}.{self.input_tokens}.{self.output_tokens}{claim}"


class CommitAsk(Struct, gc=False):
    """Charge what an attempt really cost."""

    request_id: str
    attempt: int
    caller: str
    lease: str
    """The grant's lease, from a caller that did not make the hold; empty: none."""
    cost: int | None
    """None: computed from the usage."""
    usage: UsageCounts | None
    outcome: str
    """Name of a SettlementOutcome without its prefix."""
    endpoint_id: str
    vendor_request_id: str
    dimensions: Mapping[str, str]
    witness: bool
    cost_from_vendor: bool


class ReleaseAsk(Struct, gc=False):
    """Free a hold."""

    request_id: str
    attempt: int
    caller: str
    lease: str
    reason: str
    claim: str = ""
    """The run whose hold it is, as that hold's `claim`; empty: any."""


class CommitAndHoldAsk(Struct):
    """Settle one attempt and hold for the next, as one step."""

    settle: CommitAsk | ReleaseAsk
    hold: HoldAsk


class ExtendAsk(Struct):
    """Add to a hold's amount."""

    request_id: str
    attempt: int
    caller: str
    extension: int
    """From 1."""
    amount: int | None
    """None: computed from the tokens."""
    output_tokens: int


class RenewAsk(Struct):
    """Add to holds' time."""

    keys: Sequence[AttemptId]
    caller: str
    lease_us: int


class GetAsk(Struct):
    """Where is this hold?"""

    request_id: str
    attempt: int
    caller: str
    """Empty: anyone may know."""


Ask = HoldAsk | CommitAsk | ReleaseAsk | CommitAndHoldAsk | ExtendAsk | RenewAsk | GetAsk


class Headroom(Struct):
    """What a budget has left."""

    budget_id: str
    display_name: str
    unit: int
    limit: int
    left: int
    resets_at_us: int | None


class Grant(Struct, gc=False):
    """A granted hold."""

    amount: int
    lease_expires_us: int
    sequence: int
    lease: str
    price_revision: int
    headroom: Sequence[Headroom] = ()


class Receipt(Struct, gc=False):
    """What a settlement did."""

    charged: int
    """Overage included."""
    overage: int
    released: int
    unconfirmed: bool
    corrected: bool
    sequence: int
    headroom: Sequence[Headroom] = ()


class Released(Struct, gc=False):
    """What was freed."""

    released: int
    sequence: int


class Renewed(Struct):
    """Until when, and which were not open."""

    lease_expires_us: int
    not_open: Sequence[AttemptId]


class CommittedAndHeld(Struct):
    """The receipt and the next hold, or why there is none."""

    receipt: Receipt
    grant: Grant | None
    refusal: Exception | None
    """A TurnpikeError, where `grant` is None."""


class HoldView(Struct):
    """A hold as GetHold shows it; `state` is the number of a HoldState."""

    state: int
    grant: Grant
    receipt: Receipt | None


Answer = Grant | Receipt | Released | Renewed | CommittedAndHeld | HoldView
