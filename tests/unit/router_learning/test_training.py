"""What a trained prior expects, on made-up outcomes with a known truth."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from services.router.domain.learning.estimator import Estimator, safe
from services.router.domain.learning.outcomes import outcome_of
from services.router.domain.learning.prior import PRIOR_BYTES_MAX, PriorError, from_bytes, to_bytes
from services.router.domain.learning.text import text_features
from services.router.domain.learning.training import train
from tests.support.outcomes import COST, MODELS, QUALITY, VOCABULARIES, made_rows


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    outcomes = [outcome for row in made_rows(1_000, seed=1) if (outcome := outcome_of(row, "made"))]
    return Estimator(from_bytes(to_bytes(train(outcomes, provenance={"version": "made"}))))


@pytest.mark.parametrize("task", QUALITY)
def test_a_declared_task_gets_its_models_qualities(estimator: Estimator, task: str) -> None:
    features = text_features(VOCABULARIES[task])
    estimate = estimator.estimate({task: 1.0}, features, MODELS)
    assert estimate.quality == pytest.approx(QUALITY[task], abs=0.15)
    assert estimate.cost == pytest.approx(np.array(COST) * 1.05, rel=0.1)
    assert estimate.unknown == 0


def test_the_text_alone_tells_the_task(estimator: Estimator) -> None:
    features = text_features("write a python function that returns the index of a string in a list")
    estimate = estimator.estimate(None, features, MODELS)
    assert estimate.quality.argmax() == 2
    assert estimate.quality[2] - estimate.quality[0] > 0.1


def test_an_undeclared_strange_text_is_unknown(estimator: Estimator) -> None:
    estimate = estimator.estimate(
        None, text_features("Zürich Straßenbahn Fahrplan morgen früh bitte"), MODELS
    )
    assert estimate.unknown > 0.5


def test_an_unknown_task_bids_for_the_best_single_model_at_any_likely_price(estimator: Estimator) -> None:
    features = text_features("what nobody asked before")
    estimate = estimator.estimate({"never seen": 1.0}, features, MODELS)
    assert estimate.unknown == 1
    assert estimate.default == 2
    for dollars_per_quality in (1.0, 50.0, 250.0):  # known tasks keep 95 % up to some 120.
        assert (safe(estimate) - dollars_per_quality * estimate.cost).argmax() == 2
    # Given enough for money, the order by expectation is unchanged: nothing is hidden, only dearer.
    assert (np.argsort(safe(estimate)) == np.argsort(estimate.quality)).all()


def test_an_unknown_task_is_less_certain_than_a_known_one(estimator: Estimator) -> None:
    features = text_features("what nobody asked before")
    known = estimator.estimate({"code": 1.0}, features, MODELS).uncertainty
    unknown = estimator.estimate({"unknown": 1.0}, features, MODELS).uncertainty
    assert (unknown > known).all()


def test_a_renamed_model_is_taken_for_the_one_it_resembles(estimator: Estimator) -> None:
    features = text_features("python function")
    renamed = ("other/Eagle_70B-Instruct-20260101", "acme/sparrow-8b")
    estimate = estimator.estimate({"code": 1.0}, features, renamed)
    plain = estimator.estimate({"code": 1.0}, features, ("acme/eagle-70b", "acme/sparrow-8b"))
    assert estimate.quality[0] == pytest.approx(plain.quality[0], abs=0.02)
    assert estimate.uncertainty[0] > plain.uncertainty[0]


def test_a_model_of_no_known_name_is_expected_by_its_size_and_never_raises(estimator: Estimator) -> None:
    features = text_features("python function")
    estimate = estimator.estimate({"code": 1.0}, features, ("x/zeta-72b", "x/zeta-7b", "x/zeta", ""))
    assert np.isfinite(estimate.quality).all()
    assert estimate.quality[0] > estimate.quality[1]


def test_what_a_model_costs_is_told_by_no_name_that_resembles_none(estimator: Estimator) -> None:
    estimate = estimator.estimate({"code": 1.0}, text_features("python function"), ("m-one", MODELS[0]))
    assert np.isnan(estimate.cost[0])
    assert estimate.cost[1] > 0
    assert np.isfinite(estimate.quality).all()


def test_without_prices_known_and_unknown_tasks_are_bid_for_on_one_scale() -> None:
    rows = made_rows(200, seed=5)
    for row in rows:
        row["arms"] = {model: [quality, None] for model, (quality, _) in row["arms"].items()}
    unpriced = Estimator(train([outcome for row in rows if (outcome := outcome_of(row, "made"))]))
    estimate = unpriced.estimate({"never seen": 1.0}, text_features("what nobody asked before"), MODELS)
    assert estimate.unknown == 1
    assert safe(estimate) == pytest.approx(estimate.quality)


def test_no_models_no_estimates(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match="at least one model"):
        estimator.estimate(None, text_features("x"), ())


def test_training_is_deterministic() -> None:
    outcomes = [outcome for row in made_rows(60, seed=2) if (outcome := outcome_of(row, "made"))]
    assert to_bytes(train(outcomes, seed=3)) == to_bytes(train(outcomes, seed=3))


def test_rows_without_tasks_costs_or_sets_still_train() -> None:
    rows = made_rows(60, seed=2)
    for row in rows:
        del row["task"], row["set"]
        row["arms"] = {model: [quality, None] for model, (quality, _) in row["arms"].items()}
    prior = train([outcome for row in rows if (outcome := outcome_of(row, "made"))])
    estimate = Estimator(prior).estimate(None, text_features("write a function"), MODELS)
    assert np.isnan(estimate.cost).all()
    assert np.isfinite(estimate.quality).all()


def test_arms_missing_in_some_rows_are_learned_from_the_others() -> None:
    rows = made_rows(400, seed=4)
    for row in rows[::2]:
        del row["arms"][MODELS[1]]
    prior = train([outcome for row in rows if (outcome := outcome_of(row, "made"))])
    estimate = Estimator(prior).estimate({"sums": 1.0}, text_features("apples"), MODELS)
    assert estimate.quality == pytest.approx(QUALITY["sums"], abs=0.17)


def test_a_prior_is_small_and_what_is_none_is_refused(estimator: Estimator) -> None:
    content = to_bytes(estimator.prior)
    assert len(content) < PRIOR_BYTES_MAX
    for damaged in (b"", b"no prior at all", content[: len(content) // 2]):
        with pytest.raises(PriorError):
            from_bytes(damaged)


def test_a_prior_tells_which_prices_leave_a_floor_in_doubt_and_one_without_bids_what_it_expects(
    estimator: Estimator,
) -> None:
    low, high = estimator.prior.doubtful["made"]
    assert 0 < low < high
    features = text_features(VOCABULARIES["sums"])
    estimate = estimator.estimate({"sums": 1.0}, features, MODELS)
    assert estimate.doubtful == (low, high)
    older = Estimator(replace(estimator.prior, doubtful={}))
    assert (safe(older.estimate({"sums": 1.0}, features, MODELS)) == estimate.quality).all()


def test_a_file_from_before_there_were_steps_is_read(estimator: Estimator) -> None:
    content = to_bytes(estimator.prior)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    document = json.loads(arrays["document"].tobytes())
    assert document.pop("doubtful")
    arrays["document"] = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    assert from_bytes(buffer.getvalue()).doubtful == {}


def test_too_few_rows_are_refused() -> None:
    outcomes = [outcome for row in made_rows(5, seed=2) if (outcome := outcome_of(row, "made"))]
    with pytest.raises(ValueError, match="at least"):
        train(outcomes)
