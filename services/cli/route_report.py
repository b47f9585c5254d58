"""Measures routing on a split of outcomes and lays the figures out, each beside its controls."""

import zlib
from collections.abc import Sequence

from rich.table import Table

from services.router.domain.learning.encoder import Coordinates
from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.evaluation import (
    Predicted,
    Report,
    evaluate,
    predicted,
    shuffled,
    shuffled_null,
)
from services.router.domain.learning.outcomes import Outcome, normal
from services.router.domain.learning.training import fit, prepare

TRAIN_SHARE = 0.60
DEV_SHARE = 0.15

Null = tuple[float, float] | None


def split(outcomes: Sequence[Outcome], seed: int) -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
    """Train, dev and test; the same prompt, spaces and case aside, is always on one side."""
    parts: tuple[list[Outcome], list[Outcome], list[Outcome]] = ([], [], [])
    for outcome in outcomes:
        share = zlib.crc32(f"{seed}:{normal(outcome.prompt)}".encode("utf-8", "surrogatepass")) / 2**32
        parts[0 if share < TRAIN_SHARE else 1 if share < TRAIN_SHARE + DEV_SHARE else 2].append(outcome)
    return parts


def measure(
    outcomes: Sequence[Outcome], *, seed: int, rounds: int, declared: bool
) -> list[tuple[Report, Null]]:
    """Trains on a part and measures on the rest; with the null of shuffled labels per set."""
    train, dev, test = split(outcomes, seed)
    prepared = prepare(train, seed=seed)
    read: dict[str, tuple[Coordinates, float]] = {}
    said = predicted(Estimator(fit(prepared, train, {})), [*dev, *test], declared=declared, read=read)

    def refit(round_seed: int) -> Predicted:
        dealt = fit(prepared, shuffled(train, round_seed), {})
        return predicted(Estimator(dealt), test, declared=declared, read=read)

    null = shuffled_null(test, refit, rounds)
    return [(report, null.get(report.context)) for report in evaluate(train, dev, test, said, seed=seed)]


def report_table(measured: Sequence[tuple[Report, Null]]) -> Table:
    """One line per set. A dash: the set cannot tell (no costs, more than two models)."""
    table = Table(title="Routing on held-out rows", caption=CAPTION, caption_justify="left")
    for name in (
        "set",
        "rows",
        "models",
        "gap closed",
        "null (p95)",
        "task table",
        "98 % floor",
        "100 % floor",
    ):
        table.add_column(name, justify="left" if name == "set" else "right", no_wrap=True)
    for name in ("APGR", "calibration"):
        table.add_column(name, justify="right", no_wrap=True)
    for report, null in measured:
        priced = report.gap is not None
        shuffled_gap = "-"
        if null is not None:
            shuffled_gap = f"{null[0]:.1%} ({null[1]:.1%})" if priced else f"{null[0]:.3f} ({null[1]:.3f})"
        table.add_row(
            report.context or "(none)",
            str(report.rows),
            str(report.models),
            _with_interval(report.gap, report.gap_interval, percent=True),
            shuffled_gap,
            "-" if report.gap_by_task is None else f"{report.gap_by_task:.1%}",
            _kept(report, 0.98),
            _kept(report, 1.0),
            _with_interval(report.apgr, report.apgr_interval, percent=False)
            + ("" if report.apgr_by_task is None else f" task {report.apgr_by_task:.3f}"),
            f"{report.calibration:.3f}",
        )
    return table


CAPTION = """\
gap closed: 0 is the best mix of models that reads no prompt (zero router), 100 % the oracle; [95 % interval].
null: the same with shuffled labels, mean and 95th percentile. task table: a router that is told the true task.
floors: quality kept of the best single model's, cost saved, and the quality of the same calls dealt at random,
with the price of money frozen on other rows. calibration: mean distance of expected and found quality."""


def _kept(report: Report, floor: float) -> str:
    kept = report.frozen.get(floor)
    return "-" if kept is None else f"{kept.ratio:.3f} saved {kept.saved:.0%} (random {kept.matched:.3f})"


def _with_interval(value: float | None, interval: tuple[float, float] | None, *, percent: bool) -> str:
    if value is None or interval is None:
        return "-"
    form = "{:.1%}" if percent else "{:.3f}"
    return f"{form.format(value)} [{form.format(interval[0])}, {form.format(interval[1])}]"
