"""`make bench-routing`: everything routing promises about quality and the cost of deciding, measured in one run.

Without options it takes some ten minutes on one core; `--quick` leaves out the shuffled labels and further seeds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from bench.routing.drift import LOST, simulate
from bench.routing.sources import DATA, held_out_prompts, outcomes
from bench.routing.unseen import left_out
from services.cli.route_report import measure, report_text, split
from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.evaluation import Report
from services.router.domain.learning.outcomes import Outcome
from services.router.domain.learning.prior import from_bytes
from services.router.domain.learning.text import text_features
from services.router.domain.learning.training import train
from services.router.domain.task_belief import UNKNOWN, TaskClassifier, likeliest

NULL_ROUNDS = 20
SEEDS = 3
CANDIDATES = 20
REPEATS = 400


def main() -> None:
    """Prints every figure with its controls."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rows = outcomes()
    natural()
    cost_of_deciding(rows)
    print(f"\n== Held-out rows, seed 0, tasks declared ({len(rows)} rows in all)\n")
    print(report_text(measure(rows, seed=0, rounds=0 if quick else NULL_ROUNDS, declared=True)))
    if not quick:
        several_seeds(rows)
    print(
        f"\n== Unseen tasks, declared by names the prior never saw ({'1 seed' if quick else f'{SEEDS} seeds'})"
    )
    for seed in range(1 if quick else SEEDS):
        print(f"seed {seed}")
        unseen_lines(left_out(rows, seed, declared=True))
    print("\n== Unseen tasks, undeclared: found out from the text, seed 0")
    unseen_lines(left_out(rows, 0, declared=False))
    print(f"\n== Drift: the best single model loses {LOST} of quality unannounced")
    train_rows, dev, test = split(rows, 0)
    prior = train(train_rows)
    for seed in range(SEEDS):
        found = simulate(prior, [*dev, *test], seed)
        print(
            f"seed {seed}: learning {found.learning:.3f} (second half {found.late:.3f}), static table "
            f"{found.static:.3f}, best single model in hindsight {found.best:.3f}, explored {found.explored:.1%}, "
            f"{found.rows} requests"
        )


def natural() -> None:
    """The task classifier on prompts written apart from its training prompts."""
    classifier = TaskClassifier.from_bytes((DATA / "tasks.npz").read_bytes())
    examples = held_out_prompts()
    said = [likeliest(classifier.classify(example.text)) for example in examples]
    real = [(e.task, task) for e, task in zip(examples, said, strict=True) if e.task != UNKNOWN]
    answered = [(truth, task) for truth, task in real if task != UNKNOWN]
    noise = [task for e, task in zip(examples, said, strict=True) if e.task == UNKNOWN]
    print("== Natural prompts, written apart from the training prompts")
    print(
        f"{len(real)} prompts: unknown {1 - len(answered) / len(real):.1%}, right of those answered "
        f"{np.mean([truth == task for truth, task in answered]):.1%}; "
        f"{noise.count(UNKNOWN)} of {len(noise)} meaningless ones called unknown"
    )


def cost_of_deciding(rows: list[Outcome]) -> None:
    """CPU of the pure parts, and loading; processor time, for others may be using the machine."""
    started = time.process_time()
    prior = from_bytes((DATA / "prior.npz").read_bytes())
    loading = time.process_time() - started
    classifier = TaskClassifier.from_bytes((DATA / "tasks.npz").read_bytes())
    estimator = Estimator(prior)
    models = prior.arms.name[:8] + tuple(f"vendor/other-{size}b" for size in range(1, CANDIDATES - 7))
    print(f"\n== Cost of deciding, processor time on one core (loading the prior: {loading * 1e3:.1f} ms)")
    texts = [row.prompt for row in rows if len(row.prompt) > 300][:200]
    long = "\n".join(row.prompt for row in rows[:400])[: 20_000 * 8]
    for size, samples in (
        (300, [text[:300] for text in texts]),
        (20_000, [long[start : start + 20_000] for start in range(0, 8 * 20_000, 20_000)]),
    ):
        beliefs = [classifier.classify(text) for text in samples]
        features = [text_features(text) for text in samples]
        steps: dict[str, Callable[[int], object]] = {
            "text features": lambda at, samples=samples: text_features(samples[at]),  # type: ignore[misc]
            "task belief": lambda at, samples=samples: classifier.classify(samples[at]),  # type: ignore[misc]
            f"estimate of {CANDIDATES}": lambda at, beliefs=beliefs, features=features: estimator.estimate(  # type: ignore[misc]
                beliefs[at], features[at], models
            ),
        }
        for name, step in steps.items():
            taken = []
            for repeat in range(REPEATS):
                started = time.process_time()
                step(repeat % len(samples))
                taken.append((time.process_time() - started) * 1e6)
            print(
                f"{size:>6} characters  {name:15}  p50 {statistics.median(taken):6.1f} µs  "
                f"p99 {float(np.percentile(taken, 99)):6.1f} µs"
            )


def several_seeds(rows: list[Outcome]) -> None:
    """The spread over splits: one split's figure is not a fact."""
    gaps: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        for report, _ in measure(rows, seed=seed, rounds=0, declared=True):
            value = report.gap if report.gap is not None else report.apgr
            if value is not None:
                gaps.setdefault(report.context, []).append(value)
    print(f"\n== Spread over {SEEDS} splits (gap closed, or APGR)")
    for context, values in gaps.items():
        print(f"{context}: mean {np.mean(values):.3f}, {min(values):.3f} to {max(values):.3f}")


def unseen_lines(reports: list[Report]) -> None:
    """Floor and gap per set on unseen tasks."""
    for report in reports:
        if report.gap is None:
            continue
        kept = report.frozen[0.98]
        floor = "no price keeps it" if kept is None else f"{kept.ratio:.3f}, saved {kept.saved:.0%}"
        print(f"  {report.context:20} gap {report.gap:6.1%}  98 % floor {floor}  ({report.rows} rows)")


if __name__ == "__main__":
    main()
