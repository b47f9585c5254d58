"""`turnpike up`: starts the local stack and keeps it until Ctrl-C."""

import asyncio
import os
import signal

import click
from rich.console import Console

from services.cli.report import ConsoleReporter
from services.local.stack import compose
from services.local.state import AlreadyRunning, StateFolder, default_folder
from services.local.supervisor import ComponentFailed, Supervisor

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


@click.command()
def up() -> None:
    """Start everything on this machine: Postgres, Redis, a small model, the services. Ctrl-C stops it.

    Data stays in ~/.local/state/turnpike, or in TURNPIKE_STATE_DIR. A part that dies is started again.
    """
    console = Console()
    try:
        state = StateFolder(default_folder())
        with state.locked():
            raise SystemExit(asyncio.run(_run(state, console)))
    except (AlreadyRunning, ComponentFailed) as problem:
        raise click.ClickException(str(problem)) from problem


async def _run(state: StateFolder, console: Console) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stack = compose(state)
    console.print(f"[dim]state in {state.path}[/]", soft_wrap=True, highlight=False)
    for note in stack.notes:
        console.print(f"[yellow]·[/] {note}", soft_wrap=True, highlight=False)
    supervisor = Supervisor(state, stack.stages, ConsoleReporter(console))
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            console.print("[bold green]ready[/]")
            await stopping
    finally:
        starting.cancel()
        stopping.cancel()
        # From here on a second Ctrl-C ends us at once, and the children with us.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        await supervisor.stop()
    return 0
