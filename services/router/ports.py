"""What the router's use cases need from the outside, in the router's words.

Content and usage travel as the contract's own messages: they pass through unread (docs/decisions/0020 says why).
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from services.router.domain.access import Caller
from services.router.domain.plan import Question
from services.router.domain.values import value
from services.router.errors import BudgetRefused
from services.router.records import AttemptRecord, DecisionRecord, Room
from turnpike.budget.v1 import budget_pb2
from turnpike.common.v1 import content_pb2, usage_pb2
from turnpike.providers.v1 import providers_pb2
from turnpike.router.v1 import decision_pb2

# ---- money -----------------------------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class AttemptKey:
    """Names one attempt: the idempotency key of everything that moves its money."""

    organisation_id: str
    request_id: str
    attempt: int
    """From 1."""


@value(frozen=True, slots=True)
class HoldTerms:
    """What a hold is for."""

    caller: Caller
    model: str
    groups: frozenset[str]
    amount_nanos: int
    """Worst case, as the price book of `price_revision` has it."""
    input_tokens_bound: int
    output_tokens_bound: int
    """Over all choices."""
    price_revision: int
    endpoint_id: str
    lease_s: float
    claim: str
    """Names this run of the request: another run's hold of the same attempt is refused."""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    keep_free: Mapping[str, int] | None = None
    """Parts per thousand of rates that the hold must leave to others, by what they count. None: nothing."""


@value(frozen=True, slots=True)
class Grant:
    """A granted hold."""

    amount_nanos: int
    lease: str
    """Permission to settle, for the witness."""
    rooms: tuple[Room, ...] = ()
    """Tightest first."""


class SettlementOutcome(Enum):
    """How an attempt ended, for the books."""

    SUCCEEDED = budget_pb2.SETTLEMENT_OUTCOME_SUCCEEDED
    FAILED = budget_pb2.SETTLEMENT_OUTCOME_FAILED
    CANCELLED = budget_pb2.SETTLEMENT_OUTCOME_CANCELLED
    INTERRUPTED = budget_pb2.SETTLEMENT_OUTCOME_INTERRUPTED
    UNKNOWN = budget_pb2.SETTLEMENT_OUTCOME_UNKNOWN


@value(frozen=True, slots=True)
class Charge:
    """Charge an attempt: by the vendor's cost, else by its usage, else in full and unconfirmed."""

    outcome: SettlementOutcome
    usage: usage_pb2.Usage | None = None
    vendor_cost_nanos: int | None = None
    endpoint_id: str = ""
    vendor_request_id: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)


@value(frozen=True, slots=True)
class Free:
    """Free a hold: nothing was sent, or nothing is billed."""

    reason: str
    claim: str = ""
    """As the hold's terms had it, where nobody knows if it was granted: another run may have the attempt by now."""


Settlement = Charge | Free


@value(frozen=True, slots=True)
class Receipt:
    """What a settlement did."""

    charged_nanos: int
    unconfirmed: bool = False
    rooms: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldState:
    """Where a hold is in its life."""

    is_open: bool
    charged_nanos: int | None
    """None: it is open, or was freed."""


class Holds(Protocol):
    """The budget service. Every operation is idempotent by its attempt's key.

    Raises BudgetRefused for what it refuses; ServiceUnavailable if it certainly did nothing; OutcomeUnknown if the
    connection broke: the same again is safe. A hold that is neither granted nor refused must not be dispatched.
    """

    async def hold(self, key: AttemptKey, terms: HoldTerms) -> Grant:
        """Sets the worst case aside in every budget that applies, or in none."""
        ...

    async def settle(self, key: AttemptKey, settlement: Settlement) -> Receipt:
        """Charges or frees a hold."""
        ...

    async def settle_and_hold(
        self, key: AttemptKey, settlement: Settlement, next_attempt: int, terms: HoldTerms
    ) -> tuple[Receipt, Grant | BudgetRefused]:
        """Settles one attempt and holds for the next as one step; a refused hold leaves the settlement standing."""
        ...

    async def renew(self, keys: Sequence[AttemptKey], lease_s: float) -> Sequence[AttemptKey]:
        """Adds time to holds of one organisation; returns those that are no longer open."""
        ...

    async def extend(self, key: AttemptKey, extension: int, output_tokens: int) -> Grant:
        """Adds to a hold's amount, for so many more output tokens."""
        ...

    async def state_of(self, key: AttemptKey) -> HoldState | None:
        """Where a hold is; None: there is none."""
        ...


