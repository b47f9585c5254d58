"""Decides what is asked of a tree: holds, settlements, extensions, renewals, and leases that end in silence.

Each function takes the tree, moves what has to move, appends one ledger entry, and returns the answer; or raises why
not, having moved nothing. No input, output or clock: the batch under way (`tree.draft`) says what time it is, and what
was done is true once the journal has that batch.
"""

import heapq
from hmac import compare_digest

from services.budget.domain.admission import (
    TIGHT,
    above_ceiling,
    admitted,
    check,
    check_kept_free,
    no_room,
    resets_at_us,
    worst_case,
)
from services.budget.domain.counters import Path
from services.budget.domain.entries import (
    EXTENSIONS_MAX,
    ROLE_EXTENSION,
    ROLE_HOLD,
    Kind,
    text,
)
from services.budget.domain.holds import Hold
from services.budget.domain.operations import (
    Answer,
    Ask,
    CommitAndHoldAsk,
    CommitAsk,
    CommittedAndHeld,
    ExtendAsk,
    GetAsk,
    Grant,
    Headroom,
    HoldAsk,
    HoldView,
    Receipt,
    ReleaseAsk,
    Released,
    RenewAsk,
    Renewed,
)
from services.budget.domain.settling import RELEASED, charge, is_same, settle, settle_late
from services.budget.domain.tree import Tree
from services.budget.domain.writing import append, lease_token, move
from services.budget.errors import HoldAlreadySettled, HoldNotFound, HoldNotYours
from services.kernel.errors import InvalidRequest, PreconditionFailed, RequestIdReused, TurnpikeError
from services.kernel.money import AMOUNT_NANOS_MAX

STATE_OPEN, STATE_COMMITTED, STATE_RELEASED, STATE_UNCONFIRMED = 1, 2, 3, 4
"""Numbers of turnpike.budget.v1.HoldState."""
HEADROOM_SHOWN = 3
EXPIRIES_PER_BATCH = 500
"""Leases that end in one batch; the rest follows in the next."""


def decide(tree: Tree, ask: Ask) -> Answer:
    """The answer to `ask`; raises a TurnpikeError that says why not."""
    kind = type(ask)
    if kind is HoldAsk:
        return hold(tree, ask)  # type: ignore[arg-type]
    if kind is CommitAsk:
        return commit(tree, ask)  # type: ignore[arg-type]
    match ask:
        case CommitAndHoldAsk():
            return commit_and_hold(tree, ask)
        case ReleaseAsk():
            return release(tree, ask)
        case ExtendAsk():
            return extend(tree, ask)
        case RenewAsk():
            return renew(tree, ask)
        case GetAsk():
            return get(tree, ask)
    raise AssertionError(f"nothing decides {kind}")


def hold(tree: Tree, ask: HoldAsk) -> Grant:
    """Holds the worst case in every budget that applies, or in none of them."""
    key = (ask.request_id, ask.attempt)
    known = tree.holds.get(key) or tree.settled.get(key)
    if known is not None:
        return _again(tree, known, ask)
    path = admitted(tree, ask)
    terms, draft = ask.terms, tree.draft
    input_tokens, output_tokens = ask.input_tokens, ask.output_tokens
    amount, price_revision = ask.amount, terms.price_revision
    if amount is None:
        amount = worst_case(tree, terms.model, input_tokens, output_tokens)
        price_revision = tree.config.prices.revision
    tokens = input_tokens + output_tokens
    wanted = (0, amount, tokens, 1, 1)
    shadows, tight = check(tree, path, wanted)
    if terms.keep_free is not None:
        check_kept_free(tree, path, wanted, terms.keep_free)

    legs, number, touched = path.legs, draft.number, draft.touched
    parts = []
    for unit, counters, prefix in legs.groups:
        share = wanted[unit]
        for counter in counters:
            if counter.draft != number:
                counter.draft = number
                touched.append((counter, counter.figures()))
            counter.held += share
            counter.open += 1
        parts.append(f"{prefix}{share},0,0]")
    extra = f',"sh":{text(shadows)}' if shadows else ""
    digest = ask.digest
    sequence = append(
        tree,
        Kind.HOLD,
        ROLE_HOLD,
        *key,
        f'{path.json},"$":{amount},"l":[{",".join(parts)}],"tk":[{input_tokens},{output_tokens}],'
        f'"d":"{digest}","pr":{price_revision},{terms.json}{extra}',
    )
    for budget_id in shadows:
        draft.alerts.append((sequence, "shadow_refusal", {"budget_id": budget_id, "asked": list(wanted)}))
    now_us = draft.now_us
    expires_us = now_us + terms.lease_us
    tree.holds[key] = Hold(
        key,
        sequence,
        amount,
        input_tokens,
        tokens,
        terms,
        digest,
        path.json,
        price_revision,
        now_us,
        expires_us,
        legs,
    )
    draft.undo.append(("held", key))
    heapq.heappush(tree.expiries, (expires_us, sequence, key))
    return Grant(
        amount,
        expires_us,
        sequence,
        lease_token(tree, *key, sequence),
        tree.config.prices.revision,
        _tightest(path) if tight else (),
    )


