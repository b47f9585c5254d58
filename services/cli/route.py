"""`turnpike route`: train a prior from outcomes, predict with it, measure it, promote it."""

import gzip
import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO

import click

from services.cli.route_explain import explain
from services.cli.route_report import measure, report_text
from services.cli.rows import read_outcomes, read_questions
from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.outcomes import OutcomeError
from services.router.domain.learning.prediction import predict as predictions_of
from services.router.domain.learning.prior import Prior, PriorError, from_bytes, to_bytes
from services.router.domain.learning.promotion import FLOOR, judge, time_split
from services.router.domain.learning.training import train as train_prior

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
VERSION_DIGITS = 12  # of the SHA-256 of the training file: enough to tell priors apart in a decision record.


@click.group()
def route() -> None:
    """Explain routes; learn which model is good at what, and measure it."""


route.add_command(explain)


@route.command()
@click.argument("outcomes", type=FILE)
@click.option("--out", required=True, type=NEW_FILE, help="The prior to write, at most 2 MB.")
@click.option("--seed", default=0, show_default=True, help="Of the random projections.")
def train(outcomes: Path, out: Path, seed: int) -> None:
    """Train a prior from recorded outcomes.

    OUTCOMES is JSON lines, gzipped or not: {id, prompt, task?, set?, arms: {model: [quality, cost]}}, quality in 0..1,
    cost in USD or null. The prior holds no prompt.
    """
    started = time.monotonic()
    try:
        rows = read_outcomes(outcomes)
        prior = train_prior(rows, seed=seed, provenance={"version": _digest(outcomes)})
        size = write_whole(out, to_bytes(prior))
    except (OutcomeError, PriorError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    click.echo(
        f"{len(rows)} rows, {len(prior.tasks)} tasks, {len(prior.arms.name)} models in their sets: "
        f"{out}, {size:,} bytes, {time.monotonic() - started:.1f} s",
        err=True,
    )


@route.command()
@click.argument("rows", type=FILE)
@click.option("--prior", "prior_file", required=True, type=FILE, help="What `route train` wrote.")
@click.option("--out", required=True, type=NEW_FILE, help="Predictions to write, gzipped if it ends in .gz.")
def predict(rows: Path, prior_file: Path, out: Path) -> None:
    """Predict quality and cost of models for prompts.

    ROWS is JSON lines {id, prompt, task?, arms: [model, …] or {model: …}}; of arms only the names are read. Each
    prediction is {id, q: {model: quality}, c: {model: USD}}. On a task that the prior does not know, qualities are bids
    that hold a router to the best single model (see services/router/domain/learning/README.md).
    """
    try:
        estimator = Estimator(read_prior(prior_file))
        count = 0
        with _writer(out) as file:
            for prediction in predictions_of(estimator, read_questions(rows)):
                file.write(json.dumps(prediction, ensure_ascii=False) + "\n")
                count += 1
    except (OutcomeError, PriorError) as problem:
        raise click.ClickException(str(problem)) from problem
    click.echo(f"{count} predictions: {out}", err=True)


@route.command()
@click.argument("outcomes", type=FILE)
@click.option("--seed", default=0, show_default=True, help="Of the split, the training and the intervals.")
@click.option("--null", "rounds", default=20, show_default=True, help="Rounds with shuffled labels.")
@click.option("--undeclared", is_flag=True, help="Hide the rows' tasks from prediction.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per set on standard output.")
def evaluate(outcomes: Path, seed: int, rounds: int, undeclared: bool, as_json: bool) -> None:
    """Train on a part of OUTCOMES and measure on the rest, per set, beside every control.

    Rows with the same prompt stay on one side of the split: 60 % train, 15 % freeze the price of money, 25 % measure.
    """
    try:
        measured = measure(read_outcomes(outcomes), seed=seed, rounds=rounds, declared=not undeclared)
    except (OutcomeError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    if as_json:
        for report, null in measured:
            click.echo(json.dumps({**asdict(report), "null": null}))
    else:
        click.echo(report_text(measured))


@route.command()
@click.argument("outcomes", type=FILE)
@click.option("--out", required=True, type=NEW_FILE, help="The prior to write if it may be used.")
@click.option("--floor", default=FLOOR, show_default=True, type=click.FloatRange(0, 1))
@click.option("--seed", default=0, show_default=True)
def promote(outcomes: Path, out: Path, floor: float, seed: int) -> None:
    """Train a prior and write it only if it keeps the quality floor on later rows.

    OUTCOMES is in the order things happened. A prior trained on the earlier rows is judged on the later ones; if it
    passes, one trained on all of them is written, else nothing is and the command fails.
    """
    try:
        rows = read_outcomes(outcomes)
        learn, freeze, later = time_split(rows)
        verdict = judge(train_prior(learn, seed=seed), freeze, later, floor=floor)
        for reason in verdict.reasons:
            click.echo(reason, err=True)
        if not verdict.promoted:
            raise click.ClickException(f"not promoted: the floor of {floor:.0%} is not kept on later rows")
        write_whole(out, to_bytes(train_prior(rows, seed=seed, provenance={"version": _digest(outcomes)})))
    except (OutcomeError, PriorError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    click.echo(f"promoted: {out}", err=True)


def read_prior(path: Path) -> Prior:
    """The prior in a file; PriorError if there is none in it."""
    return from_bytes(path.read_bytes())


def write_whole(path: Path, content: bytes) -> int:
    """Writes a file whole or not at all; returns its bytes."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
    return len(content)


def _writer(path: Path) -> IO[str]:
    return (
        gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8")
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:VERSION_DIGITS]
