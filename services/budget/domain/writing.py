"""Appends entries to the batch under way, and moves amounts between what is held, spent and over."""

from services.budget.domain.counters import Counter
from services.budget.domain.entries import Entry, chained
from services.budget.domain.tree import Tree

Deltas = tuple[int, int, int]
"""(held, spent, overage), in the unit."""
NOTHING: Deltas = (0, 0, 0)


def append(tree: Tree, kind: int, role: int | None, request_id: str, attempt: int, fields: str) -> int:
    """Appends an entry whose body has these fields after the common ones; returns its sequence."""
    draft = tree.draft
    number = int(kind)
    tree.sequence = sequence = tree.sequence + 1
    about = f'"r":"{request_id}","a":{attempt},' if request_id else ""
    first = f'"org":"{tree.organisation_id}",' if sequence == 1 else ""
    body = f'{{"n":{sequence},"k":{number},"t":{draft.now_us},{about}{first}{fields}}}'.encode()
    tree.head = head = chained(tree.head, body)
    draft.entries.append(Entry(sequence, number, request_id, attempt, role, body, head))
    return sequence


def touch(tree: Tree, counter: Counter) -> None:
    """Remembers a counter's figures before the batch's first change of it."""
    draft = tree.draft
    if counter.draft != draft.number:
        counter.draft = draft.number
        draft.touched.append((counter, counter.figures()))


def move(tree: Tree, counter: Counter, deltas: Deltas, *, unconfirmed: int = 0, opened: int = 0) -> None:
    """Changes a counter; a bucket that is past counts in its window's rest."""
    held, spent, overage = deltas
    touch(tree, counter)
    counter.held += held
    counter.spent += spent
    counter.overage += overage
    counter.unconfirmed += unconfirmed
    counter.open += opened
    assert counter.held >= 0, "more was given back than was held"
    assert counter.spent >= 0, "more was taken back than was spent"
    if counter.slot is not None:
        counter.slot.rest += held + spent + overage


def alert(tree: Tree, sequence: int, counter: Counter) -> None:
    """Notes that a window's spending reached the next share of its limit; each share once."""
    slot = tree.slots.get(counter.budget_id)
    if slot is None:
        return
    spent = counter.spent + counter.overage
    crossed = [
        p for p in slot.budget.alert_percents if p > counter.alerted and spent * 100 >= counter.limit * p
    ]
    for percent in sorted(crossed):
        facts = {
            "budget_id": counter.budget_id,
            "window_start_us": counter.start_us,
            "percent": percent,
            "limit": counter.limit,
            "spent": counter.spent,
            "held": counter.held,
            "overage": counter.overage,
        }
        tree.draft.alerts.append((sequence, "threshold", facts))
    if crossed:
        counter.alerted = max(crossed)
    tree.set_alert(slot, counter)


def lease_token(tree: Tree, request_id: str, attempt: int, sequence: int) -> str:
    """The permission to settle a hold, for a witness: whoever shows it was told it by the hold's maker."""
    signing = tree.signing.copy()
    signing.update(f"{request_id}|{attempt}|{sequence}".encode())
    return signing.hexdigest()
