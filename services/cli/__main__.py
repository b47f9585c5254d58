"""`turnpike`, or `python -m services.cli`."""

import importlib
import os

import click

# Where each command is. It is imported when it is used: `turnpike ask` must not wait for what `turnpike route` needs.
COMMANDS = {
    "alias": "services.cli.alias:alias",
    "ask": "services.cli.ask:ask",
    "budget": "services.cli.budget:budget",
    "eval": "services.cli.eval:evaluate",
    "grant": "services.cli.grant:grant",
    "keys": "services.cli.keys:keys",
    "ledger": "services.cli.ledger:ledger",
    "policy": "services.cli.policy:policy",
    "reset": "services.cli.reset:reset",
    "route": "services.cli.route:route",
    "simulate": "services.cli.simulate:simulate",
    "up": "services.cli.up:up",
    "usage": "services.cli.usage:usage",
}

# Before NumPy is imported: our matrices are small, and BLAS threads on a busy machine wait for each other longer than
# they compute (training: six times the processor time).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class LateCommands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(
    cls=LateCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="turnpike")
def main() -> None:
    """Routes requests to language models under exact budgets."""


if __name__ == "__main__":
    main()