def _again(tree: Tree, known: Hold, ask: HoldAsk) -> Grant:
    """A hold that was asked for before: the same grant while it is open, never a second licence."""
    if known.digest != ask.digest:
        raise RequestIdReused(ask.request_id)
    if known.receipt is not None:
        raise already_settled(known)
    return _grant(tree, known)


def _grant(tree: Tree, held: Hold) -> Grant:
    token = lease_token(tree, *held.key, held.sequence)
    return Grant(held.amount, held.expires_us, held.sequence, token, held.price_revision)


def _tightest(path: Path) -> list[Headroom]:
    """What the budgets have left of which the least is left in proportion to their limits; at most three."""
    left = sorted(
        (slot.left(counter) / counter.limit, counter.no, slot, counter)
        for _, pairs in path.checks
        for slot, counter in pairs
        if slot.left(counter) * TIGHT < counter.limit
    )
    return [
        Headroom(
            counter.budget_id,
            slot.budget.display_name,
            counter.unit,
            counter.limit,
            max(0, slot.left(counter)),
            resets_at_us(slot, counter),
        )
        for _, _, slot, counter in left[:HEADROOM_SHOWN]
    ]


def commit(tree: Tree, ask: CommitAsk) -> Receipt:
    """Charges what an attempt cost; a late one puts an unconfirmed charge right, once."""
    held = tree.holds.get((ask.request_id, ask.attempt))
    if held is None:
        held = _settled(tree, ask)
        assert held.receipt is not None
        if is_same(held, ask):
            return held.receipt
        if not held.unconfirmed:
            raise already_settled(held)
        cost = charge(tree, held, ask)
        if cost.unconfirmed:
            return held.receipt  # nobody knows better yet
        return settle_late(tree, held, cost, ask)
    _may_settle(tree, held, ask)
    return settle(tree, held, Kind.COMMIT, charge(tree, held, ask), ask)


def release(tree: Tree, ask: ReleaseAsk) -> Released:
    """Frees a hold whose attempt was never sent, or which the vendor does not bill."""
    held = tree.holds.get((ask.request_id, ask.attempt)) or _settled(tree, ask)
    _may_settle(tree, held, ask)
    if ask.claim not in ("", held.claim):
        # That run's hold was lost; under this one, of a later run, a model may be called at this moment.
        raise HoldNotFound(ask.request_id, ask.attempt)
    if held.receipt is None:
        receipt = settle(tree, held, Kind.RELEASE, None, ask)
    elif held.unconfirmed:
        receipt = settle_late(tree, held, None, ask)
    elif held.receipt.charged == 0 and held.settled_as == RELEASED:
        receipt = held.receipt
    else:
        raise already_settled(held)
    return Released(receipt.released, receipt.sequence)


def commit_and_hold(tree: Tree, ask: CommitAndHoldAsk) -> CommittedAndHeld:
    """Settles one attempt and holds for the next; if the hold is refused the settlement stands."""
    if isinstance(ask.settle, CommitAsk):
        receipt = commit(tree, ask.settle)
    else:
        freed = release(tree, ask.settle)
        receipt = Receipt(0, 0, freed.released, False, False, freed.sequence)
    try:
        return CommittedAndHeld(receipt, hold(tree, ask.hold), None)
    except TurnpikeError as refusal:
        return CommittedAndHeld(receipt, None, refusal)


def extend(tree: Tree, ask: ExtendAsk) -> Grant:
    """Adds to a hold's amount in the windows the hold is in, if it fits in all of them."""
    held = _open(tree, ask.request_id, ask.attempt)
    if held.terms.caller != ask.caller:
        raise HoldNotYours(ask.request_id, ask.attempt)
    done = held.extensions or {}
    asked = (-1 if ask.amount is None else ask.amount, ask.output_tokens)
    before = done.get(ask.extension)
    if before is not None:
        if before[:2] != asked:
            raise RequestIdReused(ask.request_id)
        token = lease_token(tree, *held.key, held.sequence)
        return Grant(before[3], held.expires_us, before[2], token, held.price_revision)
    if ask.extension != len(done) + 1 or ask.extension > EXTENSIONS_MAX:
        raise PreconditionFailed(
            f"The next extension of attempt {ask.attempt} of {ask.request_id} is number {len(done) + 1}."
        )
    amount = ask.amount
    if amount is None:
        # The difference of two worst cases, not the worst case of a difference: tiers and request prices count once.
        more = held.tokens - held.input_tokens + ask.output_tokens
        amount = max(0, worst_case(tree, held.terms.model, held.input_tokens, more) - held.amount)
    if held.amount + amount > AMOUNT_NANOS_MAX:
        raise InvalidRequest.of("amount", "is more than any budget holds")
    wanted = (0, amount, ask.output_tokens, 0, 0)
    legs = held.legs
    assert legs is not None, "an open hold has its legs"
    _check_extension(tree, held, wanted)
    parts = []
    for unit, counters, prefix in legs.groups:
        share = wanted[unit]
        if not share:
            continue
        for counter in counters:
            move(tree, counter, (share, 0, 0))
        parts.append(f"{prefix}{share},0,0]")
    sequence = append(
        tree,
        Kind.EXTEND,
        ROLE_EXTENSION + ask.extension,
        *held.key,
        f'{held.path_json},"$":{amount},"l":[{",".join(parts)}],"h":{held.sequence},"ex":{ask.extension},'
        f'"tk":[0,{ask.output_tokens}],"ea":{asked[0]}',
    )
    tree.draft.undo.append(("extended", held, ask.extension, held.amount, held.tokens))
    held.amount += amount
    held.tokens += ask.output_tokens
    if held.extensions is None:
        held.extensions = {}
    held.extensions[ask.extension] = (*asked, sequence, held.amount, held.expires_us)
    return Grant(
        held.amount,
        held.expires_us,
        sequence,
        lease_token(tree, *held.key, held.sequence),
        held.price_revision,
    )


