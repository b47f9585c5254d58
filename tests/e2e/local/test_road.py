"""The road, whole: a real question through real services to a real model, as `make run` takes it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.stack_process import StackProcess, remove_clusters, stack, until

pytestmark = pytest.mark.timeout(240)
CHEAP = "local/smollm2-economy"
DEAR = "local/smollm2-express"


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    folder = tmp_path_factory.mktemp("road")
    with stack(folder / "state", "--demo") as process:
        process.wait_for("Ctrl-C stops it")
        yield process
    remove_clusters(folder)


def ask(road: StackProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "services.cli", "ask", *arguments],
        env={**os.environ, "TURNPIKE_STATE_DIR": str(road.state)},
        capture_output=True,
        text=True,
        timeout=90,
    )


def outcome_of(answer: "subprocess.CompletedProcess[str]") -> dict[str, object]:
    assert answer.returncode == 0, answer.stderr
    outcome = json.loads(answer.stdout)["outcome"]
    assert isinstance(outcome, dict)
    return outcome


def test_the_first_question_is_answered_and_accounted_for(road: StackProcess) -> None:
    said = road.text
    assert "› Why do toll roads exist?" in said
    for label in ("model", "why", "tokens", "cost", "budgets", "trace"):
        assert f"\n{label} " in said, f"no {label} in:\n{said}"
    assert "local/smollm2-" in said
    assert "Shown once" in said
    assert said.count("tpk_") == 1
    assert "traceback" not in said.lower()


def test_another_question_from_another_terminal(road: StackProcess) -> None:
    outcome = outcome_of(ask(road, "--json", "--max-output-tokens", "16", "Name a colour."))
    assert outcome["model"] in (CHEAP, DEAR)
    assert int(outcome["cost"]["nanos"]) > 0  # type: ignore[index]


def test_strategies_choose_for_real(road: StackProcess) -> None:
    """The dear server is the fast one, which the router knows once it has seen both answer."""
    for model in (CHEAP, DEAR):
        assert ask(road, "--model", model, "--max-output-tokens", "32", "Count to ten.").returncode == 0

    def choice(strategy: str) -> str:
        words = ("--json", "--strategy", strategy, "--max-output-tokens", "64", "Say yes.")
        return str(outcome_of(ask(road, *words))["model"])

    until(lambda: choice("cost") == CHEAP, "the cheap one, but for a probe")
    until(lambda: choice("latency") == DEAR, "measurements, which count from the next second on")


def told(road: StackProcess, *words: str) -> list[dict[str, Any]]:
    """What a command prints for programs."""
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *words, "--json"],
        env={**os.environ, "TURNPIKE_STATE_DIR": str(road.state)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_usage_is_what_the_ledger_says_however_it_is_asked_for(road: StackProcess) -> None:
    cost = int(outcome_of(ask(road, "--json", "--max-output-tokens", "4", "Say yes."))["cost"]["nanos"])  # type: ignore[index]
    moved = told(road, "ledger", "entries", "--most", "1000", "--kind", "commit", "--kind", "expire")
    spent = sum(int(entry["amount"]["nanos"]) for entry in moved)
    assert 0 < cost <= spent

    def summed() -> int:
        rows = told(road, "usage", "sum", "--since", "1h", "--by", "model")
        return sum(int(row["totals"]["cost"]["nanos"]) for row in rows)

    until(lambda: summed() == spent, "usage to be what the ledger says")
    news = told(road, "usage", "watch", "--since", "1h", "--for", "3s")
    assert sum(int(each["totals"]["cost"]["nanos"]) for each in news) == spent
    exported = told(road, "usage", "export", "--since", "1h", "--format", "json-lines")
    assert sum(row["cost_nanos"] for row in exported) == spent
    (compared,) = told(road, "usage", "savings", "--since", "1h", "--baseline", DEAR)
    assert int(compared["actual"]["nanos"]) + int(compared["left_out"]["nanos"]) == spent
    assert int(compared["baseline"]["nanos"]) >= int(compared["actual"]["nanos"]) > 0
    (ablest,) = told(road, "usage", "savings", "--since", "1h")
    assert int(ablest["actual"]["nanos"]) + int(ablest["left_out"]["nanos"]) == spent
    waste = told(road, "usage", "waste", "--since", "1h")
    assert sum(int(row["cost"]["nanos"]) for row in waste) <= spent
    assert {row["kind"] for row in waste} <= {"cut", "failed", "cancelled", "interrupted", "unconfirmed"}
    (forecast,) = told(road, "usage", "forecast")
    assert "expected" not in forecast
    assert "Less than a day" in forecast["method"]


def test_a_killed_model_server_is_a_fallback_not_a_failure(road: StackProcess) -> None:
    question = ("--strategy", "cost", "--max-output-tokens", "8", "Say yes.")
    died = rf"^✗ model-{CHEAP.rpartition('-')[2]} +died \(SIGKILL\)"
    kills = 0

    def fell_back() -> bool:
        """False where the router had turned to the other one by then, be it by a probe or by a breaker."""
        nonlocal kills
        until(
            lambda: outcome_of(ask(road, "--json", *question))["model"] == CHEAP, "the cheap one to be chosen"
        )
        os.kill(road.pid(f"model-{CHEAP.rpartition('-')[2]}"), signal.SIGKILL)
        kills += 1
        road.wait_for(died, kills)
        answer = ask(road, *question)
        assert answer.returncode == 0, answer.stderr
        attempts = (
            rf"^attempts +1. {CHEAP}  VENDOR_UNREACHABLE",
            rf"^ +2. {DEAR}  answered",
            rf"^model +{DEAR}$",
        )
        return all(re.search(line, answer.stderr, re.MULTILINE) for line in attempts)

    until(fell_back, "an answer by the other one after the first could not be reached")


@pytest.mark.parametrize("part", ["router", "budget", "providers", "analytics", "postgres", "redis"])
def test_the_road_heals_after_any_part_is_killed(road: StackProcess, part: str) -> None:
    before = road.pid(part)
    os.kill(before, signal.SIGKILL)
    road.wait_for(rf"^✓ {part} +back after")
    until(
        lambda: ask(road, "--max-output-tokens", "4", "Say yes.").returncode == 0,
        f"an answer after the death of {part}",
    )


def test_the_killed_model_server_is_back(road: StackProcess) -> None:
    """It rests for half a minute first; by now that has passed."""
    road.wait_for(r"^✓ model-\S+ +back after")


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_goes_on(road: StackProcess) -> None:
    """Last, for it ends the stack that the others use."""
    key = (road.state / "secrets" / "demo-key").read_text()
    road.process.kill()
    road.process.wait()
    until(lambda: not road.processes(), "the end of every child, without anybody's help")
    with stack(road.state, "--demo", "--once") as again:
        assert again.process.wait(90) == 0, again.text
        assert "Shown once" not in again.text
        assert "\nmodel " in again.text
    assert (road.state / "secrets" / "demo-key").read_text() == key
