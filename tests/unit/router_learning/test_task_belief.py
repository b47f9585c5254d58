"""The shipped classifier on prompts it never saw, and what metadata does to a belief."""

import pytest

from bench.routing.sources import DATA, held_out_prompts, training_prompts
from services.router.domain.learning.outcomes import normal
from services.router.domain.task_belief import (
    TASKS,
    UNKNOWN,
    ClassifierError,
    Hints,
    TaskClassifier,
    likeliest,
)

RIGHT_MIN = 0.85  # of those answered
UNKNOWN_MAX = 0.15


@pytest.fixture(scope="module")
def classifier() -> TaskClassifier:
    return TaskClassifier.from_bytes((DATA / "tasks.npz").read_bytes())


def test_natural_prompts_are_understood_or_admitted_unknown(classifier: TaskClassifier) -> None:
    said = [(each.task, likeliest(classifier.classify(each.text))) for each in held_out_prompts()]
    real = [(truth, task) for truth, task in said if truth != UNKNOWN]
    answered = [(truth, task) for truth, task in real if task != UNKNOWN]
    assert len(answered) >= (1 - UNKNOWN_MAX) * len(real)
    assert sum(truth == task for truth, task in answered) >= RIGHT_MIN * len(answered)


def test_what_means_nothing_is_unknown(classifier: TaskClassifier) -> None:
    noise = [each.text for each in held_out_prompts() if each.task == UNKNOWN]
    assert sum(likeliest(classifier.classify(text)) == UNKNOWN for text in noise) >= 0.8 * len(noise)


def test_the_prompts_that_judge_are_none_of_those_that_train() -> None:
    trained = {normal(each.text) for each in training_prompts()}
    assert not [each.text for each in held_out_prompts() if normal(each.text) in trained]


def test_every_task_has_prompts_in_both_sets() -> None:
    assert (
        {each.task for each in training_prompts()} == {each.task for each in held_out_prompts()} == set(TASKS)
    )


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n\n", "\x00\ud800", "{" * 50_000, "a" * 100_000, "？" * 3_000, "🙂"]
)
def test_any_text_gives_a_belief(classifier: TaskClassifier, text: str) -> None:
    belief = classifier.classify(text)
    assert set(belief) == set(TASKS)
    assert sum(belief.values()) == pytest.approx(1.0, abs=1e-5)


def test_a_declared_task_is_believed_even_one_of_the_callers_own(classifier: TaskClassifier) -> None:
    assert likeliest(classifier.classify("hello", Hints(task="code"))) == "code"
    own = classifier.classify("hello", Hints(task="our-own-benchmark"))
    assert likeliest(own) == "our-own-benchmark"
    assert sum(own.values()) == pytest.approx(1.0, abs=1e-5)


def test_metadata_moves_the_belief(classifier: TaskClassifier) -> None:
    text = "Maria is 34 and lives in Porto"
    plain = classifier.classify(text)
    assert classifier.classify(text, Hints(schema=True))["structured_output"] > plain["structured_output"]
    assert classifier.classify(text, Hints(tools=True))["tool_use"] > plain["tool_use"]
    assert classifier.classify(text, Hints(input_tokens=100_000))["long_context"] > plain["long_context"]
    assert classifier.classify(text, Hints(remembered={"extract": 1.0}))["extract"] > plain["extract"]


def test_instructions_count(classifier: TaskClassifier) -> None:
    text = "Der Zug hat heute leider Verspätung."
    said = classifier.classify(text, Hints(instructions="Translate everything the user writes into English."))
    assert likeliest(said) == "translate"


def test_the_middle_of_a_long_text_is_not_read(classifier: TaskClassifier) -> None:
    head, tail = "Summarise this report. " + "x " * 300, " y" * 300 + " Keep it short."
    one = classifier.classify(head + "translate this poem into French " * 100 + tail)
    other = classifier.classify(head + "write a python function for me  " * 100 + tail)
    assert one == other


def test_a_damaged_file_is_refused() -> None:
    for content in (b"", b"PK\x03\x04 no", b"x" * 100):
        with pytest.raises(ClassifierError):
            TaskClassifier.from_bytes(content)
