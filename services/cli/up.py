"""`turnpike up`: starts the local stack and keeps it until Ctrl-C."""

import asyncio
import os
import signal
from collections.abc import Awaitable

import click
from rich.console import Console
from rich.text import Text

from services.chassis.channel import connect
from services.cli.ask import ask_and_show, show_error
from services.cli.lines import Row, show
from services.cli.local_stack import LocalStack
from services.cli.report import ConsoleReporter
from services.kernel.errors import TurnpikeError
from services.local.demo import Demo, ensure_demo
from services.local.prices import import_list_prices, usable_models
from services.local.stack import OPERATOR_SECRET, SERVICES, SUPERVISOR, Stack, UnknownComponent, compose
from services.local.state import AlreadyRunning, StateFolder, default_folder
from services.local.supervisor import ComponentFailed, Supervisor
from turnpike_client import AsyncTurnpike
from turnpike_client import TurnpikeError as RequestFailed
from turnpike_client.request import Options

FIRST_QUESTION = "Why do toll roads exist? Answer in two sentences."
FIRST_ANSWER_TOKENS_MAX = 120
FAILED = 1
INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option(
    "--demo", is_flag=True, help="Make a tenant to try things with, once, and ask a first question."
)
@click.option(
    "--once", is_flag=True, help="Stop when everything is ready and the first question is answered."
)
@click.option("--only", multiple=True, metavar="NAME", help="Start this component alone; may be repeated.")
def up(demo: bool, once: bool, only: tuple[str, ...]) -> None:
    """Start everything on this machine: Postgres, Redis, a small model, the services. Ctrl-C stops it.

    \b
    turnpike up --only postgres --only redis      the stores alone, for developing a service

    Data stays in ~/.local/state/turnpike, or in TURNPIKE_STATE_DIR. A part that dies is started again.
    """
    console = Console()
    try:
        state = StateFolder(default_folder())
        with state.locked():
            raise SystemExit(asyncio.run(_run(state, console, demo=demo, once=once, only=only)))
    except (AlreadyRunning, ComponentFailed, UnknownComponent) as problem:
        raise click.ClickException(str(problem)) from problem


async def _run(state: StateFolder, console: Console, *, demo: bool, once: bool, only: tuple[str, ...]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.set)
    stack = compose(state).only(only) if only else compose(state)
    _say(console, f"[dim]state in {state.path}[/]")
    for note in stack.notes:
        _say(console, f"[yellow]·[/] {note}")
    supervisor = Supervisor(state, stack.components, ConsoleReporter(console), stack.kept_ports.release)
    try:
        if not await _unless(stop, supervisor.start()) or not await _unless(
            stop, _open_the_road(state, stack, console)
        ):
            return 0
        _say(console, "[bold green]ready[/]")
        failed = False
        if demo:
            shown = asyncio.ensure_future(_show_demo(state, stack, console))
            if not await _unless(stop, shown):
                return 0
            failed = not shown.result()
        if once:
            return FAILED if failed else 0
        _say(console, "\n[dim]Ctrl-C stops it.[/]")
        await stop.wait()
        return 0
    finally:
        # From here on a second Ctrl-C ends us at once, and the children with us.
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        await supervisor.stop()


async def _unless(stop: asyncio.Event, work: Awaitable[object]) -> bool:
    """Do `work` (True) unless `stop` comes first (False), which cancels it. Raises what `work` raises."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        stopping.cancel()
        working.cancel()


async def _open_the_road(state: StateFolder, stack: Stack, console: Console) -> None:
    """Give every model of the catalogue its list price, unless it has one, and say which can be called here."""
    if not {"budget", "providers"} <= {component.name for component in stack.components}:
        return
    ours, operator = state.secret(f"{SUPERVISOR}-token"), state.secret(OPERATOR_SECRET)
    async with (
        connect("providers", stack.address("providers"), token=ours) as providers,
        connect("budget", stack.address("budget"), token=operator) as budget,
    ):
        try:
            await import_list_prices(providers, budget)
            usable = await usable_models(providers)
        except TurnpikeError as error:  # without a price a request is refused, never free
            _say(console, f"[red]prices[/] {error.reason}: {error.message}")
            return
    of_each = ", ".join(f"{count} of {provider}" for provider, count in sorted(usable.items()))
    _say(console, f"[dim]models[/] {of_each or 'none: set a vendor key, such as OPENAI_API_KEY'}")


async def _show_demo(state: StateFolder, stack: Stack, console: Console) -> bool:
    """Make the demo tenant and ask the first question; False, with the reason printed, if that failed."""
    operator = state.secret(OPERATOR_SECRET)
    try:
        async with connect("budget", stack.address("budget"), token=operator) as budget:
            demo = await ensure_demo(state, budget)
    except TurnpikeError as error:
        console.print(Text.assemble((error.reason, "bold red"), f"  {error.message}"), soft_wrap=True)
        return False
    if demo.created:
        _show_secrets(console, demo, operator, state)
    _say(console, f"\n[bold]›[/] {FIRST_QUESTION}\n")
    try:
        async with AsyncTurnpike(stack.address("router"), key=demo.key) as turnpike:
            options = Options(max_output_tokens=FIRST_ANSWER_TOKENS_MAX)
            await ask_and_show(turnpike, FIRST_QUESTION, options, console, LocalStack.of(state))
    except RequestFailed as error:
        show_error(console, error)
        return False
    _show_ways_on(console, stack)
    return True


def _show_secrets(console: Console, demo: Demo, operator: str, state: StateFolder) -> None:
    """Print the secrets, this once."""
    _say(console, f"\nShown once; kept for this machine's commands in {state.path}/secrets:")
    show(console, [Row("operator", operator), Row("demo key", demo.key)])


def _show_ways_on(console: Console, stack: Stack) -> None:
    """Print where everything is and what to try next."""
    console.print()
    show(console, [Row(name, f"gRPC at {stack.address(name)}") for name in SERVICES])
    _say(console, '\nFrom another terminal: [bold]turnpike ask "What is a budget?"[/]')


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False)
