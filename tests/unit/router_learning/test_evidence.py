"""Learning from outcomes: what moves, how fast, and what is never forgotten to be recorded."""

import numpy as np
import pytest

from services.router.domain.learning.evidence import Evidence, Feedback
from services.router.domain.learning.exploration import draw

TASKS = ("code", "chat")
MODELS = ("a/small", "b/large")


def told(evidence: Evidence, model: str, outcome: float, times: int, task: str = "code") -> None:
    for _ in range(times):
        assert evidence.update(Feedback(model, {task: 1.0}, prior_quality=0.8, outcome=outcome))


def test_nothing_learned_corrects_nothing() -> None:
    mean, deviation = Evidence(TASKS).corrections({"code": 1.0}, MODELS)
    assert (mean == 0).all()
    assert (deviation > 0).all()


def test_a_fall_shows_within_thirty_outcomes_and_is_surer_than_before() -> None:
    evidence = Evidence(TASKS)
    before = evidence.corrections({"code": 1.0}, MODELS)[1]
    told(evidence, "b/large", 0.4, 30)
    mean, deviation = evidence.corrections({"code": 1.0}, MODELS)
    assert mean[1] < -0.3
    assert deviation[1] < before[1]
    assert mean[0] == 0


def test_a_general_fall_is_expected_of_other_tasks_too_but_less() -> None:
    evidence = Evidence(TASKS)
    told(evidence, "b/large", 0.4, 30)
    here = evidence.corrections({"code": 1.0}, MODELS)[0][1]
    elsewhere = evidence.corrections({"chat": 1.0}, MODELS)[0][1]
    assert here < elsewhere < -0.1


def test_a_recovery_is_learned_as_fast_as_the_fall() -> None:
    evidence = Evidence(TASKS)
    told(evidence, "b/large", 0.4, 300)
    told(evidence, "b/large", 0.8, 60)
    assert evidence.corrections({"code": 1.0}, MODELS)[0][1] > -0.15


def test_a_model_left_alone_becomes_uncertain_again() -> None:
    evidence = Evidence(TASKS)
    told(evidence, "b/large", 0.4, 40)
    sure = evidence.corrections({"code": 1.0}, MODELS)[1][1]
    told(evidence, "a/small", 0.8, 100)
    assert evidence.corrections({"code": 1.0}, MODELS)[1][1] > sure


def test_tasks_nobody_named_count_as_unknown() -> None:
    evidence = Evidence(TASKS)
    told(evidence, "b/large", 0.4, 30, task="never heard of")
    assert evidence.corrections({"unknown": 1.0}, MODELS)[0][1] < -0.3


def test_a_snapshot_does_not_learn_on() -> None:
    evidence = Evidence(TASKS)
    told(evidence, "b/large", 0.4, 5)
    snapshot = evidence.copy()
    before = snapshot.corrections({"code": 1.0}, MODELS)[0].copy()
    told(evidence, "b/large", 0.4, 50)
    assert (snapshot.corrections({"code": 1.0}, MODELS)[0] == before).all()


@pytest.mark.parametrize(
    ("outcome", "weight"), [(1.5, 1.0), (-0.1, 1.0), (float("nan"), 1.0), (0.5, 0.0), (0.5, 2.0)]
)
def test_impossible_feedback_is_refused(outcome: float, weight: float) -> None:
    with pytest.raises(ValueError, match="outcome"):
        Feedback("m", {}, 0.5, outcome, weight)


def test_exploration_is_capped_and_its_chances_add_up() -> None:
    utility, uncertainty = np.array([0.8, 0.79, 0.2]), np.array([0.2, 0.2, 0.2])
    for seed in range(50):
        found = draw(utility, uncertainty, np.array([True, True, True]), seed)
        assert found.propensities.sum() == pytest.approx(1.0)
        assert found.propensities[0] >= 0.9 - 1e-9
        assert found.propensities[found.chosen] > 0


def test_the_same_seed_draws_the_same() -> None:
    arguments = (np.array([0.5, 0.5]), np.array([0.1, 0.1]), np.array([True, True]), 7)
    one, other = draw(*arguments), draw(*arguments)
    assert one.chosen == other.chosen
    assert (one.propensities == other.propensities).all()


def test_draws_follow_their_recorded_chances() -> None:
    utility, uncertainty, allowed = np.array([0.8, 0.79]), np.array([0.1, 0.1]), np.array([True, True])
    found = [draw(utility, uncertainty, allowed, seed, exploration_max=0.3) for seed in range(2_000)]
    explored = np.mean([each.explored for each in found])
    assert explored == pytest.approx(np.mean([1 - each.propensities[0] for each in found]), abs=0.03)


def test_who_is_not_allowed_is_never_drawn() -> None:
    for seed in range(200):
        found = draw(np.array([0.1, 0.9, 0.1]), np.ones(3), np.array([True, False, True]), seed)
        assert found.chosen != 1
        assert found.propensities[1] == 0
    with pytest.raises(ValueError, match="no candidate"):
        draw(np.array([0.1]), np.ones(1), np.array([False]), 0)
