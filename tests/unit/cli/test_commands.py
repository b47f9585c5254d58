"""Every command of the router's administration says what it does, and takes what all take."""

import click
import pytest
from click.testing import CliRunner

from services.cli.alias import alias
from services.cli.grant import grant
from services.cli.policy import policy

GROUPS = (policy, grant, alias)
EXPECTED = {
    "policy": "audit check delete diff list put rollback show simulate state versions",
    "grant": "allow delete deny list",
    "alias": "delete list put",
}


ALL = [(group, name) for group in GROUPS for name in group.commands]


@pytest.mark.parametrize(("group", "name"), ALL, ids=lambda value: getattr(value, "name", value))
def test_every_command_says_what_it_does(group: click.Group, name: str) -> None:
    shown = CliRunner().invoke(group, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    for option in ("--address", "--token", "--token-file", "--json"):
        assert option in shown.output


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: str(group.name))
def test_what_an_admin_would_guess_is_there(group: click.Group) -> None:
    assert sorted(group.commands) == EXPECTED[str(group.name)].split()
    assert "..." not in CliRunner().invoke(group, ["--help"], terminal_width=100).output.split("Commands:")[1]
