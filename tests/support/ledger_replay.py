"""Replays a ledger from its bytes alone, and says everything that is wrong with it.

It shares no line with the service: what it knows of the ledger is docs/ledger.md. It rebuilds every window and every
hold entry by entry, and checks at each entry that the chain holds, that nothing is admitted above a limit, that every
settlement settles an open hold by what the hold had, and at the end that the totals are those that the service shows.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

HOLD, COMMIT, RELEASE, EXTEND, EXPIRE, CORRECT, LIMIT, RERATE, ADJUST, CHECKPOINT = range(1, 11)
MONEY, TOKENS, REQUESTS, CONCURRENCY = 1, 2, 3, 4
PROBLEMS_MAX = 50


@dataclass
class Window:
    budget: str
    unit: int
    start: int
    end: int | None
    limit: int
    held: int = 0
    spent: int = 0
    overage: int = 0
    least_left: int | None = None
    """What was left at least, right after an admission. None: nothing was admitted."""

    @property
    def used(self) -> int:
        return self.held + self.spent + self.overage


@dataclass
class Steps:
    """What was left of a budget, wherever that changed. In columns: a million entries have several millions of them."""

    sequences: "array[int]" = field(default_factory=lambda: array("q"))
    left: "array[int]" = field(default_factory=lambda: array("q"))
    """After the entry of that sequence."""


@dataclass(slots=True)
class Attempt:
    sequence: int
    by_unit: dict[int, tuple[tuple[int, ...], int]]
    """Unit → (window numbers, what is held)."""
    amount: int
    state: str = "open"
    charged: int = 0
    unconfirmed: bool = False


@dataclass
class Replay:
    """The result; `problems` is empty for a sound ledger."""

    problems: list[str] = field(default_factory=list)
    windows: dict[int, Window] = field(default_factory=dict)
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    kinds: dict[int, int] = field(default_factory=dict)
    history: dict[str, Steps] = field(default_factory=dict)
    """By budget; only where asked for."""
    overshoot: int = 0
    """Admissions above a limit."""
    by_budget: dict[str, list[Window]] = field(default_factory=dict)
    """The windows of each budget in the order they began."""
    last_sequence: int = 0
    begun_after: int = 0
    """Entries up to this one have left."""
    previous: bytes = b""
    """The hash of the entry before the first."""
    closed: int = 0
    """When the last of them was decided: windows that had ended by then may be unknown."""


def begun_by(checkpoint: Iterable[bytes]) -> Replay:
    """Where a replay begins whose first entries have left: by the bodies of the checkpoint that stands for them."""
    state = Replay()
    for place, body in enumerate(checkpoint, start=1):
        fields = json.loads(body)
        until, part, _ = fields["cp"]
        if (fields["k"], part) != (CHECKPOINT, place):
            _wrong(state, fields["n"], f"is not part {place} of a checkpoint")
        state.begun_after = state.last_sequence = until
        state.previous = bytes.fromhex(fields["ph"])
        state.closed = fields["ct"]
        for no, budget, unit, start, end, limit, held, spent, overage, _ in fields["ws"]:
            window = Window(budget, unit, start, end, limit, held, spent, overage)
            state.windows[no] = window
            state.by_budget.setdefault(budget, []).append(window)
    return state


def replay(
    entries: Iterable[tuple[int, bytes, bytes]],
    *,
    rolling: Mapping[str, tuple[int, int]] = {},
    lenient: frozenset[str] = frozenset(),
    history: bool = False,
    kept: Mapping[int, Mapping[str, int]] = {},
    begun: Replay | None = None,
) -> Replay:
    """Replays (sequence, body, hash) in order. `rolling`: budget → (bucket length in µs, buckets). `lenient`: budgets
    that let pass. `kept`: sequence of a hold → budget → what it was told to leave free, in parts per thousand. `begun`:
    what `begun_by` made of a checkpoint, where entries before it have left."""
    state = begun or Replay()
    previous = state.previous
    for expected, (sequence, body, hashed) in enumerate(entries, start=state.last_sequence + 1):
        if sequence != expected:
            _wrong(state, sequence, f"follows {expected - 1}")
            break
        if hashlib.sha256(previous + body).digest() != hashed:
            _wrong(state, sequence, "its hash is not that of its content after the entry before it")
        previous = hashed
        fields = json.loads(body)
        if fields["n"] != sequence:
            _wrong(state, sequence, f"says that it is {fields['n']}")
        state.kinds[fields["k"]] = state.kinds.get(fields["k"], 0) + 1
        _apply(state, fields, rolling, lenient, history, kept.get(sequence, {}))
        state.last_sequence = sequence
    return state


def compare(state: Replay, counters: Iterable[Mapping[str, int]]) -> list[str]:
    """What differs between the replayed windows and the service's counters (no, lim, held, spent, overage)."""
    wrong = []
    seen = set()
    for row in counters:
        seen.add(row["no"])
        window = state.windows.get(row["no"])
        if window is None:
            if not state.closed or row["end_us"] > state.closed:
                wrong.append(f"counter {row['no']} is in no entry")
            continue
        shown = (row["lim"], row["held"], row["spent"], row["overage"])
        replayed = (window.limit, window.held, window.spent, window.overage)
        if shown != replayed:
            wrong.append(f"counter {row['no']} shows {shown}, the ledger says {replayed}")
    wrong += [f"window {no} has no counter" for no in state.windows.keys() - seen]
    open_by_window: dict[int, int] = {}
    for attempt in state.attempts.values():
        if attempt.state == "open":
            for numbers, held in attempt.by_unit.values():
                for no in numbers:
                    open_by_window[no] = open_by_window.get(no, 0) + held
    wrong += [
        f"window {no} holds {window.held}, its open holds make {open_by_window.get(no, 0)}"
        for no, window in state.windows.items()
        if window.held != open_by_window.get(no, 0)
    ]
    return wrong


