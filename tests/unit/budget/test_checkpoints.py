"""Which windows a checkpoint speaks of: all that something may still count in, hold in or put right."""

import json
from typing import Any

from services.budget.domain.checkpoints import Balance, begun_by
from services.budget.domain.entries import Kind
from services.budget.domain.windows import ROLLING_BUCKETS_MAX

MINUTE = 60_000_000
CUT = ROLLING_BUCKETS_MAX * MINUTE * 3


def balance(*entries: dict[str, Any]) -> Balance:
    made = Balance(rolling={"bud_2"})
    for sequence, fields in enumerate(entries, start=1):
        made.take({"n": sequence, "t": CUT, **fields}, b"h")
    return made


def window(number: int, start: int, end: int | None) -> list[Any]:
    return [number, f"bud_{number}", 1, start, end, 100, 0]


def held(key: str, *numbers: int) -> dict[str, Any]:
    return {"k": Kind.HOLD, "r": key, "a": 1, "l": [[1, list(numbers), 0, 0, 0]]}


def settled(key: str, *numbers: int) -> dict[str, Any]:
    return {"k": Kind.EXPIRE, "r": key, "a": 1, "l": [[1, list(numbers), 0, 5, 0]]}


OPENED = {
    "k": Kind.LIMIT,
    "w": [
        window(1, 0, MINUTE),
        window(2, CUT - MINUTE * ROLLING_BUCKETS_MAX, CUT - MINUTE * (ROLLING_BUCKETS_MAX - 1)),
        window(3, 0, CUT + 1),
        window(4, 0, None),
        window(5, 0, MINUTE),
        window(6, 0, MINUTE),
    ],
}


def said(of: Balance) -> set[int]:
    bodies = [
        f'{{"n":{n},"k":10,{fields}}}'.encode() for n, fields in enumerate(of.fields_of_checkpoint("org"), 1)
    ]
    return set(begun_by(bodies).windows)


def test_windows_that_are_over_for_good_are_left_out() -> None:
    assert said(balance(OPENED, held("r", 1, 5, 6), settled("r", 1, 5, 6))) == {2, 3, 4}


def test_a_window_stays_while_a_hold_is_open_in_it_though_it_holds_nothing() -> None:
    open_in_five = balance(OPENED, held("r", 5), held("s", 1), settled("s", 1))
    assert said(open_in_five) == {2, 3, 4, 5}
    bodies = [f'{{"n":9,"k":10,{fields}}}'.encode() for fields in open_in_five.fields_of_checkpoint("org")]
    later = begun_by(bodies)  # the next cut may lie before that hold's end, which is not told of by then
    later.take({"n": 10, "t": CUT + 1, "k": Kind.LIMIT}, b"h")
    assert 5 in said(later)
    later.take({"n": 11, "t": CUT + 1, **settled("r", 5)}, b"h")
    assert 5 not in said(later)


def test_a_window_stays_in_which_a_later_entry_puts_a_charge_right() -> None:
    of = balance(OPENED)
    of.righted.add(6)
    assert said(of) == {2, 3, 4, 6}


def test_a_checkpoint_does_not_grow_with_windows_that_are_over() -> None:
    windows = [window(number, number * MINUTE, (number + 1) * MINUTE) for number in range(1, 10_000)]
    many = balance({"k": Kind.LIMIT, "w": windows, "t": 10_000 * MINUTE})
    parts = many.fields_of_checkpoint("org")
    assert len(parts) == 1
    assert json.loads(f"{{{parts[0]}}}")["ws"] == []