# ---- models ----------------------------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class Dispatch:
    """One call to one endpoint, under a hold."""

    key: AttemptKey
    caller: Caller
    model: str
    endpoint_id: str
    input: content_pb2.GenerationInput
    output_cap: int
    stream: bool
    lease: str
    price_revision: int
    connect_timeout_s: float | None
    first_token_timeout_s: float | None
    idle_timeout_s: float | None
    time_left_s: float
    vendor_user: str = ""


class Conversation(Protocol):
    """An attempt under way at the providers service."""

    def __aiter__(self) -> AsyncIterator[providers_pb2.DispatchEvent]:
        """Its events; the last one is `finished` or `failed`. Raises ServiceUnavailable or OutcomeUnknown."""
        ...

    @property
    def sent(self) -> bool:
        """True once the attempt may have reached the providers service."""
        ...

    @property
    def received(self) -> int:
        """Events that have come; pieces of text that came together are told as one, and counted as they came."""
        ...

    @property
    def last(self) -> providers_pb2.DispatchEvent | None:
        """Its last event, once that has come, whether or not somebody has taken it."""
        ...

    def cancel(self, reason: str) -> None:
        """Asks to stop; the last event still comes and says what it cost."""
        ...

    def grant_credit(self, deltas: int) -> None:
        """Allows so many more deltas."""
        ...

    def close(self) -> None:
        """Nobody listens any more; what is still under way is given up. Whoever began the attempt sees to it, once."""
        ...


class Models(Protocol):
    """The providers service."""

    async def begin(self, dispatch: Dispatch) -> Conversation:
        """Begins an attempt. Nothing is ever sent twice. Raises ServiceUnavailable."""
        ...


class Texts(Protocol):
    """Texts on their way to become vectors; keeps what came back, by attempt."""

    @property
    def texts(self) -> Sequence[str]:
        """The texts."""
        ...

    @property
    def dimensions(self) -> int | None:
        """Length of the vectors. None: the model's own."""
        ...

    def embedded(self, attempt: int, vectors: Sequence[content_pb2.Embedding]) -> None:
        """An attempt has brought the vectors."""
        ...


class VectorModels(Protocol):
    """The providers service, for vectors."""

    async def embedding(self, dispatch: Dispatch, texts: Texts) -> Conversation:
        """Begins an attempt; its last event follows when the vectors are with `texts`.

        `dispatch.input` is not looked at. Cancelling leaves the vendor's charge unknown.
        """
        ...


class Observations(Protocol):
    """Learns from attempts how endpoints fare."""

    def begun(self, endpoint_id: str) -> bool:
        """An attempt is about to begin. False: the endpoint is being probed, others should wait for what that finds."""
        ...

    def probing(self, endpoint_id: str) -> bool:
        """True if the endpoint is being tried after failures, one request at a time."""
        ...

    def rest_s(self, endpoint_id: str) -> float:
        """Seconds until it makes sense to try the endpoint; 0: now."""
        ...

    def abandoned(self, endpoint_id: str) -> None:
        """An attempt that was about to begin, or had begun, tells nothing of how the endpoint fares."""
        ...

    def succeeded(self, attempt: AttemptRecord) -> None:
        """An attempt has answered."""
        ...

    def failed(self, attempt: AttemptRecord) -> None:
        """An attempt has failed, through whoever's fault its reason says."""
        ...


# ---- records ---------------------------------------------------------------------------------------------------------


class DecisionLog(Protocol):
    """Keeps decision records: at least once, idempotent, never in anybody's way."""

    def record(self, record: DecisionRecord) -> None:
        """Takes a request that has ended; never blocks, never raises. When its buffer is full the oldest is dropped."""
        ...

    def keep(self, record: DecisionRecord) -> None:
        """Makes a request known here that has ended, and will be recorded when what follows from it has ended, too."""
        ...

    async def find(
        self, organisation_id: str, *, decision_id: str = "", request_id: str = ""
    ) -> decision_pb2.Decision | None:
        """The decision by either id; None if nobody has it."""
        ...

    async def replayable(
        self, organisation_id: str, *, decision_id: str = "", request_id: str = ""
    ) -> tuple[decision_pb2.Decision, Callable[[], Question]] | None:
        """The decision as it is recorded, and what reads the question it answered back; None if nobody has it.

        Reading takes milliseconds and may be done by another thread, by one at a time. It raises PreconditionFailed if
        what the decision was made from is kept no longer, or another version's.
        """
        ...
