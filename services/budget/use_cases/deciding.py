"""What an owner does with a batch in memory: what it has to look up first, and the outcome of each operation."""

import time
from collections.abc import Iterable, Sequence

import structlog

from services.budget.domain.decide import decide, expire
from services.budget.domain.operations import (
    Ask,
    AttemptId,
    CommitAndHoldAsk,
    CommitAsk,
    CommittedAndHeld,
    Grant,
    HoldAsk,
    Receipt,
    RenewAsk,
)
from services.budget.domain.tree import Tree
from services.budget.use_cases.parcels import Outcome, Parcel
from services.kernel.errors import DeadlineExceeded, Internal, TurnpikeError
from services.kernel.ids import IncidentId

log = structlog.get_logger()

Faults = dict[tuple[int, int], TurnpikeError]
"""(parcel, place in it) → what is answered there because deciding it went wrong."""


def decide_all(
    tree: Tree, parcels: Sequence[Parcel], faults: Faults, *, now_us: int, begun: bool
) -> list[list[Outcome]]:
    """The outcomes of all operations, in a new batch of the tree; `faults` learns of operations that cannot be decided.

    `begun`: the operations may have come true already, so none of them is too late.
    """
    while True:
        tree.begin(now_us)
        expire(tree)
        now = time.monotonic()
        outcomes: list[list[Outcome]] = []
        try:
            for number, parcel in enumerate(parcels):
                answers: list[Outcome] = []
                for position, ask in enumerate(parcel.asks):
                    if faults and (number, position) in faults:
                        answers.append(faults[number, position])
                    elif parcel.deadlines[position] < now and not begun:
                        answers.append(DeadlineExceeded("the operation", begun=False))
                    else:
                        try:
                            answers.append(decide(tree, ask))
                        except TurnpikeError as refusal:
                            answers.append(refusal)
                outcomes.append(answers)
        except Exception:
            # A fault of ours in one operation must not take the others with it.
            incident = IncidentId.new()
            log.exception("an operation failed", organisation_id=tree.organisation_id, error_id=incident)
            tree.take_back()
            faults[len(outcomes), len(answers)] = Internal(incident)
            continue
        return outcomes


def not_open(tree: Tree, parcels: Sequence[Parcel], *, used: bool) -> set[AttemptId]:
    """The attempts that these operations speak of and that are not open: settled, or not in memory. `used`: also those
    that are to be held; a used id of long ago is otherwise found by the ledger's key."""
    found: set[AttemptId] = set()
    holds = tree.holds
    for parcel in parcels:
        for ask in parcel.asks:
            kind = type(ask)
            if kind is CommitAsk:
                key = (ask.request_id, ask.attempt)  # type: ignore[union-attr]
                if key not in holds:
                    found.add(key)
            elif used or kind is not HoldAsk:
                found.update(key for key in _spoken_of(ask, used=used) if key not in holds)
    return found


def refused_strangers(
    tree: Tree, parcels: Sequence[Parcel], outcomes: Sequence[Sequence[Outcome]]
) -> list[AttemptId]:
    """The attempts of which a hold was refused, and that memory does not know."""
    found = []
    for parcel, answers in zip(parcels, outcomes, strict=True):
        for ask, answer in zip(parcel.asks, answers, strict=True):
            if type(answer) is Grant or type(answer) is Receipt:
                continue
            hold: HoldAsk
            refusal: object
            if isinstance(ask, HoldAsk):
                hold, refusal = ask, answer
            elif isinstance(ask, CommitAndHoldAsk) and isinstance(answer, CommittedAndHeld):
                hold, refusal = ask.hold, answer.refusal
            else:
                continue
            decided = isinstance(refusal, TurnpikeError) and not isinstance(
                refusal, DeadlineExceeded | Internal
            )
            key = (hold.request_id, hold.attempt)
            if decided and key not in tree.settled and key not in tree.holds:
                found.append(key)
    return found


def _spoken_of(ask: Ask, *, used: bool) -> Sequence[AttemptId]:
    match ask:
        case RenewAsk():
            return ()
        case CommitAndHoldAsk(settle, hold):
            return [(each.request_id, each.attempt) for each in ((settle, hold) if used else (settle,))]
        case _:
            return ((ask.request_id, ask.attempt),)


def missing_counters(tree: Tree, attempts: Iterable[AttemptId]) -> set[int]:
    """The numbers of windows long over that a late word about these attempts may put right."""
    return {
        no
        for key in attempts
        if (held := tree.settled.get(key)) is not None and held.unconfirmed
        for _, numbers in held.legs_numbers
        for no in numbers
        if no not in tree.counters
    }