def _wrong(state: Replay, sequence: int, what: str) -> None:
    if len(state.problems) < PROBLEMS_MAX:
        state.problems.append(f"entry {sequence}: {what}")


def _apply(
    state: Replay,
    fields: dict[str, Any],
    rolling: Mapping[str, tuple[int, int]],
    lenient: frozenset[str],
    history: bool,
    kept: Mapping[str, int],
) -> None:
    sequence, kind = fields["n"], fields["k"]
    for no, budget, unit, start, end, limit, known in fields.get("w", ()):
        window = state.windows.get(no)
        if known:
            if window is None or window.budget != budget:
                _wrong(state, sequence, f"changes the limit of window {no}, which is not there")
            else:
                window.limit = limit
        elif window is not None:
            _wrong(state, sequence, f"opens window {no} twice")
        else:
            state.windows[no] = Window(budget, unit, start, end, limit)
            state.by_budget.setdefault(budget, []).append(state.windows[no])
        if history:
            _remember(state, sequence, budget, fields["t"], rolling)
    legs = fields.get("l", ())
    for unit, numbers, held, spent, overage in legs:
        for no in numbers:
            window = state.windows.get(no)
            if window is None:
                _wrong(state, sequence, f"moves in window {no}, which is not there")
                return
            if window.unit != unit:
                _wrong(state, sequence, f"counts window {no} in another unit")
            window.held += held
            window.spent += spent
            window.overage += overage
            if min(window.held, window.spent, window.overage) < 0:
                _wrong(state, sequence, f"makes a figure of window {no} negative")
            if kind in (HOLD, EXTEND) and window.budget not in lenient:
                limit, used = _figures(state, window, fields["t"], rolling)
                left = limit - used
                window.least_left = left if window.least_left is None else min(window.least_left, left)
                if used > limit:
                    state.overshoot += 1
                    what = f"kind {kind} admits {used} of {limit} in window {no} of {window.budget}"
                    _wrong(state, sequence, what)
                elif left < limit * kept.get(window.budget, 0) // 1000:
                    _wrong(
                        state, sequence, f"leaves {left} of {limit} of {window.budget}, and was to leave more"
                    )
            if history:
                _remember(state, sequence, window.budget, fields["t"], rolling)
    if kind in (HOLD, EXTEND, COMMIT, RELEASE, EXPIRE, CORRECT):
        _attempt(state, fields)
    elif kind == CHECKPOINT and fields["cp"][1] == fields["cp"][2]:
        _forget(state, sequence, fields["cp"][0])


def _forget(state: Replay, sequence: int, until: int) -> None:
    """What a checkpoint stands for is over; from here on nothing is about it, and its ids are free."""
    for key, attempt in [(key, a) for key, a in state.attempts.items() if a.sequence <= until]:
        if attempt.state == "open":
            _wrong(state, sequence, f"stands for {key}, which is open")
        del state.attempts[key]
    if state.begun_after <= until:
        state.begun_after = 0


