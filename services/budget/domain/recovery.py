"""Makes a tree of what the store has: counters as they stand, and holds out of the entries that speak of them.

The same reading of entries serves an owner that begins, and a question about an attempt that is no longer in memory.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from services.budget.domain.counters import Counter, Legs
from services.budget.domain.entries import Kind, decoded, text
from services.budget.domain.holds import Hold
from services.budget.domain.operations import AttemptId, Receipt, Terms
from services.budget.domain.settling import said_in
from services.budget.domain.tree import STEP, Tree

_SETTLING = {Kind.COMMIT, Kind.RELEASE, Kind.EXPIRE}


def holds_in(entries: Iterable[bytes], archived: int = 0) -> dict[AttemptId, Hold]:
    """The holds that entries (bodies, in order) speak of, as they stand after the last of them.

    An entry about a hold whose own entry is not among them is skipped: that hold ended before. What a checkpoint has
    summed up, up to entry `archived`, is charged for good, whether anybody confirmed it or not.
    """
    holds: dict[AttemptId, Hold] = {}
    for body in entries:
        fields = decoded(body)
        kind = fields["k"]
        if kind == Kind.HOLD:
            hold = _held(fields)
            holds[hold.key] = hold
            continue
        key = (fields.get("r", ""), fields.get("a", 0))
        known = holds.get(key)
        if known is None:
            continue
        if kind == Kind.EXTEND:
            _extended(known, fields)
        elif kind in _SETTLING or kind == Kind.CORRECT:
            _settled(known, fields)
    for hold in holds.values():
        if hold.sequence <= archived:
            hold.unconfirmed = False
    return holds


def _held(fields: Mapping[str, Any]) -> Hold:
    input_tokens, output_tokens = fields["tk"]
    digest, _, _ = fields["d"].partition(".")
    terms = Terms(
        caller=fields["by"],
        metering=False,
        principal=tuple(fields["p"]),
        model=fields["m"],
        groups=(),
        price_revision=fields["pr"],
        lease_us=fields["le"],
        endpoint_id=fields["e"],
        dimensions=fields.get("x", {}),
        digest=digest,
    )
    return Hold(
        (fields["r"], fields["a"]),
        fields["n"],
        fields["$"],
        input_tokens,
        input_tokens + output_tokens,
        terms,
        fields["d"],
        f'"p":{text(fields["p"])},"m":{text(fields["m"])}',
        fields["pr"],
        fields["t"],
        fields["t"] + terms.lease_us,
        None,
        tuple((unit, tuple(counters)) for unit, counters, *_ in fields["l"]),
    )


def _extended(hold: Hold, fields: Mapping[str, Any]) -> None:
    hold.amount += fields["$"]
    tokens = fields["tk"][1]
    hold.tokens += tokens
    if hold.extensions is None:
        hold.extensions = {}
    hold.extensions[fields["ex"]] = (fields["ea"], tokens, fields["n"], hold.amount, hold.expires_us)


def _settled(hold: Hold, fields: Mapping[str, Any]) -> None:
    kind = fields["k"]
    released = kind == Kind.RELEASE
    correct = kind == Kind.CORRECT
    charged = 0 if released else fields["c"] if correct else fields["$"]
    hold.unconfirmed = bool(fields.get("un", 0))
    hold.receipt = Receipt(
        charged, fields.get("o", 0), fields.get("rel", 0), hold.unconfirmed, correct, fields["n"]
    )
    hold.settled_as = "" if kind == Kind.EXPIRE else said_in(fields)


def missing_counters(tree: Tree, holds: Iterable[Hold]) -> set[int]:
    """Numbers of the counters that these holds need and the tree has not in memory."""
    return {
        no
        for hold in holds
        if hold.receipt is None or hold.unconfirmed
        for _, numbers in hold.legs_numbers
        for no in numbers
        if no not in tree.counters
    }


def adopt(tree: Tree, holds: Iterable[Hold], renewals: Mapping[int, int]) -> None:
    """Takes holds in; their counters are in memory. `renewals`: when leases end that were renewed, by sequence."""
    shared: dict[tuple[tuple[int, tuple[int, ...]], ...], Legs] = {}
    for hold in holds:
        hold.expires_us = renewals.get(hold.sequence, hold.expires_us)
        if hold.receipt is not None:
            tree.settled.setdefault(hold.key, hold)
            continue
        if hold.key in tree.holds:
            continue
        legs = shared.get(hold.legs_numbers)
        if legs is None:
            counters = [tree.counters[no] for _, numbers in hold.legs_numbers for no in numbers]
            legs = shared[hold.legs_numbers] = Legs.of(counters)
        hold.legs = legs
        tree.holds[hold.key] = hold
        heapq.heappush(tree.expiries, (hold.expires_us, hold.sequence, hold.key))


def install_counters(tree: Tree, counters: Iterable[Counter], now_us: int) -> Iterator[None]:
    """Takes in all counters that may count at `now_us`, once, and gives each rolling budget its buckets in order.
    Step by step: it is done when the iterator ends."""
    by_budget: dict[str, list[Counter]] = {}
    for count, counter in enumerate(counters):
        if count % STEP == STEP - 1:
            yield
        if counter.no not in tree.counters:
            tree.know(counter)
            by_budget.setdefault(counter.budget_id, []).append(counter)
    for count, (budget_id, known) in enumerate(by_budget.items()):
        if count % STEP == STEP - 1:
            yield
        slot = tree.slots.get(budget_id)
        if slot is None:
            continue
        known.sort(key=lambda counter: counter.start_us)
        if slot.rolling is not None:
            for counter in known:
                tree.install(slot, counter, now_us)
        slot.valid_until_us = 0  # the next hold finds its window, and whether its limit is still the same


def know_counters(tree: Tree, counters: Iterable[Counter]) -> None:
    """Takes in counters of windows that are over, for a correction; no budget counts in them any more."""
    for counter in counters:
        if counter.no not in tree.counters:
            tree.know(counter)


def take_in(tree: Tree, entries: Iterable[bytes], until: int) -> bool:
    """Takes in what others wrote after the tree's last entry, up to `until`; between batches. False: some of it has
    left the ledger meanwhile, so the tree must be read again."""
    written = [decoded(body) for body in entries]
    if [fields["n"] for fields in written] != list(range(tree.sequence + 1, until + 1)):
        return False
    for fields in written:
        apply_limits(tree, fields)
        if fields["k"] == Kind.CHECKPOINT:
            tree.forget_settled(fields["cp"][0])
    return True


def apply_limits(tree: Tree, fields: Mapping[str, Any]) -> None:
    """Takes in what another wrote: a LIMIT, RERATE or ADJUST entry. Between batches."""
    for no, _, _, _, _, limit, known in fields.get("w", ()):
        counter = tree.counters.get(no)
        if known and counter is not None:
            counter.limit = limit
            slot = tree.slots.get(counter.budget_id)
            if slot is not None:
                tree.set_alert(slot, counter)
    for _, numbers, held, spent, overage in fields.get("l", ()):
        for no in numbers:
            counter = tree.counters.get(no)
            if counter is not None:
                counter.held += held
                counter.spent += spent
                counter.overage += overage
                if counter.slot is not None:
                    counter.slot.restate()
