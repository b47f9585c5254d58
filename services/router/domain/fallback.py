"""What follows a failed attempt: the next candidate, the same endpoint again after a pause, or the end. Pure.

Never after the first token (streaming.py sees to that), never to a candidate that is not in the plan, and so never to
one that cannot or may not take the request. Moving to another endpoint is free; asking the same one again draws on a
budget of retries, so that a failing vendor is not stormed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from services.router.domain.board import Board
from services.router.domain.plan import Planned
from services.router.domain.values import value


class RetryClass(Enum):
    """What may help after a failed attempt, as the providers service classifies it."""

    NEVER = "never"
    SAME_ENDPOINT = "same_endpoint"
    OTHER_CREDENTIAL = "other_credential"
    OTHER_MODEL = "other_model"
    LARGER_CONTEXT = "larger_context"


@value(frozen=True, slots=True)
class Next:
    """Try this one."""

    planned: Planned
    after_s: float = 0.0
    """Pause before it."""
    purpose: str = "fallback"


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing more to try."""

    why: str


PAUSE_S_FIRST = 0.2
PAUSE_S_MAX = 4.0
"""Pauses double from the first to the longest, each drawn between nothing and its full length: callers that failed
together do not come back together."""

ATTEMPT_S_MIN = 0.05
"""With less of the deadline left than this nothing is begun: it could not finish."""


def after_failure(
    board: Board,
    plan: Sequence[Planned],
    tried: Sequence[int],
    failed: Planned,
    retry_class: RetryClass,
    *,
    retry_after_s: float | None,
    attempts_left: int,
    left_s: float,
    retries_allowed: bool,
    draw: float,
) -> Next | Stop:
    """What to do after `failed` failed. `tried`: every candidate's index so far, repetitions too; `draw`: in [0, 1)."""
    if retry_class is RetryClass.NEVER:
        return Stop("the request itself is at fault")
    if attempts_left <= 0:
        return Stop("the attempts are used up")
    if left_s < ATTEMPT_S_MIN:
        return Stop("the deadline is all but gone")
    for planned in plan:
        if planned.index not in tried and _may_help(board, planned, failed, retry_class):
            return Next(planned)
    if retry_class is not RetryClass.SAME_ENDPOINT:
        return Stop("no other candidate can and may take the request")
    if not retries_allowed:
        return Stop("the budget of retries is used up")
    repeated = tried.count(failed.index)
    pause_s = draw * min(PAUSE_S_MAX, PAUSE_S_FIRST * 2.0 ** (repeated - 1))
    if retry_after_s is not None:
        pause_s += retry_after_s
    if pause_s + ATTEMPT_S_MIN > left_s:
        return Stop("waiting as long as the vendor asks would exceed the deadline")
    return Next(failed, pause_s, "retry")


def _may_help(board: Board, planned: Planned, failed: Planned, retry_class: RetryClass) -> bool:
    if retry_class is RetryClass.LARGER_CONTEXT:
        return int(board.context_max[planned.index]) > int(board.context_max[failed.index])
    return True


FIRST_TOKEN_S_MIN = 3.0
FIRST_TOKEN_S_MAX = 60.0
FIRST_TOKEN_PATIENCE = 6.0
"""A model may take so many times its usual time to the first token before another one is asked."""

PROBE_PATIENCE = 2.0
"""The same for one that is being tried after failures: while it is silent nobody else finds out whether it is back."""

IDLE_S = 30.0
"""Silence between tokens that counts as a stall; reasoning models that think aloud stay well below it."""

BODY_IDLE_S = 5.0
"""The same within an answer in one piece: it is sent when it is complete, so only the network keeps it."""

CONNECT_SHARE = 0.25
CONNECT_S_MAX = 5.0
"""Of an attempt's patience, what may go by before there is a connection."""


FAIR_PATIENCE = 2.0
"""Who had less than so many times its usual time is not to blame that it did not answer; nobody is given less for the
sake of those who could step in."""


@value(frozen=True, slots=True)
class Patience:
    """How long an attempt may take to begin."""

    connect_s: float | None
    """None: the endpoint's default."""
    first_token_s: float
    """From the connection on."""
    fair: bool = True
    """False: the deadline leaves less than is fair, so that silence until then says nothing of the endpoint."""


def patience(left_s: float, expected_s: float, *, others: int, probing: bool = False) -> Patience:
    """As long as there is; or less, where `others` could step in: each should find its share of the deadline left.

    `expected_s`: the usual time to the first token.
    """
    fair_s = FAIR_PATIENCE * expected_s
    times = PROBE_PATIENCE if probing else FIRST_TOKEN_PATIENCE
    whole_s = min(max(times * expected_s, FIRST_TOKEN_S_MIN), FIRST_TOKEN_S_MAX)
    whole_s = min(whole_s, max(left_s / (others + 1), fair_s))
    if others <= 0 or whole_s >= left_s:
        return Patience(None, left_s, fair=left_s >= fair_s)
    connect_s = min(whole_s * CONNECT_SHARE, CONNECT_S_MAX)
    return Patience(connect_s, whole_s - connect_s)


class RetryBudget:
    """How often the same endpoint may be asked again: a share of all requests, so that retries cannot multiply load."""

    SHARE = 0.1
    BURST = 10.0

    def __init__(self) -> None:
        self._tokens = self.BURST

    def request(self) -> None:
        """A request has come: it earns a tenth of a retry."""
        self._tokens = min(self.BURST, self._tokens + self.SHARE)

    @property
    def allows(self) -> bool:
        """True if a retry may be made."""
        return self._tokens >= 1.0

    def retry(self) -> None:
        """A retry is made."""
        self._tokens -= 1.0
