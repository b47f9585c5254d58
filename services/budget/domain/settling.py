"""What an attempt is charged, and how its hold becomes spent: at once, in silence, or corrected later."""

from collections.abc import Mapping

from msgspec import Struct

from services.budget.domain.budgets import LIMIT_MAX
from services.budget.domain.entries import ROLE_CORRECT, ROLE_SETTLE, Kind, text
from services.budget.domain.holds import Hold
from services.budget.domain.moments import from_us
from services.budget.domain.operations import CommitAsk, Receipt, ReleaseAsk, UsageCounts
from services.budget.domain.tree import Tree
from services.budget.domain.writing import Deltas, alert, append, move
from services.kernel.errors import InvalidRequest
from services.kernel.money import MoneyOutOfRange
from services.kernel.pricing import RateUnknown, Usage, charge_nanos

UNKNOWN = "UNKNOWN"
"""The outcome of an attempt that was sent and of which nobody knows what became."""
RELEASED = "released"
"""What a release is known by: it has no content."""


class Charge(Struct, gc=False):
    """What to charge."""

    nanos: int
    tokens: int
    unconfirmed: bool
    """True: the worst case, because nobody knows better."""


def charge(tree: Tree, held: Hold, ask: CommitAsk) -> Charge:
    """What the settlement charges: its cost, else what its usage costs, else all that is held."""
    usage = ask.usage
    tokens = None
    if usage is not None and usage[0] is not None and usage[1] is not None:
        tokens = usage[0] + usage[1]
    cost = ask.cost
    if cost is None and usage is not None:
        cost = _priced(tree, held, usage)
    if cost is None or (ask.outcome == UNKNOWN and cost <= held.amount):
        return Charge(held.amount, held.tokens, unconfirmed=True)
    return Charge(cost, held.tokens if tokens is None else tokens, unconfirmed=False)


def _priced(tree: Tree, held: Hold, usage: UsageCounts) -> int | None:
    """The usage at the price that was in force at the hold. None: the usage or the price is not known."""
    price = tree.config.prices.price_of(held.terms.model, from_us(held.occurred_us))
    if price is None:
        return None
    try:
        return charge_nanos(price, Usage(*usage[:10], *usage[11:]))
    except RateUnknown:
        return None
    except (MoneyOutOfRange, ValueError) as wrong:
        raise InvalidRequest.of("settlement.usage", f"cannot be priced: {wrong}") from wrong


def settle(
    tree: Tree, held: Hold, kind: Kind, cost: Charge | None, ask: CommitAsk | ReleaseAsk | None
) -> Receipt:
    """Ends an open hold: COMMIT charges `cost`, RELEASE nothing, EXPIRE all that is held."""
    if cost is None:
        cost = Charge(0, 0, False) if kind is Kind.RELEASE else Charge(held.amount, held.tokens, True)
    released = kind is Kind.RELEASE
    amount, nanos, unconfirmed = held.amount, cost.nanos, cost.unconfirmed
    freed, overage = _rest(amount, nanos)
    _, tokens_over = _rest(held.tokens, cost.tokens)
    deltas: tuple[Deltas, ...] = (
        (0, 0, 0),
        (-amount, nanos - overage, overage),
        (-held.tokens, cost.tokens - tokens_over, tokens_over),
        (-1, 0 if released else 1, 0),
        (-1, 0, 0),
    )
    unsure = (0, nanos, cost.tokens, 1, 0) if unconfirmed else (0, 0, 0, 0, 0)
    legs = held.legs
    assert legs is not None, "an open hold has its legs"
    if overage or tokens_over:
        _fits_arithmetic(legs.groups, deltas)
    draft = tree.draft
    number, touched = draft.number, draft.touched
    parts, due = [], []
    for unit, counters, prefix in legs.groups:
        by_unit = deltas[unit]
        back, spent, over = by_unit
        doubt = unsure[unit]
        for counter in counters:  # what writing.move does, without a call for each
            if counter.draft != number:
                counter.draft = number
                touched.append((counter, counter.figures()))
            counter.held += back
            counter.spent += spent
            counter.open -= 1
            if over or doubt:
                counter.overage += over
                counter.unconfirmed += doubt
            if counter.slot is not None:
                counter.slot.rest += back + spent + over
            assert counter.held >= 0, "more was given back than was held"
            if counter.spent + counter.overage >= counter.alert_at:
                due.append(counter)
        parts.append(f"{prefix}{back},{spent},{over}]")
    details, settled_as = _details(held, ask)
    fields = (
        f'{held.path_json},"$":{amount if released else nanos},"l":[{",".join(parts)}],"h":{held.sequence},'
        f'"rel":{freed},"pr":{held.price_revision},{details}'
    )
    if overage:
        fields += f',"o":{overage}'
    if unconfirmed:
        fields += ',"un":1'
    sequence = append(tree, kind, ROLE_SETTLE, *held.key, fields)
    for counter in due:
        alert(tree, sequence, counter)
    if overage or unconfirmed:
        facts = {"request_id": held.key[0], "attempt": held.key[1], "charged": nanos, "overage": overage}
        draft.alerts.append((sequence, "overage" if overage else "unconfirmed", facts))
    receipt = Receipt(nanos, overage, freed, unconfirmed, False, sequence)
    draft.undo.append(("settled", held.key, held, legs))
    held.receipt = receipt
    held.legs_numbers = legs.numbers
    held.legs = None
    held.unconfirmed = unconfirmed
    held.settled_as = settled_as
    del tree.holds[held.key]
    tree.settled[held.key] = held
    return receipt


