"""What an evaluation found, model beside model: quality with its interval, cost, latency, and the gap to the first."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from services.cli.eval_prompts import EvalPrompt
from services.cli.eval_run import Evaluation, Result
from services.cli.words import dollars

RESAMPLES: Final = 2_000
"""Of the bootstrap: its own noise is then far below the interval's width."""

NINETY_FIVE: Final = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it lies with 95 % confidence, by resampling prompts."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model's line."""

    model: str
    answered: int
    failed: int
    quality: Interval | None
    """None: nothing was answered."""
    against_first: Interval | None
    """Quality less the first model's, over the prompts that both answered. None: it is the first, or none."""
    nanos_per_prompt: float | None
    duration_s_p50: float | None
    duration_s_p99: float | None
    ttft_s_p50: float | None
    by_task: Mapping[str, float]
    """Mean quality by task."""
    failures: Mapping[str, int]


def report_of(evaluation: Evaluation, *, seed: int = 0) -> list[ModelReport]:
    """The lines, in the order the models were given."""
    draws = np.random.default_rng(seed)
    return [
        _of_model(evaluation, model, evaluation.models[0] if place else "", draws)
        for place, model in enumerate(evaluation.models)
    ]


def _of_model(evaluation: Evaluation, model: str, first: str, draws: np.random.Generator) -> ModelReport:
    results = [result for (_, name), result in evaluation.done.items() if name == model]
    good = {result.id: result for result in results if result.quality is not None}
    rivals = {
        result.id: result
        for (_, name), result in evaluation.done.items()
        if name == first and result.quality is not None
    }
    both = [(good[id_].quality or 0.0) - (rivals[id_].quality or 0.0) for id_ in good if id_ in rivals]
    durations = sorted(result.duration_s for result in good.values() if result.duration_s is not None)
    firsts = sorted(result.ttft_s for result in good.values() if result.ttft_s is not None)
    failures: dict[str, int] = {}
    for result in results:
        if result.failure:
            failures[result.failure] = failures.get(result.failure, 0) + 1
    return ModelReport(
        model,
        len(good),
        len(results) - len(good),
        _interval([result.quality or 0.0 for result in good.values()], draws),
        _interval(both, draws) if first else None,
        sum(result.cost_nanos for result in results) / len(results) if results else None,
        _at(durations, 0.5),
        _at(durations, 0.99),
        _at(firsts, 0.5),
        _by_task(evaluation.prompts, good),
        failures,
    )


def _interval(values: Sequence[float], draws: np.random.Generator) -> Interval | None:
    if not values:
        return None
    sample = np.asarray(values)
    means = draws.choice(sample, (RESAMPLES, len(sample))).mean(axis=1)
    low, high = np.percentile(means, NINETY_FIVE)
    return Interval(float(sample.mean()), float(low), float(high))


def _at(values: Sequence[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(len(values) * share))] if values else None


def _by_task(prompts: Sequence[EvalPrompt], good: Mapping[str, Result]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for prompt in prompts:
        if prompt.task and prompt.id in good:
            found.setdefault(prompt.task, []).append(good[prompt.id].quality or 0.0)
    return {task: sum(values) / len(values) for task, values in sorted(found.items())}


def as_data(evaluation: Evaluation, reports: Sequence[ModelReport]) -> dict[str, object]:
    """All of it for programs."""
    return {
        "prompts": len(evaluation.prompts),
        "spent_nanos": evaluation.purse.spent,
        "budget_nanos": evaluation.purse.limit,
        "budget_used_up": evaluation.used_up,
        "models": [asdict(report) for report in reports],
    }


def as_text(evaluation: Evaluation, reports: Sequence[ModelReport]) -> str:
    """All of it for people."""
    width = max(len(report.model) for report in reports) + 2
    lines = [
        f"{'':{width}}{'answered':>9}  {'quality':<22}{'against the first':<24}{'of 1,000':>10}"
        f"{'p50':>9}{'p99':>9}{'first':>9}"
    ]
    for report in reports:
        cost = f"${report.nanos_per_prompt / 1e6:.4f}" if report.nanos_per_prompt is not None else "-"
        lines.append(
            f"{report.model:{width}}{f'{report.answered}/{report.answered + report.failed}':>9}  "
            f"{_quality(report.quality):<22}{_gap(report.against_first):<24}{cost:>10}"
            f"{_seconds(report.duration_s_p50):>9}{_seconds(report.duration_s_p99):>9}"
            f"{_seconds(report.ttft_s_p50):>9}"
        )
    for report in reports:
        lines += (f"  {report.model}: {count} x {failure}" for failure, count in report.failures.items())
    tasks = sorted({task for report in reports for task in report.by_task})
    if len(tasks) > 1:
        lines += ["", f"{'quality by task':{width}}" + "".join(f"{task:>20}" for task in tasks)]
        for report in reports:
            cells = (f"{report.by_task[task]:.3f}" if task in report.by_task else "-" for task in tasks)
            lines.append(f"{report.model:{width}}" + "".join(f"{cell:>20}" for cell in cells))
    left = len(evaluation.prompts) * len(evaluation.models) - len(evaluation.done)
    lines.append("")
    judging = sum(result.judge_nanos for result in evaluation.done.values())
    lines.append(
        f"spent {dollars(evaluation.purse.spent)} of {dollars(evaluation.purse.limit)}"
        + (f", {dollars(judging)} of it for the judge" if judging else "")
    )
    if evaluation.used_up:
        lines.append(f"stopped: the next call no longer fits the budget; {left} answers are left to ask for")
    return "\n".join(lines)


def _quality(found: Interval | None) -> str:
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]" if found is not None else "-"


def _gap(found: Interval | None) -> str:
    if found is None:
        return ""
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _seconds(value: float | None) -> str:
    return f"{value:.2f} s" if value is not None else "-"


def outcome_rows(evaluation: Evaluation, context: str) -> list[dict[str, object]]:
    """Rows that `turnpike route train` reads: prompt, and by model its quality and cost in dollars."""
    rows: list[dict[str, object]] = []
    for prompt in evaluation.prompts:
        arms = {
            model: [result.quality, result.cost_nanos / 1e9]
            for model in evaluation.models
            if (result := evaluation.done.get((prompt.id, model))) is not None and result.quality is not None
        }
        if arms:
            row: dict[str, object] = {"id": prompt.id, "prompt": prompt.prompt, "set": context, "arms": arms}
            rows.append(row | ({"task": prompt.task} if prompt.task else {}))
    return rows
