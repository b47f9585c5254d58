"""What is recorded of a request: the decision, its attempts, its end. Neither prompt nor answer is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.kernel.ids import DecisionId
from services.router.domain import explain
from services.router.domain.access import Caller
from services.router.domain.plan import Decision
from services.router.domain.values import value
from services.router.errors import FailedAttempt
from turnpike.common.v1 import usage_pb2


@value(frozen=True, slots=True)
class Room:
    """What a budget has left."""

    budget_id: str
    display_name: str
    unit: int
    """Number of a BudgetUnit."""
    limit: int
    left: int
    resets_at_s: float | None
    """Unix seconds. None: never."""


@dataclass(slots=True)
class AttemptRecord:
    """What became of one attempt."""

    number: int
    model: str
    endpoint_id: str
    purpose: str
    """`first`, `fallback`, `retry`, `hedge`, `cascade`, `escalation`, `continuation` or `mirror`."""
    held_nanos: int
    started_at: datetime
    begun_s: float
    """Monotonic seconds."""
    failure: str = ""
    """Name of an ErrorReason without its prefix. Empty: none."""
    message: str = ""
    cost_nanos: int | None = None
    """None: not settled yet."""
    unconfirmed: bool = False
    usage: usage_pb2.Usage | None = None
    duration_s: float | None = None
    ttft_s: float | None = None
    vendor_request_id: str = ""
    verdict: str = ""
    """What a check said of the answer: `accepted`, or why not. Empty: it was not checked."""

    @property
    def failed(self) -> FailedAttempt:
        """The attempt as errors tell it."""
        return FailedAttempt(
            self.number, self.model, self.endpoint_id, self.failure, self.message, self.cost_nanos
        )


@dataclass(slots=True)
class DecisionRecord:
    """A decision with what followed from it."""

    decision_id: DecisionId
    request_id: str
    caller: Caller
    decided_at: datetime
    decision: Decision
    streamed: bool
    metadata: Mapping[str, str]
    declared_task: str = ""
    route: str = ""
    data_class: str = ""
    trace_id: str = ""
    attempts: list[AttemptRecord] = field(default_factory=list)
    numbered: int = 0
    """The last number that an attempt was given; a shortage gives its number back. There may be gaps: the number of a
    hold that may have been made, unseen, is not used again, for what frees that hold in the end frees it by number."""
    mirror: AttemptRecord | None = None
    """The copy that a shadow model got; None: there was none, or it has not begun."""
    failure: str = ""
    replans: int = 0
    shadow_first: str = ""
    duration_s: float | None = None
    ttft_s: float | None = None
    rooms: tuple[Room, ...] = ()
    """What the tightest budgets had left at the end."""

    _reason: tuple[Decision, str] | None = None

    @property
    def reason(self) -> str:
        """Why the first candidate leads, in one sentence; written once, when somebody reads it."""
        if self._reason is None or self._reason[0] is not self.decision:
            self._reason = (self.decision, explain.reason(self.decision))
        return self._reason[1]

    @property
    def cost_nanos(self) -> int | None:
        """What all attempts cost together, a mirror's left out; None while one of them is not settled."""
        total = 0
        for attempt in self.attempts:
            if attempt.cost_nanos is None:
                return None
            total += attempt.cost_nanos
        return total

    @property
    def attempts_and_mirror(self) -> list[AttemptRecord]:
        """The attempts, and behind them the mirror's."""
        return self.attempts if self.mirror is None else [*self.attempts, self.mirror]

    @property
    def failed_attempts(self) -> tuple[FailedAttempt, ...]:
        """The attempts that failed, as errors tell them."""
        return tuple(attempt.failed for attempt in self.attempts if attempt.failure)