def _check_extension(tree: Tree, held: Hold, wanted: tuple[int, int, int, int, int]) -> None:
    assert held.legs is not None
    ceilings = tree.path(held.terms).ceilings
    whole = (0, held.amount + wanted[1], held.tokens + wanted[2], 1, 1)
    above = [slot for slot in ceilings if slot.refuses and whole[slot.unit] > slot.budget.limit]
    if above:
        raise above_ceiling(above, whole)
    short = []
    for unit, counters, _ in held.legs.groups:
        asked = wanted[unit]
        if not asked:
            continue
        for counter in counters:
            slot = tree.slots.get(counter.budget_id)
            if slot is not None and slot.refuses and slot.left(counter) < asked:
                short.append((slot, counter, asked))
    if short:
        raise no_room(tree, short)


def renew(tree: Tree, ask: RenewAsk) -> Renewed:
    """Gives open holds of the caller more time; says which are not open."""
    draft = tree.draft
    expires_us = draft.now_us + ask.lease_us
    not_open = []
    for key in ask.keys:
        held = tree.holds.get(key)
        if held is None or held.terms.caller != ask.caller:
            not_open.append(key)
            continue
        draft.undo.append(("renewed", held, held.expires_us))
        held.expires_us = expires_us
        draft.renewals[held.sequence] = expires_us
        heapq.heappush(tree.expiries, (expires_us, held.sequence, key))
    return Renewed(expires_us, not_open)


def get(tree: Tree, ask: GetAsk) -> HoldView:
    """Where a hold is in its life."""
    key = (ask.request_id, ask.attempt)
    held = tree.holds.get(key) or tree.settled.get(key)
    if held is None:
        raise HoldNotFound(ask.request_id, ask.attempt)
    if ask.caller and held.terms.caller != ask.caller:
        raise HoldNotYours(ask.request_id, ask.attempt)
    return HoldView(_state(held), _grant(tree, held), held.receipt)


def expire(tree: Tree) -> None:
    """Charges in full, unconfirmed, the holds whose lease has ended; at most EXPIRIES_PER_BATCH of them."""
    now_us = tree.draft.now_us
    if now_us < tree.expiry_grace_us:
        return
    expiries, done = tree.expiries, 0
    while expiries and expiries[0][0] <= now_us and done < EXPIRIES_PER_BATCH:
        due_us, sequence, key = heapq.heappop(expiries)
        held = tree.holds.get(key)
        if held is None or held.sequence != sequence or held.expires_us != due_us:
            continue  # settled or renewed since; a renewal has its own place in the heap
        settle(tree, held, Kind.EXPIRE, None, None)
        done += 1


def already_settled(held: Hold) -> HoldAlreadySettled:
    """The error that says how a hold ended."""
    assert held.receipt is not None
    words = {STATE_COMMITTED: "committed", STATE_RELEASED: "released", STATE_UNCONFIRMED: "unconfirmed"}
    return HoldAlreadySettled(*held.key, words[_state(held)], held.receipt.charged)


def _state(held: Hold) -> int:
    if held.receipt is None:
        return STATE_OPEN
    if held.unconfirmed:
        return STATE_UNCONFIRMED
    return STATE_RELEASED if held.settled_as == RELEASED else STATE_COMMITTED


def _open(tree: Tree, request_id: str, attempt: int) -> Hold:
    key = (request_id, attempt)
    held = tree.holds.get(key)
    if held is not None:
        return held
    settled = tree.settled.get(key)
    if settled is not None:
        raise already_settled(settled)
    raise HoldNotFound(request_id, attempt)


def _settled(tree: Tree, ask: CommitAsk | ReleaseAsk) -> Hold:
    held = tree.settled.get((ask.request_id, ask.attempt))
    if held is None:
        raise HoldNotFound(ask.request_id, ask.attempt)
    _may_settle(tree, held, ask)
    return held


def _may_settle(tree: Tree, held: Hold, ask: CommitAsk | ReleaseAsk) -> None:
    """Only the maker of a hold may settle it, or a witness who was given its lease."""
    if held.terms.caller == ask.caller:
        return
    if ask.lease and compare_digest(ask.lease, lease_token(tree, *held.key, held.sequence)):
        return
    raise HoldNotYours(ask.request_id, ask.attempt)
