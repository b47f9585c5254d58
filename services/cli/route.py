"""`turnpike route`: train a prior from outcomes, predict with it, measure it; `route_promote.py` puts it in force."""

import gzip
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO

import click

from services.cli.prior_files import FILE, NEW_FILE, digest, judged_prior, read_prior, write_whole
from services.cli.route_explain import explain
from services.cli.route_promote import promote
from services.cli.route_report import measure, report_text
from services.cli.rows import read_outcomes, read_questions
from services.router.domain.learning.estimator import Estimator
from services.router.domain.learning.outcomes import OutcomeError
from services.router.domain.learning.prediction import predict as predictions_of
from services.router.domain.learning.prior import PriorError, to_bytes


@click.group()
def route() -> None:
    """Explain routes; learn which model is good at what, and measure it."""


route.add_command(explain)
route.add_command(promote)


@route.command()
@click.argument("outcomes", type=FILE)
@click.option("--out", required=True, type=NEW_FILE, help="The prior to write, at most 2 MB.")
@click.option("--seed", default=0, show_default=True, help="Of the random projections.")
def train(outcomes: Path, out: Path, seed: int) -> None:
    """Train a prior from recorded outcomes.

    OUTCOMES is JSON lines, gzipped or not: {id, prompt, task?, set?, arms: {model: [quality, cost]}}, quality in 0..1,
    cost in USD or null, in the order things happened. The prior holds no prompt. One that is trained on the earlier
    rows alone tells whether the quality floor is kept on the later ones, which `turnpike route promote` asks for.
    """
    started = time.monotonic()
    try:
        rows = read_outcomes(outcomes)
        prior, verdict = judged_prior(rows, seed=seed, version=digest(outcomes))
        size = write_whole(out, to_bytes(prior))
    except (OutcomeError, PriorError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    for reason in verdict.reasons:
        click.echo(("later rows: " if verdict.promoted else "not to be promoted: ") + reason, err=True)
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
    prediction is {id, q: {model: quality}, c: {model: USD}}. Qualities are bids: on a task that the prior does not know
    they hold a router to the best single model, and nothing changes at prices of money that leave a floor in doubt (see
    services/router/domain/learning/README.md).
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


def _writer(path: Path) -> IO[str]:
    return (
        gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8")
    )
