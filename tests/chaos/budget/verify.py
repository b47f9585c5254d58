"""Whether everything that routers were told is true of the ledger, and the ledger of itself."""

import bisect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ledger_replay import Replay, compare, replay


@dataclass
class Verdict:
    """What was found."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    """Acknowledgements that are not true."""
    broken: list[str] = field(default_factory=list)
    """What is wrong with the ledger and its totals."""
    overshoot: int = 0
    overshoot_nanos: int = 0
    wrong_refusals: list[str] = field(default_factory=list)
    unconfirmed: int = 0
    open: int = 0
    entries: int = 0
    kinds: dict[int, int] = field(default_factory=dict)
    tightest_left: int | None = None
    """How close any limited window came to its limit after an admission, in nano-USD."""

    @property
    def sound(self) -> bool:
        """Whether every money figure is as it must be."""
        return not (self.lost or self.broken or self.overshoot or self.wrong_refusals or self.open)


def verify(
    logs: Iterable[Path],
    entries: list[tuple[int, bytes, bytes]],
    counters: Sequence[Mapping[str, int]],
    rolling: Mapping[str, tuple[int, int]],
) -> Verdict:
    """Replays the ledger, then holds every line of the logs against it."""
    state = replay(entries, rolling=rolling, history=True)
    verdict = Verdict(entries=len(entries), overshoot=state.overshoot, kinds=state.kinds)
    verdict.broken = [*state.problems, *compare(state, counters)]
    verdict.unconfirmed = sum(attempt.unconfirmed for attempt in state.attempts.values())
    verdict.open = sum(attempt.state == "open" for attempt in state.attempts.values())
    left = [w.least_left for w in state.windows.values() if w.unit == 1 and w.least_left is not None]
    verdict.tightest_left = min(left, default=None)
    bodies = {sequence: _gist(body) for sequence, body, _ in entries}
    # What was heard of at a moment was decided before it: by Postgres' clock, which is this machine's.
    decided_at = [bodies[sequence]["t"] for sequence in sorted(bodies)]
    for log in logs:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        for line in lines:
            verdict.acknowledged[line["what"]] = verdict.acknowledged.get(line["what"], 0) + 1
            ceiling = bisect.bisect_right(decided_at, line["at_us"])
            problem = _true(state, bodies, line, ceiling)
            if problem:
                found = verdict.wrong_refusals if line["what"] == "refused" else verdict.lost
                found.append(f"{log.name}: {line}: {problem}")
    return verdict


def _gist(body: bytes) -> dict[str, Any]:
    """What acknowledgements are held against; the whole of a million bodies is too much to keep."""
    fields = json.loads(body)
    return {name: fields[name] for name in ("k", "r", "a", "$", "c", "t") if name in fields}


def _true(state: Replay, bodies: Mapping[int, Any], line: Mapping[str, Any], ceiling: int) -> str:
    """What is untrue about an acknowledgement; empty: nothing."""
    what = line["what"]
    key = (line.get("r", ""), line.get("a", 0))
    attempt = state.attempts.get(key)
    if what in ("gave_up", "abandoned", "renew", "not_released", "not_committed"):
        return ""
    if what == "refused":
        if (
            line["reason"] == "ERROR_REASON_HOLD_ALREADY_SETTLED"
        ):  # asked again so late that its lease had ended
            return "" if attempt is not None and attempt.state != "open" else "it was not settled"
        if attempt is not None:
            return "it was refused and is in the ledger"
        return _could_be_refused(state, line, ceiling)
    if attempt is None:
        return "the ledger has no such hold"
    entry = bodies.get(line["seq"])
    if entry is None or (entry.get("r"), entry.get("a")) != key:
        return "its entry is not about it"
    if what == "hold" and (attempt.sequence != line["seq"] or line["amount"] < line["asked"]):
        return "its hold is another"
    if what == "extend" and (entry["k"] != 4 or entry["$"] != line["added"]):
        return "its entry is another"
    if what == "commit":
        charged = entry["c"] if line["corrected"] else entry["$"]
        if charged != line["charged"]:
            return f"the ledger charges {charged}"
        if not line["unconfirmed"] and attempt.charged != line["charged"]:
            return f"in the end {attempt.charged} was charged"
    if what == "release" and attempt.charged != 0:
        return f"in the end {attempt.charged} was charged"
    return ""


def _sequence(step: tuple[int, int]) -> int:
    return step[0]


def _could_be_refused(state: Replay, line: Mapping[str, Any], ceiling: int) -> str:
    """Whether at some moment between asking and hearing each named budget had no room for it."""
    for budget, left, asked in line["shortfalls"]:
        steps = state.history.get(budget, [])
        first = max(0, bisect.bisect_right(steps, line["floor"], key=_sequence) - 1)
        last = bisect.bisect_right(steps, ceiling, key=_sequence)
        if not any(step < asked for _, step in steps[first:last]):
            return f"{budget} had room for {asked} all the time (it was told {left})"
    return ""
