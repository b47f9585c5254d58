"""A request's language is found out, and keeps away models that are known, or must be known, to speak it."""

import pytest

from services.kernel.clock import SystemClock
from services.router.convert_features import features_from_pb
from services.router.convert_language import language_of
from services.router.domain import explain
from services.router.domain.access import Caller
from services.router.domain.catalogue import Catalogue
from services.router.domain.estimates import CataloguePriors
from services.router.domain.features import Features, Wishes
from services.router.domain.learned import EstimatorBook
from services.router.domain.plan import decide
from services.router.domain.policy_document import read_policy
from services.router.domain.world import World
from services.router.use_cases.route import Router, Subject
from tests.support.boards import WITHOUT_PROBES, board, model, question, replace
from turnpike.common.v1 import content_pb2 as content

pytest.importorskip("pycld2", reason="the library has no wheel for this platform; every language is unknown")

GERMAN = "Bitte fasse den folgenden Bericht zusammen und sage mir, was daran wichtig ist."
IN_GERMAN = Features(input_tokens_bound=400, input_tokens_estimate=100, language="de")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (GERMAN, "de"),
        ("Please summarise the following report and tell me what matters in it.", "en"),
        ("请把下面的文章翻译成英文，并列出要点。", "zh"),
        ("Résume ce rapport en trois phrases, s'il te plaît, et dis-moi l'essentiel.", "fr"),
        ("סכם את הדוח הבא בשלושה משפטים", "he"),
        ("ok", ""),
        ("", ""),
        ("12 * 37 = ?", ""),
        ("\x00\x07\x1b", ""),
        ("\U0001f600" * 30, ""),
    ],
)
def test_languages_are_told_or_unknown(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("languages", "found"), [(frozenset({"de"}), "de"), (frozenset(), "")], ids=["told", "untold"]
)
def test_it_is_found_out_where_some_model_says_which_it_speaks(languages: frozenset[str], found: str) -> None:
    part = content.Part(text=content.TextPart(text=GERMAN))
    asked = content.GenerationInput(messages=[content.Message(role=content.ROLE_USER, parts=[part])])
    features, sample = features_from_pb(asked, streamed=False)
    world = World()
    world.take_catalogue(Catalogue(1, {"a/b": model("a/b", languages=languages)}))
    router = Router(world, EstimatorBook(CataloguePriors()), SystemClock())
    subject = Subject(Caller("org", "", "", "key"), Wishes(), features, language=sample.language)
    assert router.question(subject, 1).features.language == found


def names(decision: object) -> list[str]:
    return [decision.question.board.candidates[planned.index].name for planned in decision.plan]  # type: ignore[attr-defined]


def test_who_is_known_not_to_speak_it_is_out_and_the_unknown_stays() -> None:
    on = board(
        model("a/english", languages=frozenset({"en", "fr"})),
        model("a/german", languages=frozenset({"en", "de-AT"})),
        model("a/unsaid"),
    )
    decision = decide(question(on, features=IN_GERMAN))
    assert sorted(names(decision)) == ["a/german", "a/unsaid"]
    assert explain.rule_name(decision, 0) == "capability.language"
    assert explain.finding(decision, 0) == "It is good at en, fr; the request is in de."
    assert len(decide(question(on, features=replace(IN_GERMAN, language=""))).plan) == 3


def test_a_policy_may_ask_that_it_is_known() -> None:
    policy, problems = read_policy("models: {language: true}")
    assert policy is not None, problems
    on = board(model("a/german", languages=frozenset({"de"})), model("a/unsaid"))
    asked = question(on, features=IN_GERMAN, rules=replace(WITHOUT_PROBES, language_required=True))
    decision = decide(asked)
    assert policy.rules.language_required
    assert names(decision) == ["a/german"]
    assert "unknown; the request is in de" in explain.finding(decision, 1)
