from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from services.cli.budget import budget
from services.cli.keys import keys
from services.cli.ledger import ledger


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield (*above, name)


ALL = [(group, path) for group in (budget, keys, ledger) for path in commands(group)]

OFFLINE = {("check",)}
"""They call nobody."""


@pytest.mark.parametrize(
    ("group", "path"), ALL, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_says_what_it_does(group: click.Group, path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(group, [*path, "--help"])
    assert shown.exit_code == 0, shown.output
    if path in OFFLINE:
        return
    assert "--json" in shown.output
    assert "--token" in shown.output


def test_what_people_need_is_there() -> None:
    names = {" ".join((str(group.name), *path)) for group, path in ALL}
    assert {
        "budget status",
        "budget watch",
        "budget set-price",
        "budget team create",
        "keys rotate",
        "keys revoke",
        "ledger verify",
        "ledger reconcile",
        "ledger archive",
    } <= names
