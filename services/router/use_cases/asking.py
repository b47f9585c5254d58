"""What the steps of a request share: what is asked, what it is done with, and what comes back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from services.kernel.clock import Clock
from services.kernel.ids import RequestId
from services.router.domain.access import Caller
from services.router.domain.fallback import RetryBudget
from services.router.domain.values import value
from services.router.ports import DecisionLog, Holds, Models, Observations, VectorModels
from services.router.records import AttemptRecord, DecisionRecord
from services.router.use_cases.leases import Leases
from services.router.use_cases.route import Router, Subject
from services.router.use_cases.settle import Settlements
from turnpike.common.v1 import content_pb2
from turnpike.providers.v1 import providers_pb2

if TYPE_CHECKING:
    from services.router.use_cases.generate import Run
    from services.router.use_cases.mirroring import Mirrors


@value(frozen=True, slots=True)
class Ask:
    """A request for an answer, as the run of it sees it."""

    request_id: RequestId
    callers_id: bool
    """True if the caller chose the id, and so may repeat the request."""
    subject: Subject
    input: content_pb2.GenerationInput
    streamed: bool
    metadata: dict[str, str]
    dimensions: dict[str, str]
    """What usage is reported by, beside the principal: task, route, and the caller's own names."""
    left_s: float
    """What is left of the deadline, at the beginning."""
    vendor_user: str = ""

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.subject.caller


@dataclass(frozen=True, slots=True)
class Tools:
    """What requests are answered with; one for all of them."""

    router: Router
    holds: Holds
    models: Models
    settlements: Settlements
    leases: Leases
    log: DecisionLog
    observations: Observations
    clock: Clock
    vectors: VectorModels
    mirrors: "Mirrors"
    retries: RetryBudget = field(default_factory=RetryBudget)


@value(frozen=True, slots=True)
class Started:
    """A model has begun to answer."""

    model: str
    attempt: int
    continues: bool = False
    """True if it goes on where another broke off."""


@value(frozen=True, slots=True)
class Finished:
    """The answer is complete."""

    answer: providers_pb2.AttemptFinished
    output_cap: int
    attempt: AttemptRecord
    """The one that answered."""


Piece = Started | content_pb2.ChoiceDelta
"""What comes of a streamed answer before its end."""

Say = Callable[[Piece], Awaitable[None]]
"""Tells the caller a piece; returns when there is room for the next."""

Part = TypeVar("Part")
Write = Callable[[Part], Awaitable[None]]
"""Sends a message that is not the last."""


class Form(Protocol[Part]):
    """The messages that an answer is given in: how they are made of what a run says, and written down."""

    def piece(self, run: "Run", piece: Piece) -> Part | None:
        """The message of a piece; None: this form has none but the last."""
        ...

    def last(self, run: "Run", finished: Finished) -> Part:
        """The last message, or the only one."""
        ...

    def encode(self, part: Part) -> bytes:
        """A message as bytes."""
        ...

    def decode(self, content: bytes) -> Part:
        """The message of such bytes."""
        ...

    def from_cache(self, part: Part, record: DecisionRecord) -> Part:
        """The message as it is given again: at no cost, and saying so."""
        ...

    def cost_nanos(self, last: Part) -> int | None:
        """What the answer cost, by its last message; None: not known."""
        ...

    def is_whole(self, last: Part) -> bool:
        """True if one model gave the answer to its own end, by its last message: others may be given it, too."""
        ...
