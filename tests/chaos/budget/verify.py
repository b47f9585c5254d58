"""Whether everything that routers were told is true of the ledger, and the ledger of itself."""

import bisect
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ledger_replay import Attempt, Replay, Steps, compare, replay


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
    entries: Iterable[tuple[int, bytes, bytes]],
    counters: Sequence[Mapping[str, int]],
    rolling: Mapping[str, tuple[int, int]],
) -> Verdict:
    """Replays the ledger, then holds every line of the logs against it. `entries` are gone through twice."""
    state = replay(entries, rolling=rolling, history=True)
    verdict = Verdict(entries=state.last_sequence, overshoot=state.overshoot, kinds=state.kinds)
    verdict.broken = [*state.problems, *compare(state, counters)]
    verdict.unconfirmed = sum(attempt.unconfirmed for attempt in state.attempts.values())
    verdict.open = sum(attempt.state == "open" for attempt in state.attempts.values())
    left = [w.least_left for w in state.windows.values() if w.unit == 1 and w.least_left is not None]
    verdict.tightest_left = min(left, default=None)
    gist = _Gist(state, entries)
    for log in logs:
        with log.open() as lines:
            for text in lines:
                if not text.rstrip().endswith("}"):
                    continue  # killed while it wrote
                line = json.loads(text)
                verdict.acknowledged[line["what"]] = verdict.acknowledged.get(line["what"], 0) + 1
                problem = _true(state, gist, line)
                if problem:
                    found = verdict.wrong_refusals if line["what"] == "refused" else verdict.lost
                    found.append(f"{log.name}: {line}: {problem}")
    return verdict


class _Gist:
    """What acknowledgements are held against, in columns by sequence; millions of bodies are too much to keep."""

    def __init__(self, state: Replay, entries: Iterable[tuple[int, bytes, bytes]]) -> None:
        self.about: list[Attempt | None] = [None]
        self.kinds, self.amounts, self.charged = array("b", [0]), array("q", [0]), array("q", [0])
        self.decided_at = array("q")
        for _, body, _ in entries:
            fields = json.loads(body)
            self.about.append(state.attempts.get((fields.get("r", ""), fields.get("a", 0))))
            self.kinds.append(fields["k"])
            self.amounts.append(fields.get("$", 0))
            self.charged.append(fields.get("c", 0))
            self.decided_at.append(fields["t"])

    def decided_until(self, at_us: int) -> int:
        """How many entries were decided by then: what was heard of at a moment was decided before it, by Postgres'
        clock, which is this machine's."""
        return bisect.bisect_right(self.decided_at, at_us)


def _true(state: Replay, gist: _Gist, line: Mapping[str, Any]) -> str:
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
        return _could_be_refused(state, line, gist.decided_until(line["at_us"]))
    if attempt is None:
        return "the ledger has no such hold"
    sequence = line["seq"]
    if not 0 < sequence < len(gist.about) or gist.about[sequence] is not attempt:
        return "its entry is not about it"
    if what == "hold" and (attempt.sequence != sequence or line["amount"] < line["asked"]):
        return "its hold is another"
    if what == "extend" and (gist.kinds[sequence] != 4 or gist.amounts[sequence] != line["added"]):
        return "its entry is another"
    if what == "commit":
        charged = gist.charged[sequence] if line["corrected"] else gist.amounts[sequence]
        if charged != line["charged"]:
            return f"the ledger charges {charged}"
        if not line["unconfirmed"] and attempt.charged != line["charged"]:
            return f"in the end {attempt.charged} was charged"
    if what == "release" and attempt.charged != 0:
        return f"in the end {attempt.charged} was charged"
    return ""


def _could_be_refused(state: Replay, line: Mapping[str, Any], ceiling: int) -> str:
    """Whether at some moment between asking and hearing each named budget had no room for it."""
    for budget, left, asked in line["shortfalls"]:
        steps = state.history.get(budget, Steps())
        first = max(0, bisect.bisect_right(steps.sequences, line["floor"]) - 1)
        last = bisect.bisect_right(steps.sequences, ceiling)
        if not any(step < asked for step in steps.left[first:last]):
            return f"{budget} had room for {asked} all the time (it was told {left})"
    return ""
