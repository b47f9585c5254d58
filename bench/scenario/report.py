"""The scenario's outcome as a table that a person understands at once."""

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.scenario.acts import FOLDER
from bench.scenario.applications import APPLICATIONS, Answered, Application
from bench.scenario.run import Played
from bench.scenario.vendors import NEW
from turnpike.router.v1 import decision_pb2

WIDTH = 25
LABEL = 18
SHARE_SHOWN_MIN = 0.02


def report(played: Played) -> str:
    """All of it."""
    lines = ["", _line("", [phase.title for phase in played.phases])]
    for application in APPLICATIONS:
        lines += ["", _policy(application)]
        columns = [played.of(application.name, phase) for phase in played.phases]
        lines += [_line(f"  {name}", [cell(column) for column in columns]) for name, cell in ROWS]
        depth = max(len(_shares(column)) for column in columns)
        for row in range(depth):
            cells = [dict(enumerate(_shares(column))).get(row, "") for column in columns]
            lines.append(_line("  went to" if row == 0 else "", cells))
    lines += ["", *_reasons(played), "", *_books(played)]
    return "\n".join(lines)


def _policy(application: Application) -> str:
    """What its policy says of itself, in the document's first line."""
    document = (FOLDER / "policies" / f"{application.name}.yaml").read_text(encoding="utf-8")
    return document.splitlines()[0].removeprefix("# ")


def _line(label: str, cells: Sequence[str]) -> str:
    return (label.ljust(LABEL) + "".join(cell.ljust(WIDTH) for cell in cells)).rstrip()


def _served(column: Sequence[Answered]) -> str:
    return f"{sum(not one.failure for one in column)} of {len(column)}"


def _cost(column: Sequence[Answered]) -> str:
    good = [one.cost_nanos for one in column if not one.failure]
    return f"${sum(good) / len(good) / 1e6:.2f}" if good else "-"


def _latency(column: Sequence[Answered]) -> str:
    found = sorted(one.duration_s for one in column if not one.failure)
    return f"{_at(found, 0.5):.2f} / {_at(found, 0.99):.2f} s" if found else "-"


def _first_token(column: Sequence[Answered]) -> str:
    found = sorted(one.ttft_s for one in column if one.ttft_s is not None)
    return f"{_at(found, 0.5):.2f} / {_at(found, 0.99):.2f} s" if found else "-"


def _quality(column: Sequence[Answered]) -> str:
    grades = [one.grade for one in column if one.grade is not None]
    return f"{sum(grades) / len(grades):.3f}" if grades else "-"


ROWS = (
    ("served", _served),
    ("cost of 1,000", _cost),
    ("whole, p50/p99", _latency),
    ("first, p50/p99", _first_token),
    ("quality", _quality),
)


def _at(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def _shares(column: Sequence[Answered]) -> list[str]:
    models = Counter(one.model for one in column if one.model)
    return [
        f"{count / len(column):4.0%} {model}"
        for model, count in models.most_common()
        if count >= SHARE_SHOWN_MIN * len(column)
    ]


def _reasons(played: Played) -> Iterable[str]:
    """Why the traffic of each application went where it went, wherever that changed, or a new model did not get it."""
    for application in APPLICATIONS:
        before = ""
        for phase in played.phases:
            decision = played.why.get((application.name, phase.title))
            if decision is None:
                continue
            chosen = decision.plan[0]
            others = [before] if before not in ("", chosen) else []
            if NEW in phase.title and chosen != NEW:
                others.append(NEW)
            if others or not before:
                yield f"{application.title}, {phase.title}:"
                yield f"    {decision.reason}"
                yield from (f"    not {other}: {_why_not(decision, other)}" for other in others)
            before = chosen


def _why_not(decision: decision_pb2.Decision, model: str) -> str:
    table = decision.candidate_table
    row = list(table.models).index(model)
    if table.excluded_reasons and table.excluded_reasons[row]:  # the column is left out where nobody is
        return table.excluded_reasons[row]
    return f"${table.cost_nanos[row] / 1e9:.2g} expected, quality {table.quality[row]:.2f}"


def _books(played: Played) -> Iterable[str]:
    books = played.books
    assert books is not None
    failed = sum(bool(one.failure) for one in played.answered)
    attempts = sum(1 for _ in books.attempts())
    yield (
        f"{len(played.answered)} requests, {failed} failed; {attempts} attempts, each once in the ledger, in a "
        f"decision and, where it was sent, on the wire ({len(books.wire)} calls)"
    )
    yield f"spent ${books.spent_nanos / 1e9:.9f} in the ledger, the same to the nano in decisions and answers"
    if played.recovery_s is not None:
        first_s, as_before_s = played.recovery_s
        yield (
            f"the vendor that was down served somebody {first_s:.1f} s after it worked again, "
            f"and as before after {as_before_s:.1f} s"
        )
    for what, seconds in played.in_force_s.items():
        yield f"{what}: in force on every router {seconds:.2f} s after the last call that put them there"
    if played.adopted_s is not None:
        yield f"the new model had most of its application's requests {played.adopted_s:.1f} s later"
    shown = 20
    yield from (f"PROBLEM: {problem}" for problem in played.problems[:shown])
    if len(played.problems) > shown:
        yield f"PROBLEM: and {len(played.problems) - shown} more"
