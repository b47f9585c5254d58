"""`turnpike reset`: deletes what the local stack keeps on this machine."""

import shutil

import click

from services.local import ports
from services.local.postgres import LocalPostgres
from services.local.state import AlreadyRunning, StateFolder, default_folder


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Delete the local stack's data: database, keys, logs. It must be stopped."""
    folder = default_folder()
    if not folder.exists():
        click.echo(f"nothing in {folder}")
        return
    if not yes:
        click.confirm(f"Delete everything in {folder}, the database included?", abort=True)
    state = StateFolder(folder)
    try:
        with state.locked():
            LocalPostgres(state.path / "postgres", port=ports.ANY).remove()
            shutil.rmtree(state.path)
    except AlreadyRunning as problem:
        raise click.ClickException(f"{problem}; stop it first") from problem
    click.echo(f"deleted {folder}")
