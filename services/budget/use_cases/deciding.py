"""What an owner does with a batch in memory: what it has to look up first, and the outcome of each operation."""

import time
from collections.abc import Sequence

import structlog

from services.budget.domain.decide import decide, expire
from services.budget.domain.operations import (
    Ask,
    AttemptId,
    CommitAndHoldAsk,
    CommitAsk,
    ExtendAsk,
    GetAsk,
    HoldAsk,
    ReleaseAsk,
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


def unknown_attempts(tree: Tree, parcels: Sequence[Parcel], *, everything: bool) -> set[AttemptId]:
    """The attempts that these operations speak of, that are not in memory and may be in the ledger."""
    unknown: set[AttemptId] = set()
    for parcel in parcels:
        for ask in parcel.asks:
            _add_unknown(tree, ask, unknown, everything=everything)
    return unknown


def unknown_counters(tree: Tree, parcels: Sequence[Parcel]) -> set[int]:
    """The numbers of windows long over that these operations may put right."""
    return {
        no
        for parcel in parcels
        for ask in parcel.asks
        if (key := _settles(ask)) is not None
        and (held := tree.settled.get(key)) is not None
        and held.unconfirmed
        for _, numbers in held.legs_numbers
        for no in numbers
        if no not in tree.counters
    }


def _settles(ask: Ask) -> AttemptId | None:
    if isinstance(ask, CommitAndHoldAsk):
        ask = ask.settle
    return (ask.request_id, ask.attempt) if isinstance(ask, CommitAsk | ReleaseAsk) else None


def _add_unknown(tree: Tree, ask: Ask, unknown: set[AttemptId], *, everything: bool) -> None:
    match ask:
        case HoldAsk():
            if not everything:
                return  # a used id of long ago is found by the ledger's key; then everything is looked up
            keys: Sequence[AttemptId] = ((ask.request_id, ask.attempt),)
        case CommitAndHoldAsk():
            _add_unknown(tree, ask.settle, unknown, everything=everything)
            _add_unknown(tree, ask.hold, unknown, everything=everything)
            return
        case CommitAsk() | ReleaseAsk() | ExtendAsk() | GetAsk():
            keys = ((ask.request_id, ask.attempt),)
        case RenewAsk():
            return
    for key in keys:
        if key not in tree.holds and key not in tree.settled:
            unknown.add(key)
