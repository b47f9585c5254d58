"""A prior is promoted only if later rows agree with it."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from services.cli.route import route
from services.router.domain.learning.outcomes import Outcome, outcome_of
from services.router.domain.learning.promotion import judge, time_split
from services.router.domain.learning.training import train
from tests.support.outcomes import MODELS, made_rows


def outcomes(count: int, seed: int) -> list[Outcome]:
    return [outcome for row in made_rows(count, seed) if (outcome := outcome_of(row, "made"))]


def changed(rows: list[Outcome], after: int) -> list[Outcome]:
    """From some row on the cheap model answers nothing right any more."""
    for row in rows[after:]:
        row.arms[MODELS[0]] = (0.0, row.arms[MODELS[0]][1])
    return rows


def test_a_split_in_time_never_learns_from_later_rows() -> None:
    rows = outcomes(100, seed=1)
    learn, freeze, later = time_split(rows)
    assert learn + freeze + later == rows
    assert len(learn) == 70
    assert len(later) == 20


def test_what_keeps_the_floor_later_is_promoted() -> None:
    learn, freeze, later = time_split(outcomes(1_500, seed=1))
    verdict = judge(train(learn), freeze, later, floor=0.9)
    assert verdict.promoted, verdict.reasons


def test_what_misses_the_floor_later_is_refused_with_its_figure() -> None:
    learn, freeze, later = time_split(changed(outcomes(1_500, seed=1), after=1_200))
    verdict = judge(train(learn), freeze, later)
    assert not verdict.promoted
    assert "made: 0." in verdict.reasons[0]


def test_what_nothing_can_judge_is_refused() -> None:
    assert not judge(train(outcomes(100, seed=1)), [], []).promoted


def test_the_command_writes_only_what_passed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = made_rows(1_500, seed=1)
    for number, row in enumerate(rows):
        if number >= 1_200:
            row["arms"][MODELS[0]][0] = float(random.random() < 0.05)
    file = tmp_path / "outcomes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(route, ["promote", str(file), "--out", str(tmp_path / "prior.npz")])
    assert result.exit_code == 1
    assert "not promoted" in result.output
    assert not (tmp_path / "prior.npz").exists()
    lax = CliRunner().invoke(
        route, ["promote", str(file), "--out", str(tmp_path / "prior.npz"), "--floor", "0.1"]
    )
    assert lax.exit_code == 0, lax.output
    assert (tmp_path / "prior.npz").exists()
