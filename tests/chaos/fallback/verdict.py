"""What a run of faults must have led to, and its figures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.books import Books, Wire
from tests.chaos.fallback.weather import VENDORS, Window, recoveries

ATTEMPTS_MAX = 8
RECOVERY_S_MAX = 10.0
HARD_SHARE_MIN = 0.5
"""Of the faults: stalls and truncations, the ones that no status tells."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long, how much, how many."""

    seconds: float = 150.0
    rate: float = 15.0
    """Requests a second, half of them streams."""
    seed: int = 1
    replicas: int = 2
    """Of router, providers and budget each."""


@dataclass(slots=True)
class Asked:
    """A request as its caller saw it."""

    request_id: str
    streamed: bool
    at_s: float
    """Since the load began."""
    took_s: float = 0.0
    model: str = ""
    said: str = ""
    deltas: int = 0
    ended: str = ""
    """`finished`, or the reason of its failure."""
    message: str = ""


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    options: Options
    asked: list[Asked]
    books: Books
    windows: Sequence[Window]
    spans: Mapping[str, int]
    """Spans of attempts by trace id."""
    began_at: float
    """Unix seconds at which the schedule began."""
    problems: list[str] = field(default_factory=list)
    recovered_s: list[float] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True if everything is as it must be."""
        return not self.problems

    def faults(self) -> Counter[str]:
        """Faults that requests met on the wire, by kind; a slow start is none, for it may still be waited for."""
        return Counter(call.fault for call in self.books.wire if call.fault != "none")

    def added_s(self) -> list[float]:
        """What their fallbacks added to requests that were answered after failed attempts, sorted."""
        found = []
        for decision in self.books.decisions.values():
            if len(decision.attempts) > 1 and not decision.attempts[-1].failure:
                last = decision.attempts[-1].started_at.ToNanoseconds()
                found.append((last - decision.attempts[0].started_at.ToNanoseconds()) / 1e9)
        return sorted(found)


def problems_of(outcome: Outcome) -> Iterator[str]:
    books = outcome.books
    by_request: dict[str, list[Wire]] = {}
    for call in books.wire:
        by_request.setdefault(call.request_id, []).append(call)
    for one in outcome.asked:
        yield from _of_request(one, by_request.get(one.request_id, []))
    for decision in books.decisions.values():
        if len(decision.attempts) > ATTEMPTS_MAX:
            yield f"{decision.request_id}: {len(decision.attempts)} attempts"
        if outcome.spans.get(decision.trace_id, 0) != len(decision.attempts):
            traced = outcome.spans.get(decision.trace_id, 0)
            yield f"{decision.request_id}: {traced} attempts in its trace, {len(decision.attempts)} in its decision"
    for call in books.wire:
        if call.model.partition("/")[0] not in VENDORS:
            yield f"{call.request_id}: {call.model} was called, which may not be or cannot"
    yield from books.problems()
    faults = outcome.faults()
    hard = faults["stall"] + faults["truncate"]
    if hard < HARD_SHARE_MIN * sum(faults.values()):
        yield f"stalls and truncations were {hard} of {sum(faults.values())} faults: another seed is needed"
    for seconds in outcome.recovered_s:
        if seconds > RECOVERY_S_MAX:
            yield f"a vendor that worked again was found after {seconds:.1f} s"


def _of_request(one: Asked, calls: Sequence[Wire]) -> Iterator[str]:
    """A request is served whole by one model, or its stream was cut after its first token and ended typed."""
    said = [call.answer for call in calls if call.model == one.model]
    if one.ended == "finished":
        if one.said not in said:
            yield f"{one.request_id}: what was said is not what {one.model} answered"
    elif one.ended == "STREAM_INTERRUPTED" and one.deltas:
        if not any(answer.startswith(one.said) for answer in said):
            yield f"{one.request_id}: what came before the end is not what {one.model} said"
        if not any(call.model == one.model and call.outcome == "broken" for call in calls):
            yield f"{one.request_id}: it was interrupted, and {one.model} did not break off"
    else:
        tried = ", ".join(f"{call.model.partition('/')[0]}: {call.fault}" for call in calls)
        yield f"{one.request_id} at {one.at_s:.1f} s, {one.took_s:.1f} s: {one.ended}, {one.message} ({tried})"


def recovered(outcome: Outcome) -> Iterator[float]:
    """Seconds from a vendor's recovery to its first whole answer, where no better one was there to be preferred."""
    for vendor, from_s, until_s in recoveries(outcome.windows):
        from_at = outcome.began_at + from_s
        answers = [
            call.arrived_at - from_at
            for call in outcome.books.wire
            if call.model == f"{vendor}/model" and call.outcome == "done" and call.arrived_at >= from_at
        ]
        first_s = min(answers, default=float("inf"))
        # It may be broken again before anybody had reason to look.
        if first_s < float("inf") or until_s - from_s > RECOVERY_S_MAX:
            yield first_s


def report(outcome: Outcome) -> str:
    """The figures, for people."""
    asked, books, options = outcome.asked, outcome.books, outcome.options
    ends = Counter(one.ended for one in asked)
    served = ends["finished"]
    cut = sum(one.ended == "STREAM_INTERRUPTED" and one.deltas > 0 for one in asked)
    faults = outcome.faults()
    hard = faults["stall"] + faults["truncate"]
    took, added = sorted(one.took_s for one in asked), outcome.added_s()
    attempts = Counter(len(decision.attempts) for decision in books.decisions.values())
    lines = [
        f"{options.seconds:.0f} s, {options.rate:g} requests a second, {options.replicas} replicas each of router, "
        f"providers and budget, seed {options.seed}",
        f"requests        {len(asked)}: {served} served, {cut} cut by the vendor after the first token and ended "
        f"typed, {len(asked) - served - cut} neither",
        f"faults met      {sum(faults.values())}: {', '.join(f'{n} {kind}' for kind, n in faults.most_common())}; "
        f"{hard / max(1, sum(faults.values())):.0%} stalls and truncations",
        f"attempts        {sum(n * count for n, count in attempts.items())}, at most {max(attempts, default=0)} a "
        f"request; {len(books.wire)} calls on the wire, {sum(outcome.spans.values())} spans, {len(books.holds)} holds",
        f"took            p50 {_at(took, 0.5):.2f} s, p99 {_at(took, 0.99):.2f} s",
        f"added by fallback, {len(added)} requests: p50 {_at(added, 0.5):.2f} s, p99 {_at(added, 0.99):.2f} s, "
        f"at most {_at(added, 1.0):.2f} s",
        f"recoveries      {len(outcome.recovered_s)}: found after {_at(sorted(outcome.recovered_s), 0.5):.1f} s in "
        f"the middle, {max(outcome.recovered_s, default=0.0):.1f} s at most",
        f"spent           ${books.spent_nanos / 1e9:.9f}",
    ]
    shown = 30
    lines += (f"PROBLEM: {problem}" for problem in outcome.problems[:shown])
    if len(outcome.problems) > shown:
        lines.append(f"PROBLEM: and {len(outcome.problems) - shown} more")
    return "\n".join(lines)


def _at(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0