def _rest(held: int, used: int) -> tuple[int, int]:
    """What is freed of what was held, and what is over."""
    return (held - used, 0) if used <= held else (0, used - held)


def settle_late(tree: Tree, held: Hold, cost: Charge | None, ask: CommitAsk | ReleaseAsk) -> Receipt:
    """Puts an unconfirmed charge right, once: `cost` None means that nothing was consumed."""
    before = held.receipt
    assert before is not None, "only what was settled can be corrected"
    nanos, tokens, each = (0, 0, -1) if cost is None else (cost.nanos, cost.tokens, 0)
    deltas = (
        (0, 0, 0),
        _correction(nanos - held.amount),
        _correction(tokens - held.tokens),
        (0, each, 0),
        (0, 0, 0),
    )
    unsure = (0, -held.amount, -held.tokens, -1, 0)
    groups = [(unit, tuple(tree.counters[no] for no in numbers), "") for unit, numbers in held.legs_numbers]
    if nanos > held.amount or tokens > held.tokens:
        _fits_arithmetic(tuple(groups), deltas)
    parts = []
    for (unit, counters, _), (_, numbers) in zip(groups, held.legs_numbers, strict=True):
        by_unit = deltas[unit]
        for counter in counters:
            move(tree, counter, by_unit, unconfirmed=unsure[unit])
        parts.append([unit, list(numbers), *by_unit])
    overage = max(0, nanos - held.amount)
    details, settled_as = _details(held, ask)
    fields = (
        f'{held.path_json},"$":{nanos - held.amount},"l":{text(parts)},"h":{held.sequence},"c":{nanos},'
        f'"re":{held.amount},"rel":{max(0, held.amount - nanos)},"pr":{held.price_revision},{details}'
    )
    if overage:
        fields += f',"o":{overage}'
    sequence = append(tree, Kind.CORRECT, ROLE_CORRECT, *held.key, fields)
    for _, counters, _ in groups:
        for counter in counters:
            if counter.spent + counter.overage >= counter.alert_at:
                alert(tree, sequence, counter)
    if overage:
        facts = {"request_id": held.key[0], "attempt": held.key[1], "charged": nanos, "overage": overage}
        tree.draft.alerts.append((sequence, "overage", facts))
    tree.draft.undo.append(("corrected", held, before, held.settled_as))
    receipt = Receipt(nanos, overage, max(0, held.amount - nanos), False, True, sequence)
    held.receipt = receipt
    held.unconfirmed = False
    held.settled_as = settled_as
    return receipt


def _correction(difference: int) -> Deltas:
    """Less is taken from what was spent; more is overage, for the hold was all spent already."""
    return (0, min(difference, 0), max(difference, 0))


def _fits_arithmetic(
    groups: tuple[tuple[int, tuple[object, ...], str], ...], deltas: tuple[Deltas, ...]
) -> None:
    """Refuses a charge whose overage no counter can hold, before anything moves."""
    for unit, counters, _ in groups:
        for counter in counters:
            if counter.overage + deltas[unit][2] > LIMIT_MAX:  # type: ignore[attr-defined]
                raise InvalidRequest.of("settlement", "charges more than can be counted")


def _details(held: Hold, ask: CommitAsk | ReleaseAsk | None) -> tuple[str, str]:
    """What the settlement says beyond amounts, as JSON fields; and what it is known by when it is repeated."""
    terms = held.terms
    if ask is None:
        extra = f',"x":{text(terms.dimensions)}' if terms.dimensions else ""
        return f'"oc":"{UNKNOWN}","e":{text(terms.endpoint_id)}{extra}', ""
    by = f',"by":{text(ask.caller)}' if ask.caller != terms.caller else ""
    if type(ask) is ReleaseAsk:
        extra = f',"x":{text(terms.dimensions)}' if terms.dimensions else ""
        return (
            f'"d":"{RELEASED}","why":{text(ask.reason)},"e":{text(terms.endpoint_id)}{extra}{by}',
            RELEASED,
        )
    said = _said(held, ask)  # type: ignore[arg-type]
    return said + by, said


def is_same(held: Hold, ask: CommitAsk) -> bool:
    """Whether this commit is the one that settled the hold: it would write what is written."""
    receipt = held.receipt
    assert receipt is not None, "only what was settled can be repeated"
    return held.settled_as == _said(held, ask) and ask.cost in (None, receipt.charged)


def said_in(fields: Mapping[str, object]) -> str:
    """What a settlement is known by that left an entry with these fields."""
    if fields.get("d") == RELEASED:
        return RELEASED
    return text({name: fields[name] for name in _SAID if name in fields})[1:-1]


_SAID = ("oc", "e", "u", "x", "vr", "wi", "cv", "cc")
"""Fields of an entry that say how an attempt ended, in the order in which they are written."""


def _said(held: Hold, ask: CommitAsk) -> str:
    terms = held.terms
    said: dict[str, object] = {"oc": ask.outcome, "e": ask.endpoint_id or terms.endpoint_id}
    if ask.usage is not None:
        said["u"] = ask.usage
    dimensions = {**terms.dimensions, **ask.dimensions} if ask.dimensions else terms.dimensions
    if dimensions:
        said["x"] = dimensions
    if ask.vendor_request_id:
        said["vr"] = ask.vendor_request_id
    if ask.witness:
        said["wi"] = 1
    if ask.cost_from_vendor:
        said["cv"] = 1
    if ask.cost is None:
        said["cc"] = 1
    return text(said)[1:-1]
