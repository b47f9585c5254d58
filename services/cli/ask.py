"""`turnpike ask`: one question to the router, with the answer as it comes and what it took."""

import asyncio
import json
import sys

import click
import grpc
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.text import Text

from services.cli.lines import show
from services.cli.local_stack import LocalStack
from services.cli.reach import Reached, reach_router
from services.cli.summary import summary
from services.cli.words import amount, dollars, left_of, moment
from turnpike.router.v1 import decision_pb2
from turnpike_client import AsyncTurnpike, TurnpikeError
from turnpike_client.request import Options

OUTPUT_TOKENS = 512  # a person reads them; without a cap a small model may repeat itself until the deadline
DECISION_TIMEOUT_S = 2.0  # the answer is there already; its explanation may be had later


@click.command()
@click.argument("prompt", nargs=-1)
@click.option("--model", help='"provider/model", an alias, or "auto".')
@click.option("--system", help="Instructions before the question.")
@click.option("--strategy", type=click.Choice(["cost", "latency", "capability", "balanced"]))
@click.option("--max-output-tokens", type=click.IntRange(min=1), default=OUTPUT_TOKENS, show_default=True)
@click.option(
    "--json", "as_json", is_flag=True, help="The whole outcome as one JSON object on standard output."
)
@click.option("--address", envvar="TURNPIKE_ADDRESS", help="Router to ask.  [default: the local stack's]")
@click.option(
    "--key", envvar="TURNPIKE_KEY", help="Key to ask with.  [default: the demo's; better by TURNPIKE_KEY]"
)
def ask(
    prompt: tuple[str, ...],
    model: str | None,
    system: str | None,
    strategy: str | None,
    max_output_tokens: int,
    as_json: bool,
    address: str | None,
    key: str | None,
) -> None:
    """Ask a model. The answer goes to standard output, what it took to standard error.

    Without PROMPT, or with "-", the question is read from standard input.
    """
    text = " ".join(prompt)
    if text in ("", "-"):
        text = sys.stdin.read()
    if not text.strip():
        raise click.UsageError("nothing is asked")
    reached = reach_router(address, key)
    said = {"model": model, "system": system, "strategy": strategy, "max_output_tokens": max_output_tokens}
    options: Options = {name: value for name, value in said.items() if value is not None}  # type: ignore[assignment]
    try:
        asyncio.run(_ask(reached, text, options, as_json))
    except TurnpikeError as error:
        show_error(Console(stderr=True), error)
        sys.exit(1)


async def _ask(reached: Reached, text: str, options: Options, as_json: bool) -> None:
    async with AsyncTurnpike(reached.address, key=reached.secret) as turnpike:
        if as_json:
            answer = await turnpike.generate(text, **options)
            outcome = MessageToDict(answer.outcome, preserving_proto_field_name=True)
            print(json.dumps({"text": answer.text, "outcome": outcome}))
            return
        await ask_and_show(turnpike, text, options, Console(stderr=True), reached.local)


async def ask_and_show(
    turnpike: AsyncTurnpike, text: str, options: Options, console: Console, local: LocalStack | None
) -> None:
    """Stream one answer to standard output and its summary to `console`; raises TurnpikeError.

    `local` fills in what the demo's budgets have left: the router tells it only of those that run short.
    """
    async with turnpike.stream(text, **options) as answer:
        written = False
        try:
            async for piece in answer:
                sys.stdout.write(piece)
                sys.stdout.flush()
                written = True
        finally:
            if written:
                print(flush=True)
    console.print()
    decision = await _decision(turnpike, answer.outcome.decision_id)
    budgets = await local.budgets_left() if local and not answer.outcome.budgets else ()
    show(console, summary(answer.outcome, decision, budgets))


async def _decision(turnpike: AsyncTurnpike, decision_id: str) -> decision_pb2.Decision | None:
    """Return the decision behind an answer, or None if it cannot be had now: the answer stands without."""
    if not decision_id:
        return None
    try:
        return await turnpike.decision(decision_id, timeout_s=DECISION_TIMEOUT_S)
    except TurnpikeError:
        return None


def show_error(console: Console, error: TurnpikeError) -> None:
    """Print a refusal or failure with the figures that let a person act on it."""
    name = error.reason or error.status.name
    console.print(Text.assemble((name, "bold red"), f"  {error.message}"), soft_wrap=True)
    for field, problem in error.violations.items():
        console.print(f"  {field}: {problem}", soft_wrap=True, markup=False)
    for shortfall in error.shortfalls:
        asked = amount(shortfall.asked, shortfall.unit)
        left = left_of(shortfall.left, shortfall.limit, shortfall.unit)
        until = (
            f" until {moment(shortfall.resets_at.ToDatetime())}" if shortfall.HasField("resets_at") else ""
        )
        line = f"  {shortfall.display_name or shortfall.subject}: {asked} asked, {left} left{until}"
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    for excluded in error.excluded:
        console.print(f"  not {excluded.model}: {excluded.message}", soft_wrap=True, markup=False)
    for attempt in error.attempts:
        cost = f" ({dollars(attempt.cost.nanos)})" if attempt.HasField("cost") else ""
        console.print(
            f"  {attempt.attempt}. {attempt.model}: {attempt.message}{cost}", soft_wrap=True, markup=False
        )
    if error.status == grpc.StatusCode.UNAVAILABLE and not error.reason:
        console.print("  is the stack running? `turnpike up --demo` starts it", markup=False)
