"""Kills by -9: a store, the supervisor itself, and both. tests/e2e/local kills every other part on the road."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from services.local import ports
from services.local.postgres import LocalPostgres
from services.local.state import StateFolder
from tests.support.stack_process import StackProcess, remove_clusters, stack, until

PARTS = ("postgres", "redis")
ONLY = ("--only", "postgres", "--only", "redis")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    folder = tmp_path_factory.mktemp("stack")
    with stack(folder / "state", *ONLY) as process:
        process.wait_for("^ready")
        yield process
    remove_clusters(folder)


def dsn_of(state: Path) -> str:
    port = StateFolder(state).read("ports.json")["postgres"]
    assert isinstance(port, int)
    return LocalPostgres(state / "postgres", port=port).dsn


async def query(state: Path, sql: str) -> object:
    connection = await asyncpg.connect(dsn_of(state))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back(running: StackProcess, part: str) -> None:
    before = running.pid(part)
    os.kill(before, signal.SIGKILL)
    running.wait_for(rf"^✗ {part} +died \(SIGKILL\)")
    running.wait_for(rf"^✓ {part} +back after")
    assert running.pid(part) != before


def test_secrets_are_private_and_not_on_command_lines(running: StackProcess) -> None:
    secrets = [*running.state.glob("secrets/*"), *running.state.glob("*/password")]
    assert secrets
    for path in secrets:
        assert path.stat().st_mode & 0o077 == 0, path
    values = [path.read_text().strip() for path in secrets]
    for pid in running.processes():
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        assert not any(value in command for value in values)


def test_the_stores_know_nothing_of_our_environment(running: StackProcess) -> None:
    for part in ("postgres", "redis"):
        names = Path(f"/proc/{running.pid(part)}/environ").read_text(errors="replace").split("\0")
        assert {name.partition("=")[0] for name in names if name} <= {"PATH", "LC_ALL", "TZ", "PWD"}


def test_a_second_stack_on_the_same_state_is_refused(running: StackProcess) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "services.cli", "up"],
        env={**os.environ, "TURNPIKE_STATE_DIR": str(running.state)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 1
    assert f"process {running.process.pid} runs a stack" in second.stderr
    assert running.process.poll() is None


def test_data_survives_the_death_of_supervisor_and_database(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with stack(state, *ONLY) as first:
        first.wait_for("^ready")
        asyncio.run(query(state, "create table kept as select 42 as answer"))
        postmaster = first.pid("postgres")
        first.process.kill()
        os.kill(postmaster, signal.SIGKILL)
        first.process.wait()
        until(lambda: not first.processes(), "the end of every child, without anybody's help")
    with stack(state, *ONLY) as second:
        second.wait_for("^ready")
        assert asyncio.run(query(state, "select answer from kept")) == 42


def test_the_next_start_does_not_wait_for_the_last_one_to_die(tmp_path: Path) -> None:
    """The supervisor is killed and started again at once, while its children are still ending."""
    state = tmp_path / "state"
    with stack(state, *ONLY) as first:
        first.wait_for("^ready")
        first.process.kill()
        first.process.wait()
        with stack(state, *ONLY) as second:
            second.wait_for("^ready")
            assert asyncio.run(query(state, "select 1")) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_cleanly(tmp_path: Path, how: signal.Signals) -> None:
    with stack(tmp_path / "state", *ONLY) as process:
        process.wait_for("^ready")
        process.process.send_signal(how)
        assert process.process.wait(60) == 0
        assert process.processes() == []
        began = set(re.findall(r"^✓ (\S+)", process.text, re.MULTILINE))
        assert began == set(PARTS)
        assert set(re.findall(r"^· (\S+) +stopped", process.text, re.MULTILINE)) == began
        log = (process.state / "log" / "postgres.log").read_text()
        assert "database system is shut down" in log


def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    with stack(tmp_path / "state", *ONLY) as process:
        process.wait_for("^state in")
        process.process.send_signal(signal.SIGINT)
        assert process.process.wait(60) == 0


def test_a_taken_port_is_avoided_and_the_choice_kept(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with socket.socket() as squatter:
        squatter.bind((ports.LOOPBACK, 0))
        squatter.listen(1)
        taken = squatter.getsockname()[1]
        StateFolder(state).write("ports.json", {"postgres": taken})
        with stack(state, *ONLY) as first:
            first.wait_for("^ready")
            chosen = StateFolder(state).read("ports.json")
            assert chosen["postgres"] != taken
            assert asyncio.run(query(state, "select 1")) == 1
    with stack(state, *ONLY) as second:
        second.wait_for("^ready")
        assert StateFolder(state).read("ports.json") == chosen


def test_a_component_that_the_stack_does_not_have_is_named(tmp_path: Path) -> None:
    with stack(tmp_path / "state", "--only", "postgers") as process:
        assert process.process.wait(30) == 1
        assert "no postgers in this stack" in process.text
