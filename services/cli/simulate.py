"""`turnpike simulate`: pretends to be vendors, with faults by a scenario, until Ctrl-C."""

import asyncio
import contextlib
import signal
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import click
import uvloop

from services.providers.simulator.scenario import Scenario, ScenarioInvalid, parse_scenario
from services.providers.simulator.server import RunningSimulator


@click.command()
@click.option(
    "--port", type=int, default=8095, show_default=True, help="Port to listen on; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--scenario",
    "scenario_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML or JSON: pace, limits, and when what goes wrong.",
)
@click.option("--seed", type=int, help="Another seed than the scenario's.")
@click.option(
    "--log",
    "log_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that gets each request as a line of JSON: model, fault, outcome, tokens, how the prompt began.",
)
def simulate(
    port: int, host: str, scenario_path: Path | None, seed: int | None, log_path: Path | None
) -> None:
    """Pretend to be OpenAI, Anthropic, Gemini and Mistral, without a key and without a cent. Ctrl-C stops it.

    Point any client at http://HOST:PORT/openai/v1, /anthropic, /gemini or /mistral, with any key. What goes wrong, and
    when, is a scenario; PUT another one to /control/scenario while it runs.
    """
    scenario = Scenario()
    if scenario_path is not None:
        try:
            scenario = parse_scenario(scenario_path.read_text(encoding="utf-8"))
        except ScenarioInvalid as invalid:
            raise click.ClickException(f"{scenario_path}: {invalid}") from None
    if seed is not None:
        scenario = replace(scenario, seed=seed)
    with contextlib.ExitStack() as opened:
        log = None
        if log_path is not None:
            log = opened.enter_context(log_path.open("a", encoding="utf-8", buffering=1))  # line by line
        uvloop.run(_serve(scenario, host, port, log))


async def _serve(scenario: Scenario, host: str, port: int, log: TextIO | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with RunningSimulator(scenario, host=host, port=port, log=log) as running:
            click.echo(f"simulating at {running.url}")
            click.echo(f"  OpenAI     OPENAI_BASE_URL={running.url}/openai/v1")
            click.echo(f"  Anthropic  ANTHROPIC_BASE_URL={running.url}/anthropic")
            click.echo(f"  Gemini     {running.url}/gemini")
            click.echo(f"  Mistral    {running.url}/mistral")
            await stopped.wait()
    except OSError as problem:
        raise click.ClickException(f"cannot listen on {host}:{port}: {problem.strerror}") from None