def _figures(
    state: Replay, window: Window, now: int, rolling: Mapping[str, tuple[int, int]]
) -> tuple[int, int]:
    """The limit that a window has to keep, and what counts towards it.

    The limit of a rolling window is that of its newest bucket, also where an older hold is extended; a bucket that has
    left it adds to nothing any more, and keeps its own.
    """
    if window.budget not in rolling or window.start < _since(now, *rolling[window.budget]):
        return window.limit, window.used
    return state.by_budget[window.budget][-1].limit, _used(state, window, now, rolling)


def _since(now: int, length: int, buckets: int) -> int:
    """When the oldest bucket began that counts now."""
    return now // length * length - buckets * length


def _used(state: Replay, window: Window, now: int, rolling: Mapping[str, tuple[int, int]]) -> int:
    if window.budget not in rolling:
        return window.used
    since = _since(now, *rolling[window.budget])
    used = 0
    for other in reversed(state.by_budget[window.budget]):
        if other.start < since:
            break
        used += other.used
    return used


def _remember(
    state: Replay, sequence: int, budget: str, now: int, rolling: Mapping[str, tuple[int, int]]
) -> None:
    newest = state.by_budget[budget][-1]
    steps = state.history.setdefault(budget, Steps())
    steps.sequences.append(sequence)
    steps.left.append(newest.limit - _used(state, newest, now, rolling))


def _attempt(state: Replay, fields: dict[str, Any]) -> None:
    sequence, kind = fields["n"], fields["k"]
    key = (fields["r"], fields["a"])
    attempt = state.attempts.get(key)
    moved = {
        unit: (tuple(numbers), held, spent, overage) for unit, numbers, held, spent, overage in fields["l"]
    }
    if kind == HOLD:
        if attempt is not None:
            _wrong(state, sequence, f"holds for {key} twice")
        by_unit = {unit: (numbers, held) for unit, (numbers, held, _, _) in moved.items()}
        state.attempts[key] = Attempt(sequence, by_unit, fields["$"])
        if any(spent or overage for _, _, spent, overage in moved.values()):
            _wrong(state, sequence, "a hold spends")
        if MONEY in by_unit and by_unit[MONEY][1] != fields["$"]:
            _wrong(state, sequence, "holds another amount than it says")
        return
    if attempt is None:
        if not 0 < fields["h"] <= state.begun_after:
            _wrong(state, sequence, f"is about {key}, which holds nothing")
        return
    if kind == EXTEND:
        if attempt.state != "open":
            _wrong(state, sequence, f"extends {key}, which is {attempt.state}")
        attempt.amount += fields["$"]
        for unit, (numbers, held, _, _) in moved.items():
            before, amount = attempt.by_unit[unit]
            if before != numbers:
                _wrong(state, sequence, "extends in other windows than it holds in")
            attempt.by_unit[unit] = (before, amount + held)
        return
    if kind == CORRECT:
        if not attempt.unconfirmed:
            _wrong(state, sequence, f"corrects {key}, which is not unconfirmed")
        if fields["re"] != attempt.charged or fields["c"] != attempt.charged + fields["$"]:
            _wrong(state, sequence, "corrects another charge than there was")
        if MONEY in moved and sum(moved[MONEY][1:]) != fields["$"]:
            _wrong(state, sequence, "moves another amount than it says")
        attempt.charged, attempt.unconfirmed = fields["c"], False
        return
    if attempt.state != "open":
        _wrong(state, sequence, f"settles {key}, which is {attempt.state}")
    for unit, (numbers, held) in attempt.by_unit.items():
        if unit not in moved or moved[unit][0] != numbers or moved[unit][1] != -held:
            _wrong(state, sequence, f"gives back other than {held} of unit {unit}")
            continue
        _, _, spent, overage = moved[unit]
        if kind == RELEASE and (spent or overage):
            _wrong(state, sequence, "a release spends")
        if kind == EXPIRE and unit != CONCURRENCY and (spent != held or overage):
            _wrong(state, sequence, "silence is not charged in full")
        if kind == COMMIT and unit == MONEY and spent + overage != fields["$"]:
            _wrong(state, sequence, "charges another amount than it says")
    attempt.state = {COMMIT: "committed", RELEASE: "released", EXPIRE: "expired"}[kind]
    attempt.charged = 0 if kind == RELEASE else fields["$"]
    attempt.unconfirmed = bool(fields.get("un", 0))
