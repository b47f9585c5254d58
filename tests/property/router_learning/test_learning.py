"""What holds for any text, any names, any numbers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.routing.sources import DATA
from services.router.domain.learning.cascade import Check, Way, decide
from services.router.domain.learning.estimator import Estimator, safe
from services.router.domain.learning.evidence import Evidence, Feedback
from services.router.domain.learning.exploration import draw
from services.router.domain.learning.metrics import hull
from services.router.domain.learning.names import resemblance
from services.router.domain.learning.prior import from_bytes
from services.router.domain.learning.text import BUCKETS, text_features
from services.router.domain.task_belief import TASKS
from services.router.domain.task_belief import terms as belief_terms

ESTIMATOR = Estimator(from_bytes((DATA / "prior.npz").read_bytes()))
SHARES = st.floats(0, 1)
NAMES = st.lists(st.text(max_size=40), min_size=1, max_size=8, unique=True)


@given(st.text(max_size=5_000))
def test_any_text_has_finite_features(text: str) -> None:
    features = text_features(text)
    assert np.isfinite(features.scalars).all()
    assert (features.buckets < BUCKETS).all()
    assert (np.diff(features.buckets) > 0).all()


@given(st.one_of(st.text(max_size=300), st.text(st.characters(max_codepoint=127), max_size=300)))
def test_the_quick_way_to_tokens_finds_what_the_pattern_does(text: str) -> None:
    read = text.lower()
    assert belief_terms._tokens(read) == belief_terms._TOKEN.findall(read)


@settings(deadline=None)
@given(st.text(max_size=500), NAMES, st.dictionaries(st.sampled_from(TASKS), SHARES, max_size=4))
def test_any_request_has_finite_estimates(text: str, names: list[str], raw: dict[str, float]) -> None:
    total = sum(raw.values())
    belief = {task: share / total for task, share in raw.items()} if total > 0 else None
    estimate = ESTIMATOR.estimate(belief, text_features(text), names)
    assert np.isfinite(estimate.quality).all()
    assert (estimate.uncertainty > 0).all()
    assert 0 <= estimate.unknown <= 1
    assert (
        np.argsort(-safe(estimate), kind="stable")[0] == np.argsort(-estimate.quality, kind="stable")[0]
    ) or (estimate.unknown > 0)


@settings(deadline=None)
@given(st.text(max_size=200), st.permutations(range(6)))
def test_the_order_of_models_does_not_matter(text: str, order: list[int]) -> None:
    names = (*ESTIMATOR.prior.arms.name[:4], "x/new-7b", "x/new-70b")
    features = text_features(text)
    plain = ESTIMATOR.estimate(None, features, names)
    moved = ESTIMATOR.estimate(None, features, [names[at] for at in order])
    assert np.allclose(plain.quality[list(order)], moved.quality, atol=1e-5)


@given(st.text(max_size=60), NAMES)
def test_resemblance_is_a_distribution(name: str, known: list[str]) -> None:
    weights = resemblance(name, known)
    assert (weights >= 0).all()
    assert abs(float(weights.sum()) - 1) < 1e-4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(TASKS), SHARES, SHARES), max_size=60))
def test_corrections_stay_within_what_can_be(events: list[tuple[str, str, float, float]]) -> None:
    evidence = Evidence(TASKS)
    for model, task, expected, outcome in events:
        evidence.update(Feedback(model, {task: 1.0}, expected, outcome))
    mean, deviation = evidence.corrections({"code": 0.5, "chat": 0.5}, ("a", "b", "never"))
    assert (np.abs(mean) <= 1).all()
    assert (deviation > 0).all()
    assert mean[2] == 0


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
    st.integers(0, 2**64 - 1),
    SHARES,
)
def test_draws_keep_their_cap(candidates: list[tuple[float, float, bool]], seed: int, cap: float) -> None:
    utility, uncertainty, allowed = (np.array(column) for column in zip(*candidates, strict=True))
    allowed = allowed.astype(bool)
    allowed[0] = True
    found = draw(utility, uncertainty, allowed, seed, exploration_max=cap)
    best = int(np.where(allowed, utility, -np.inf).argmax())
    assert allowed[found.chosen]
    assert abs(found.propensities.sum() - 1) < 1e-9
    assert (found.propensities >= 0).all()
    assert 1 - found.propensities[best] <= cap + 1e-9
    assert (found.propensities[~allowed] == 0).all()


@given(SHARES, SHARES, SHARES, SHARES, st.floats(0, 10), st.floats(0, 10))
def test_a_cascade_is_used_only_where_it_is_expected_to_be_cheaper(
    right: float, wrong: float, cheap: float, strong: float, cheap_cost: float, strong_cost: float
) -> None:
    found = decide(Way(cheap_cost, cheap), Way(strong_cost, strong), Check("any", right, wrong))
    assert 0 <= found.escalation <= 1 + 1e-9
    assert not found.use or found.cascade.cost <= found.direct.cost


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_a_hull_is_concave_and_rises(points: list[tuple[float, float]]) -> None:
    corners = hull(np.array(points))
    assert (np.diff(corners[:, 1]) > 0).all()
    assert (np.diff(corners[:, 0]) >= 0).all()
    assert corners[-1, 1] == max(y for _, y in points)
