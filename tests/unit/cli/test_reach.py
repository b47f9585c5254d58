"""The secrets of this machine's stack are for its own addresses alone."""

from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from services.cli.__main__ import main
from services.cli.reach import reach_admin, reach_router
from services.local import demo
from services.local.stack import KEY_SECRET, OPERATOR_SECRET
from services.local.state import STATE_VARIABLE, StateFolder

ROOT = Path(__file__).parents[3]
PORTS = {"router": 50051, "budget": 50052, "analytics": 50054}
ELSEWHERE = "turnpike.example.com:50051"
COMMANDS: tuple[Sequence[str], ...] = (
    ("alias", "list"),
    ("ask", "hello"),
    ("budget", "list"),
    ("grant", "list"),
    ("keys", "list"),
    ("ledger", "heads"),
    ("policy", "list"),
    ("usage", "sum"),
    ("route", "explain", "dec_1"),
    ("route", "promote", "--version", "shipped"),
)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that ran here."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    for name in ("TURNPIKE_ADMIN_TOKEN", "TURNPIKE_KEY", "TURNPIKE_ADDRESS", "TURNPIKE_BUDGET_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    state = StateFolder(tmp_path / "state")
    state.write("ports.json", PORTS)
    state.write(demo.FILE, {"organisation_id": "org_demo"})
    state.keep_secret(KEY_SECRET, "tpk_local")
    state.keep_secret(OPERATOR_SECRET, "tpa_local")


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_no_local_secret_leaves_for_another_address(words: Sequence[str]) -> None:
    refused = CliRunner().invoke(main, [*words, "--address", ELSEWHERE])
    assert refused.exit_code == 2, refused.output
    assert f"is not for {ELSEWHERE}" in refused.output


@pytest.mark.usefixtures("stack")
def test_the_local_stack_is_found_by_itself_and_by_its_address() -> None:
    for address in (None, "127.0.0.1:50052", "localhost:50052"):
        reached = reach_admin("budget", address, None)
        assert (reached.address, reached.secret) == ("127.0.0.1:50052", "tpa_local")
        assert reached.as_operator_of == "org_demo"
    assert reach_router(None, None).secret == "tpk_local"
    mine = reach_admin("budget", None, "tpa_mine")
    assert (mine.secret, mine.as_operator_of) == ("tpa_mine", "")


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",  # the router's, not the budget service's
        "127.0.0.2:50052",
        "localhost.example.com:50052",
        "dns:///turnpike.example.com:50052",
        "[::1]:50052",
        ":50052",
        "50052",
    ],
)
def test_what_only_looks_like_the_local_stack_is_another_address(address: str) -> None:
    with pytest.raises(click.UsageError):
        reach_admin("budget", address, None)
    assert reach_admin("budget", address, "tpa_mine").secret == "tpa_mine"


def test_without_a_stack_both_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    for address, secret, asked in ((None, None, "--address and --key"), (ELSEWHERE, None, "give --key")):
        with pytest.raises(click.ClickException, match=asked):
            reach_router(address, secret)


def test_a_token_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content in (b"", b"one\ntwo\n", b"\xff", b"x" * 5000):
        file.write_bytes(content)
        refused = CliRunner().invoke(
            main, ["budget", "list", "--address", ELSEWHERE, "--token-file", str(file)]
        )
        assert refused.exit_code == 2
        assert "holds no single token" in refused.output


def test_only_one_place_gives_the_local_stacks_secrets_to_commands() -> None:
    users = {
        file.name
        for file in (ROOT / "services/cli").glob("*.py")
        if "LocalStack.of(" in file.read_text() or ".kept_secret(" in file.read_text()
    }
    assert users == {"local_stack.py", "reach.py", "up.py"}
