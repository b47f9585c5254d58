"""Measures routing on a split of outcomes and lays the figures out, each beside its controls."""

import zlib
from collections.abc import Sequence

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


def report_text(measured: Sequence[tuple[Report, Null]]) -> str:
    """A paragraph per set, readable at any width; what a set cannot tell (no costs, say) is left out."""
    parts = []
    for report, null in measured:
        lines = [f"{report.context or '(no set)'}: {report.rows} rows, {report.models} models"]
        if report.gap is not None and report.gap_interval is not None:
            low, high = report.gap_interval
            lines.append(f"  gap closed          {report.gap:7.1%}  [{low:.1%}, {high:.1%}]")
            if null is not None:
                lines.append(f"    shuffled labels   {null[0]:7.1%}  95th percentile {null[1]:.1%}")
            if report.gap_by_task is not None:
                lines.append(f"    true-task table   {report.gap_by_task:7.1%}")
            lines.append(
                f"    AIQ               {report.routed:.4f}  zero router {report.zero:.4f}, oracle {report.oracle:.4f}"
            )
        for floor, kept in report.frozen.items():
            kept_text = "cannot be kept"
            if kept is not None:
                dealt = f"same calls dealt at random {kept.matched:.3f}"
                kept_text = f"{kept.ratio:7.3f}  saved {kept.saved:.1%}; {dealt}"
            lines.append(f"  frozen {floor:.0%} floor".ljust(22) + kept_text)
        if report.apgr is not None and report.apgr_interval is not None:
            low, high = report.apgr_interval
            lines.append(f"  APGR                {report.apgr:7.3f}  [{low:.3f}, {high:.3f}]")
            if null is not None and report.gap is None:
                lines.append(f"    shuffled labels   {null[0]:7.3f}  95th percentile {null[1]:.3f}")
            if report.apgr_by_task is not None:
                lines.append(f"    true-task table   {report.apgr_by_task:7.3f}")
        lines.append(f"  calibration error   {report.calibration:7.3f}")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, LEGEND])


LEGEND = """\
gap closed: 0 is the best mix of models that reads no prompt (zero router), 100 % the oracle; [95 % interval].
shuffled labels: the same trained on outcomes dealt to other prompts; the mean of the rounds.
true-task table: a router that is told each prompt's true task, and nothing else.
frozen floors: share kept of the best single model's quality, with the price of money frozen on other rows.
calibration error: mean distance of expected and found quality, over tenths of the expectation."""
