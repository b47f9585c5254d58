"""`turnpike eval`: a customer's own prompts over candidate models, before anything is moved to them."""

import asyncio
import json
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from services.chassis.channel import connect
from services.cli.eval_prompts import EvalPrompt, read_prompts
from services.cli.eval_report import as_data, as_text, outcome_rows, report_of
from services.cli.eval_run import Evaluation, Purse
from services.cli.reach import reach_router
from services.cli.words import NANOS_PER_DOLLAR
from services.kernel.errors import TurnpikeError
from services.router.domain.learning.outcomes import OutcomeError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
NANOS_MAX = 2**63
"""Amounts on the wire are 64 bits."""


def _nanos(context: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        nanos = Decimal(value.removeprefix("$")) * NANOS_PER_DOLLAR
        fits = 0 < nanos < NANOS_MAX and nanos == nanos.to_integral_value()
    except InvalidOperation:  # not a number, also the one that is called NaN
        fits = False
    if not fits:
        raise click.BadParameter(f"{value} is no amount in dollars above 0 with at most nine decimals")
    return int(nanos)


@click.command("eval")
@click.argument("prompts", type=FILE)
@click.option(
    "--model", "models", multiple=True, required=True, help="Candidate; the first is compared with."
)
@click.option("--budget", callback=_nanos, required=True, help="Most it may cost in all, in dollars.")
@click.option(
    "--results", type=NEW_FILE, help="Where answers are written, and taken up again.  [PROMPTS.results]"
)
@click.option("--judge", default="", help='Model that grades where a check says "judge".')
@click.option("--outcomes", type=NEW_FILE, help="Write what `turnpike route train` learns from.")
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 64))
@click.option("--timeout-s", default=120.0, show_default=True, help="Longest wait for one answer.")
@click.option(
    "--feedback/--no-feedback", default=True, help="Let the router's estimates learn.  [default: feedback]"
)
@click.option("--json", "as_json", is_flag=True, help="The comparison as one JSON object.")
@click.option("--address", envvar="TURNPIKE_ADDRESS", help="Router to ask.  [default: the local stack's]")
@click.option("--key", envvar="TURNPIKE_KEY", help="Key to ask with.  [default: the demo's]")
def evaluate(
    prompts: Path,
    models: tuple[str, ...],
    budget: int,
    results: Path | None,
    judge: str,
    outcomes: Path | None,
    concurrency: int,
    timeout_s: float,
    feedback: bool,
    as_json: bool,
    address: str | None,
    key: str | None,
) -> None:
    """Ask PROMPTS of every model, check the answers, and compare quality, cost and latency.

    PROMPTS is JSON lines {id, prompt, system?, task?, max_output_tokens?, checks: [{exact | contains | regex |
    json_schema | judge: …}, …]}. It never costs more than the budget; what was answered is kept, and the same command
    again goes on from there.
    """
    try:
        rows = read_prompts(prompts)
    except (OutcomeError, UnicodeDecodeError) as wrong:
        raise click.ClickException(str(wrong)) from wrong
    if judge == "" and any(prompt.judged for prompt in rows):
        raise click.UsageError("a prompt wants a judge: name its model with --judge")
    if len(set(models)) < len(models):
        raise click.UsageError("a model is named twice")
    reached = reach_router(address, key)
    kept = results or prompts.with_suffix(".results.jsonl")

    async def run() -> Evaluation:
        async with connect("router", reached.address, token=reached.secret) as router:
            evaluation = Evaluation(
                router,
                kept.name,
                models,
                rows,
                Purse(budget),
                kept,
                judge,
                concurrency,
                timeout_s,
                feedback,
                _progress(as_json),
            )
            await evaluation.run()
            return evaluation

    try:
        evaluation = asyncio.run(run())
    except* TurnpikeError as errors:
        raise click.ClickException(_first(errors).message) from None
    _show(evaluation, rows, outcomes, prompts.stem, as_json)
    sys.exit(1 if evaluation.used_up else 0)


def _show(
    evaluation: Evaluation, rows: list[EvalPrompt], outcomes: Path | None, context: str, as_json: bool
) -> None:
    reports = report_of(evaluation)
    click.echo(json.dumps(as_data(evaluation, reports)) if as_json else as_text(evaluation, reports))
    if outcomes is not None:
        written = outcome_rows(evaluation, context)
        outcomes.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written), encoding="utf-8"
        )
        click.echo(f"{len(written)} of {len(rows)} rows to learn from: {outcomes}", err=True)


def _progress(quiet: bool) -> Callable[[int, int], None]:
    def told(done: int, all_: int) -> None:
        if not quiet and sys.stderr.isatty():
            click.echo(f"\r{done} of {all_} answers", err=True, nl=done == all_)

    return told


def _first(errors: BaseExceptionGroup[TurnpikeError]) -> TurnpikeError:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, TurnpikeError)
    return found
