"""`turnpike eval` over the real services: two models, one of which answers rightly."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.cli.eval import evaluate
from services.cli.eval_run import read_results
from services.cli.rows import read_outcomes
from services.providers.simulator.scenario import Answers, Scenario
from services.providers.simulator.server import RunningSimulator
from tests.support.road import Road, Vendor, road

RIGHT, WRONG, JUDGE = "local/right", "local/wrong", "local/judge"
ROWS: list[dict[str, Any]] = [
    {
        "id": "capital",
        "prompt": "Capital of France?",
        "task": "question_answering",
        "checks": [{"exact": "Paris"}],
    },
    {
        "id": "letter",
        "prompt": "A word with P.",
        "task": "creative",
        "checks": [{"regex": "^P"}, {"contains": "IS"}],
    },
    {"id": "both", "prompt": "Once more.", "checks": [{"contains": "paris"}, {"contains": "toll"}]},
]


def says(text: str) -> Scenario:
    return Scenario(answers=Answers(text=text), require_key=False)


@pytest.fixture
async def on(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Road]:
    async with (
        RunningSimulator(says("Paris")) as right,
        RunningSimulator(says("London, toll")) as wrong,
        RunningSimulator(says("7")) as judge,
    ):
        vendors: dict[str, Vendor | str] = {
            name: Vendor(f"{running.url}/openai/v1")
            for name, running in (("right", right), ("wrong", wrong), ("judge", judge))
        }
        async with road(postgres_dsn, tmp_path, vendors) as running:
            yield running


def shown(told: Result) -> dict[str, Any]:
    """What was printed, without the log of the services that run in this process."""
    (line,) = (line for line in told.stdout.splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found


def prompts(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


async def run(on: Road, file: Path, *more: str, budget: str = "0.05") -> Result:
    arguments = [str(file), "--model", RIGHT, "--model", WRONG, "--budget", budget, *more]
    access = ["--address", on.address, "--key", on.tenant.key_secret]
    return await asyncio.to_thread(CliRunner().invoke, evaluate, [*arguments, *access])


async def test_models_are_compared_and_what_was_found_can_be_learned(on: Road, tmp_path: Path) -> None:
    outcomes = tmp_path / "outcomes.jsonl"
    told = await run(on, prompts(tmp_path, ROWS), "--json", "--outcomes", str(outcomes))
    assert told.exit_code == 0, told.output
    found = shown(told)
    right, wrong = found["models"]
    assert right["quality"]["mean"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert wrong["quality"]["mean"] == pytest.approx((0 + 0 + 0.5) / 3)
    assert wrong["against_first"]["mean"] == pytest.approx(-2 / 3)
    assert right["by_task"] == {"creative": 1.0, "question_answering": 1.0}
    ledger = await on.ledger()
    spent = sum(entry.amount.nanos for entry in ledger if entry.kind == 2)
    assert found["spent_nanos"] == spent > 0
    assert [sorted(row.arms) for row in read_outcomes(outcomes)] == [[RIGHT, WRONG]] * 3


async def test_it_stops_before_the_budget_and_goes_on_where_it_stopped(on: Road, tmp_path: Path) -> None:
    file = prompts(tmp_path, [{**row, "max_output_tokens": 20} for row in ROWS])
    first = await run(on, file, "--json", "--concurrency", "1", budget="0.00041")
    assert first.exit_code == 1
    stopped = shown(first)
    assert stopped["budget_used_up"]
    assert 0 < stopped["spent_nanos"] <= stopped["budget_nanos"]
    kept = list(read_results(file.with_suffix(".results.jsonl")))
    assert 0 < len(kept) < 2 * len(ROWS)
    second = await run(on, file)
    assert second.exit_code == 0, second.output
    assert "3/3" in second.stdout
    results = list(read_results(file.with_suffix(".results.jsonl")))
    assert len(results) == len({(one.id, one.model) for one in results}) == 2 * len(ROWS)
    assert len(await on.ledger()) == 2 * 2 * len(ROWS)  # a hold and a commit each: nothing was asked twice


async def test_a_judge_grades_and_is_paid_from_the_same_budget(on: Road, tmp_path: Path) -> None:
    rows = [{"id": "tone", "prompt": "Be kind.", "checks": [{"judge": "It is kind."}]}]
    file = prompts(tmp_path, rows)
    refused = await run(on, file)
    assert refused.exit_code == 2
    assert "--judge" in refused.output
    told = await run(on, file, "--json", "--judge", JUDGE)
    assert told.exit_code == 0, told.output
    found = shown(told)
    assert [model["quality"]["mean"] for model in found["models"]] == [0.7, 0.7]
    spent = sum(entry.amount.nanos for entry in await on.ledger() if entry.kind == 2)
    assert found["spent_nanos"] == spent


async def test_a_model_that_may_not_be_used_is_said_and_costs_nothing(on: Road, tmp_path: Path) -> None:
    file = prompts(tmp_path, ROWS[:1])
    told = await run(on, file, "--model", "local/nobody")
    assert "local/nobody: 1 x MODEL_NOT_FOUND" in told.stdout


def test_everything_wrong_with_the_prompts_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "prompt": "x", "checks": [{"regex": "("}]},
        {"id": "a", "prompt": "", "checks": [], "colour": 1},
        {"id": "c", "prompt": "x", "checks": [{"json_schema": {"type": 3}}, {"smell": "good"}]},
    ]
    arguments = [str(prompts(tmp_path, rows)), "--model", "a/b", "--budget", "1"]
    told = CliRunner().invoke(evaluate, arguments)
    assert told.exit_code == 1
    for words in (
        ":1: `checks[0].regex` is no regular expression",
        ":2: `prompt`",
        ":2: `colour` is not known",
        ":2: `checks` is a list",
        ":3: `checks[0].json_schema` is no JSON Schema",
        ":3: `checks[1]` is an object with one of",
    ):
        assert words in told.output


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "1e400", "0.0000000001", "x"])
def test_a_budget_is_an_amount(tmp_path: Path, budget: str) -> None:
    told = CliRunner().invoke(evaluate, [str(prompts(tmp_path, ROWS)), "--model", "a/b", "--budget", budget])
    assert told.exit_code == 2
