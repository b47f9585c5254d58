"""Faults planted into the service, each of which the simulator must find: a test of the tests.

Lines that cover each other are taken out together; one of them alone may well go unnoticed, that is what they are for.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.budget.domain import (
    admission,
    checkpoints,
    counters,
    decide,
    entries,
    moments,
    recovery,
    settling,
    tree,
    writing,
)
from services.budget.domain.checkpoints import CheckpointUnreadable
from services.budget.domain.entries import Kind
from services.budget.domain.operations import CommitAsk, CommittedAndHeld, ReleaseAsk
from services.budget.domain.settling import Charge
from services.kernel.errors import TurnpikeError
from tests.property.budget.simulator import Owner, Simulation, Store, StoreRefused

SEEDS = range(40)
OPERATIONS = 700

Fault = Callable[[pytest.MonkeyPatch], dict[str, Any]]
"""Plants the fault; returns how to build simulations with it."""
FAULTS: dict[str, Fault] = {}


def fault(plant: Fault) -> Fault:
    FAULTS[plant.__name__] = plant
    return plant


@fault
def no_fence_and_no_checks(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"fenced": False, "checked": False, "unique": False}


@fault
def acknowledged_before_it_is_written(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"early_acknowledgement": True}


@fault
def silence_is_forgiven(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = settling.settle

    def settle(tree_: Any, held: Any, kind: Kind, cost: Any, ask: Any) -> Any:
        return original(tree_, held, kind, Charge(0, 0, False) if kind is Kind.EXPIRE else cost, ask)

    patch.setattr(decide, "settle", settle)
    return {}


@fault
def corrected_again_and_again(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = settling.settle_late

    def settle_late(tree_: Any, held: Any, cost: Any, ask: Any) -> Any:
        receipt = original(tree_, held, cost, ask)
        held.unconfirmed = True
        return receipt

    patch.setattr(decide, "settle_late", settle_late)
    return {"unique": False}


@fault
def money_in_floating_point(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = settling.charge

    def charge(tree_: Any, held: Any, ask: Any) -> Charge:
        cost = original(tree_, held, ask)
        return Charge(int(cost.nanos / 1e9 * 1e9), cost.tokens, cost.unconfirmed)

    patch.setattr(decide, "charge", charge)
    return {}


@fault
def windows_never_end(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = tree.Tree.install

    def install(self: tree.Tree, slot: counters.Slot, counter: counters.Counter, now_us: int) -> None:
        original(self, slot, counter, now_us)
        slot.valid_until_us = moments.NEVER_US

    patch.setattr(tree.Tree, "install", install)
    return {}


@fault
def a_budget_is_left_out(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = tree.Tree.path

    def path(self: tree.Tree, terms: Any) -> counters.Path:
        found = original(self, terms)
        found.slots = tuple(slot for slot in found.slots if slot.budget.budget_id != "bud_5")
        return found

    patch.setattr(tree.Tree, "path", path)
    return {}


@fault
def alerts_are_lost(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = Store.write

    def write(self: Store, epoch: int, revision: int, tree_: tree.Tree) -> bool:
        tree_.draft.alerts.clear()
        return original(self, epoch, revision, tree_)

    patch.setattr(Store, "write", write)
    return {}


@fault
def memory_is_kept_though_nothing_was_written(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(tree.Tree, "take_back", lambda self: None)
    return {}


@fault
def other_content_is_taken_for_the_same(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def again(tree_: Any, known: Any, ask: Any) -> Any:
        if known.receipt is not None:
            raise decide.already_settled(known)
        return decide._grant(tree_, known)

    patch.setattr(decide, "_again", again)
    return {}


@fault
def used_ids_are_neither_looked_up_nor_unique(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(Owner, "look_up", lambda self, asks, used: True)
    patch.setattr(Owner, "find", lambda self, keys: True)
    patch.setattr(recovery, "holds_in", lambda entries, archived=0: {})
    return {"unique": False}


@fault
def the_rest_of_a_hold_is_not_given_back(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = settling.settle

    def settle(tree_: Any, held: Any, kind: Kind, cost: Any, ask: Any) -> Any:
        if cost is not None and cost.nanos < held.amount:
            held.amount = max(cost.nanos, 1)
        return original(tree_, held, kind, cost, ask)

    patch.setattr(decide, "settle", settle)
    return {}


@fault
def overage_is_forgiven(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = settling.charge

    def charge(tree_: Any, held: Any, ask: Any) -> Charge:
        cost = original(tree_, held, ask)
        return Charge(min(cost.nanos, held.amount), cost.tokens, cost.unconfirmed)

    patch.setattr(decide, "charge", charge)
    return {}


@fault
def anybody_may_settle(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(decide, "_may_settle", lambda tree_, held, ask: None)
    return {}


@fault
def a_run_frees_the_hold_of_another(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = decide.release

    def release(tree_: Any, ask: ReleaseAsk) -> Any:
        return original(tree_, ReleaseAsk(ask.request_id, ask.attempt, ask.caller, ask.lease, ask.reason))

    patch.setattr(decide, "release", release)
    return {}


@fault
def one_more_than_the_limit_is_admitted(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = admission.check

    def check(tree_: Any, path: Any, wanted: Any) -> Any:
        return original(tree_, path, tuple(max(0, amount - 1) for amount in wanted))

    patch.setattr(decide, "check", check)
    return {"checked": False}


@fault
def what_just_fits_is_refused(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = admission.check

    def check(tree_: Any, path: Any, wanted: Any) -> Any:
        try:
            return original(tree_, path, tuple(amount + 1 for amount in wanted))
        except TurnpikeError as refusal:
            for shortfall in getattr(refusal, "shortfalls", ()):
                object.__setattr__(shortfall, "asked", shortfall.asked - 1)
            raise

    patch.setattr(decide, "check", check)
    return {}


@fault
def what_is_kept_for_others_is_taken(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(decide, "check_kept_free", lambda tree_, path, wanted, keep_free: None)
    return {}


@fault
def one_more_is_taken_of_what_is_kept(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = admission.check_kept_free

    def check_kept_free(tree_: Any, path: Any, wanted: Any, keep_free: Any) -> None:
        original(tree_, path, tuple(max(0, amount - 1) for amount in wanted), keep_free)

    patch.setattr(decide, "check_kept_free", check_kept_free)
    return {}


@fault
def more_is_kept_than_was_said(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = admission.check_kept_free

    def check_kept_free(tree_: Any, path: Any, wanted: Any, keep_free: Any) -> None:
        original(tree_, path, wanted, {scope: permille + 200 for scope, permille in keep_free.items()})

    patch.setattr(decide, "check_kept_free", check_kept_free)
    return {}


@fault
def past_buckets_do_not_count(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(counters.Slot, "restate", lambda self: setattr(self, "rest", 0))
    return {}


@fault
def renewed_leases_are_forgotten(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = recovery.adopt
    patch.setattr(recovery, "adopt", lambda tree_, holds, renewals: original(tree_, holds, {}))
    return {}


@fault
def lowered_limits_are_not_noticed(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = Store.write

    def write(self: Store, epoch: int, revision: int, tree_: tree.Tree) -> bool:
        # A fence that looks at who owns, and neither at the sequence nor at the revision.
        tree_.draft.base_sequence = self.sequence
        return original(self, epoch, self.revision, tree_)

    patch.setattr(Store, "write", write)
    return {}


@fault
def the_next_hold_comes_before_the_settlement(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def commit_and_hold(tree_: Any, ask: Any) -> CommittedAndHeld:
        refusal, grant = None, None
        try:
            grant = decide.hold(tree_, ask.hold)
        except TurnpikeError as error:
            refusal = error
        receipt: Any = (decide.commit if isinstance(ask.settle, CommitAsk) else decide.release)(
            tree_, ask.settle
        )
        return CommittedAndHeld(receipt, grant, refusal)

    patch.setattr(decide, "commit_and_hold", commit_and_hold)
    return {}


@fault
def what_a_checkpoint_stands_for_is_corrected(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = recovery.holds_in
    patch.setattr(recovery, "holds_in", lambda bodies, archived=0: original(bodies))
    patch.setattr(tree.Tree, "forget_settled", lambda self, until: None)
    return {}


@fault
def a_checkpoint_leaves_out_what_is_put_right(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def standing(self: checkpoints.Balance) -> list[Any]:
        ended = self.decided_us
        return [(no, w) for no, w in self.windows.items() if w.end_us is None or w.end_us > ended]

    patch.setattr(checkpoints.Balance, "standing", standing)
    return {}


@fault
def a_checkpoint_stands_for_open_holds(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = Store.trim

    def trim(self: Store, until: int, now_us: int) -> bool:
        with pytest.MonkeyPatch.context() as careless:
            careless.setattr(checkpoints.Balance, "take", _taken_without_holds)
            return original(self, until, now_us)

    take = checkpoints.Balance.take

    def _taken_without_holds(self: checkpoints.Balance, fields: Any, hashed: bytes) -> None:
        take(self, fields, hashed)
        self.open.clear()

    patch.setattr(Store, "trim", trim)
    return {}


@fault
def the_chain_forgets_its_past(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = entries.chained
    patch.setattr(writing, "chained", lambda previous, body: original(b"", body))
    return {}


@contextlib.contextmanager
def planted(name: str) -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        yield FAULTS[name](patch)


def found(name: str) -> str:
    """How the simulator noticed the fault; empty: it did not."""
    with planted(name) as how:
        for seed in SEEDS:
            try:
                Simulation(seed, operations=OPERATIONS, **how).run()
            except (AssertionError, StoreRefused, CheckpointUnreadable, KeyError, ValueError) as noticed:
                return f"seed {seed}: {type(noticed).__name__}: {str(noticed)[:200]}"
    return ""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    assert found(name), f"{name} goes unnoticed"


def test_there_are_enough_faults() -> None:
    assert len(FAULTS) >= 12
