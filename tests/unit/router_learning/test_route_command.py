"""`turnpike route train` and `predict` as a user calls them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from services.cli.route import route
from tests.support.outcomes import MODELS, made_rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(route, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prior")
    outcomes = write(folder / "outcomes.jsonl.gz", made_rows(300, seed=1))
    result = run("train", outcomes, "--out", folder / "prior.npz")
    assert result.exit_code == 0, result.output
    return folder / "prior.npz"


def predictions(prior: Path, rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    out = folder / "predictions.jsonl"
    result = run("predict", "--prior", prior, write(folder / "rows.jsonl", rows), "--out", out)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_predictions_have_quality_and_cost_of_every_arm(prior: Path, tmp_path: Path) -> None:
    rows = made_rows(5, seed=9)
    found = predictions(prior, rows, tmp_path)
    assert [each["id"] for each in found] == [row["id"] for row in rows]
    assert all(each.keys() == {"id", "q", "c"} for each in found)
    assert all(each["q"].keys() == each["c"].keys() == set(MODELS) for each in found)


def test_outcomes_are_never_looked_at(prior: Path, tmp_path: Path) -> None:
    rows = made_rows(40, seed=9)
    plain = predictions(prior, rows, tmp_path)
    scrambled = [
        {**row, "arms": {model: ["?", {"any": 1}, number] for model in row["arms"]}}
        for number, row in enumerate(rows)
    ]
    assert predictions(prior, scrambled, tmp_path) == plain
    assert predictions(prior, [{**row, "arms": list(row["arms"])} for row in rows], tmp_path) == plain


def test_sets_and_ids_tell_prediction_nothing(prior: Path, tmp_path: Path) -> None:
    rows = made_rows(20, seed=9)
    plain = predictions(prior, rows, tmp_path)
    other = predictions(prior, [{**row, "id": "x", "set": "other"} for row in rows], tmp_path)
    assert [each["q"] for each in other] == [each["q"] for each in plain]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("not json", "not JSON"),
        ("[]", "a row is an object"),
        ('{"prompt": "x", "arms": ["m"]}', "`id`"),
        ('{"id": "1", "prompt": 3, "arms": ["m"]}', "`prompt`"),
        ('{"id": "1", "prompt": "x", "arms": []}', "`arms`"),
        ('{"id": "1", "prompt": "x", "arms": ["m"], "task": 3}', "`task`"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(prior: Path, tmp_path: Path, row: str, problem: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "0", "prompt": "fine", "arms": ["m"]}\n' + row + "\n")
    result = run("predict", "--prior", prior, rows, "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 1
    assert "rows.jsonl:2" in result.output
    assert problem in result.output


@pytest.mark.parametrize("arm", ["[2, 0.1]", "[0.5]", '["x", 0]', "[0.5, -1]", "[NaN, 0]", "0.5"])
def test_an_impossible_outcome_does_not_train(tmp_path: Path, arm: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "0", "prompt": "fine", "arms": {"m": ' + arm + "}}\n")
    result = run("train", rows, "--out", tmp_path / "prior.npz")
    assert result.exit_code == 1
    assert "rows.jsonl:1" in result.output
    assert not (tmp_path / "prior.npz").exists()


def test_what_is_no_prior_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "prior.npz").write_bytes(b"no prior")
    rows = write(tmp_path / "rows.jsonl", made_rows(1, seed=1))
    result = run("predict", "--prior", tmp_path / "prior.npz", rows, "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 1
    assert "not a prior" in result.output
