"""A trained prior and the catalogue meet: scales are aligned, doubts weighed, the unknown stays unknown."""

import numpy as np
import pytest

from services.router.adapters.learned import DATA, open_prior
from services.router.domain.estimates import CataloguePriors
from services.router.domain.features import Features
from services.router.domain.learned import EstimatorBook, LearnedEstimator
from services.router.domain.learning.evidence import Evidence, Feedback
from services.router.domain.learning.names import same_model
from services.router.domain.learning.outcomes import outcome_of
from services.router.domain.learning.prior import Prior
from services.router.domain.learning.training import train
from services.router.domain.plan import decide
from services.router.domain.task_belief import TASKS
from services.router.domain.trained import TrainedExpectations
from tests.support.boards import board, model, question, replace
from tests.support.outcomes import MODELS, QUALITY, made_rows

ASKED = Features(input_tokens_bound=400, input_tokens_estimate=100)
SPARROW, FINCH, EAGLE = MODELS
CODE = {"code": 1.0}


def own_prior(scale_deviation: float = 0.0) -> Prior:
    rows = [outcome_of(row, "made") for row in made_rows(1_200, 1)]
    return train([row for row in rows if row], provenance={"scale_deviation": scale_deviation})


@pytest.fixture(scope="module")
def own() -> TrainedExpectations:
    return TrainedExpectations(own_prior(), "made")


def test_own_outcomes_outweigh_the_catalogues_judgement(own: TrainedExpectations) -> None:
    on = board(*(model(name, quality_priors={"code": 0.7}) for name in MODELS))
    found = own.expect(on, CODE, ASKED)
    by_name = dict(zip(on.model_names, found.quality, strict=True))
    for name, truth in zip(MODELS, QUALITY["code"], strict=True):
        assert by_name[name] == pytest.approx(truth, abs=0.08)
    assert (found.half_width < 0.1).all()


def test_who_is_unknown_to_the_prior_has_the_catalogues_quality_and_to_both_none(
    own: TrainedExpectations,
) -> None:
    on = board(
        model(EAGLE, quality_priors={}),
        model("other/stranger", quality_priors={"code": 0.55}),
        model("other/nobody", quality_priors={}),
    )
    found = dict(zip(on.model_names, own.expect(on, CODE, ASKED).quality, strict=True))
    assert found[EAGLE] > 0.8
    assert found["other/stranger"] == pytest.approx(0.55)
    assert np.isnan(found["other/nobody"])
    told = dict(zip(on.model_names, own.basis(on, CODE), strict=True))
    assert told[EAGLE].sources == ("prior made",)
    assert told[EAGLE].prior_outcomes > 200
    assert told[EAGLE].sets == ("made",)
    assert told["other/stranger"].sources == ("catalogue",)
    assert told["other/nobody"].sources == ()


def test_a_public_set_keeps_its_order_and_takes_the_catalogues_level() -> None:
    public = TrainedExpectations(own_prior(0.15), "public")
    on = board(*(model(name, quality_priors={"code": 0.9}) for name in MODELS))
    found = dict(zip(on.model_names, public.expect(on, CODE, ASKED).quality, strict=True))
    assert found[FINCH] < found[SPARROW] < found[EAGLE]
    assert np.mean(list(found.values())) > np.mean(QUALITY["code"]) + 0.1
    alone = board(model(FINCH, quality_priors={"code": 0.9}))
    assert public.expect(alone, CODE, ASKED).quality[0] > 0.7, "one model of a set says little of its level"


def test_an_uncovered_task_is_surer_of_nothing(own: TrainedExpectations) -> None:
    on = board(*(model(name, quality_priors={}) for name in MODELS))
    assert (
        own.expect(on, {"translate": 1.0}, ASKED).half_width > own.expect(on, CODE, ASKED).half_width
    ).all()


def test_a_floor_is_kept_by_what_the_prior_says() -> None:
    estimator = TrainedExpectations(own_prior(), "made")
    on = board(*(model(name, quality_priors={"code": 0.8}) for name in MODELS))
    asked = replace(question(on, belief=CODE, quality_min=0.75), estimator=estimator)
    decision = decide(asked)
    assert decision.first is not None
    assert [on.candidates[planned.index].name for planned in decision.plan] == [EAGLE]


def test_evidence_corrects_the_prior_and_the_interval_never_widens(own: TrainedExpectations) -> None:
    on = board(*(model(name, quality_priors={}) for name in MODELS))
    shipped = own.expect(on, CODE, ASKED)
    evidence = Evidence(TASKS)
    at = on.model_names.index(EAGLE)
    for _ in range(30):
        evidence.update(Feedback(EAGLE, CODE, float(shipped.quality[at]), 0.3))
    learned = LearnedEstimator(own, evidence.copy(), 30)
    found = learned.expect(on, CODE, ASKED)
    assert found.quality[at] < 0.5
    assert found.shipped is not None
    assert found.shipped[at] == shipped.quality[at]
    assert (found.half_width <= shipped.half_width).all()
    told = learned.basis(on, CODE)[at]
    assert told.sources == ("prior made", "outcomes")
    assert told.outcomes > 15


def test_another_prior_forgets_what_was_learned_against_the_one_before(own: TrainedExpectations) -> None:
    book = EstimatorBook(CataloguePriors())
    book.take("org_1", Evidence(TASKS), 3)
    assert book.of("org_1").version == "catalogue+3"
    book.ship(own)
    assert book.of("org_1").version == "prior made"


def test_the_shipped_prior_knows_models_of_the_catalogue_by_their_names() -> None:
    shipped = open_prior(DATA)
    on = board(
        model("gemini/gemini-2.5-flash", quality_priors={"maths": 0.7}),
        model("groq/llama-3.1-8b-instant", quality_priors={"maths": 0.5}),
        model("openai/gpt-6.1-sol", quality_priors={"maths": 0.7}),
    )
    told = dict(zip(on.model_names, shipped.basis(on, {"maths": 1.0}), strict=True))
    assert told["gemini/gemini-2.5-flash"].prior_outcomes > 100
    assert told["groq/llama-3.1-8b-instant"].prior_outcomes > 1_000
    assert told["openai/gpt-6.1-sol"].sources == ("catalogue",)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("groq/llama-3.1-8b-instant", "Meta-Llama-3_1-8B-Instruct", True),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True),
        ("openai/gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("anthropic/claude-sonnet-5", "claude-3-5-sonnet-20241022", False),
        ("gemini/gemini-2.5-flash-lite", "google/gemini-2.5-flash", False),
        ("bedrock/anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5", True),
        ("claude-3-5-sonnet-20240620", "claude-3-5-sonnet-20241022", False),
        ("together/meta-llama/Llama-3.3-70B-Instruct-Turbo", "llama-3.3-70b", True),
        ("openai/gpt-4-turbo", "gpt-4-1106-preview", False),
    ],
)
def test_names_of_the_same_model(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same
    assert same_model(other, one) is same
