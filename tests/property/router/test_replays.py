"""A decision becomes a record, as bytes, and is decided again from those: to the last bit the same."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kernel.ids import DecisionId
from services.router.adapters.learned import open_prior
from services.router.convert_decision import to_pb_record
from services.router.convert_inputs import from_pb_question
from services.router.convert_replay import differences, to_pb_again
from services.router.domain.access import Access, Caller
from services.router.domain.board import Weather
from services.router.domain.catalogue import Health, ModelKind
from services.router.domain.codec import CodecError
from services.router.domain.conditions import BreakerState, Condition, Conditions, Speed
from services.router.domain.constraints import Headroom
from services.router.domain.estimates import CataloguePriors, Estimator
from services.router.domain.features import Priority
from services.router.domain.learned import LearnedEstimator
from services.router.domain.learning.evidence import Evidence, Feedback
from services.router.domain.plan import Question, decide
from services.router.domain.snapshots import BOARDS_KEPT, Archive, Boards, named
from services.router.domain.task_belief import TASKS
from services.router.records import DecisionRecord
from tests.property.router.test_governance import NAMES, grants, requests, rules, worlds
from tests.support.boards import board, model, price, question, replace
from turnpike.router.v1 import decision_pb2 as pb

CALLER = Caller("o", "t", "p", "k")
SHIPPED = open_prior()


def learned() -> LearnedEstimator:
    """The shipped prior after some verdicts."""
    evidence = Evidence(TASKS)
    for place, name in enumerate(NAMES):
        evidence.update(Feedback(name, {"code": 0.7, "chat": 0.3}, 0.5, place / len(NAMES)))
    return LearnedEstimator(SHIPPED, evidence, len(NAMES))


ESTIMATORS: tuple[Estimator, ...] = (CataloguePriors(), SHIPPED, learned())

floats = st.floats(0.001, 50.0)
conditions = st.dictionaries(
    st.sampled_from([f"ep-{name}" for name in NAMES]),
    st.builds(
        Condition,
        health=st.sampled_from(tuple(Health)),
        message=st.sampled_from(("", "Its vendor says no.")),
        retry_at_s=st.sampled_from((None, 999_990.0, 1_000_010.25)),
        breaker=st.sampled_from(tuple(BreakerState)),
        speed=st.builds(Speed, floats, floats, floats, st.floats(0.0, 1.0), floats),
    ),
)
beliefs = st.lists(st.floats(0.01, 1.0), min_size=len(TASKS), max_size=len(TASKS)).map(
    lambda odds: {task: each / sum(odds) for task, each in zip(TASKS, odds, strict=True)}
)

extras: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "language": st.sampled_from(("", "de")),
        "parameters": st.sampled_from((frozenset(), frozenset({"temperature", "stop"}))),
        "reasoning_effort": st.sampled_from(("", "low")),
        "cache_markers": st.booleans(),
        "images": st.integers(0, 2),
        "output_tokens_hint": st.sampled_from((None, 40)),
        "kind": st.sampled_from((ModelKind.CHAT, ModelKind.CHAT, ModelKind.EMBEDDING)),
    }
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Anything that may be asked of the engine."""
    on = board(
        *draw(worlds),
        prices={
            name: price(name, draw(st.integers(1, 90)) / 7, draw(st.integers(1, 90)) / 7) for name in NAMES
        },
    )
    ruled = replace(draw(rules), weights=None, priority=draw(st.sampled_from(tuple(Priority))))
    asked = question(
        on,
        features=replace(draw(requests), **draw(extras)),
        rules=ruled,
        access=Access(draw(grants)),
        conditions=draw(conditions),
        seed=draw(st.integers(0, 2**62)),
        belief=draw(beliefs),
        quality_min=draw(st.sampled_from((None, 0.0, 0.45))),
        pressure=draw(st.sampled_from((0.0, 0.3, 1.0))),
        avoid=draw(st.sampled_from((frozenset(), frozenset({"ep-a/one"})))),
        headroom=draw(
            st.sampled_from(
                ((), (Headroom("", "team", 5_000_000, None),), (Headroom("group:small", "", None, 900),))
            )
        ),
        input_bounds=draw(st.sampled_from(((), (777,)))),
    )
    return replace(asked, estimator=draw(st.sampled_from(ESTIMATORS)))


def recorded(asked: Question, archive: Archive) -> tuple[bytes, dict[bytes, bytes]]:
    """What is kept of a decision, as bytes, and of what it was made from."""
    record = DecisionRecord(
        DecisionId.new(), "r", CALLER, datetime(2026, 3, 1, tzinfo=UTC), decide(asked), False, {}
    )
    taken = archive.take(asked)
    contents = {each.snapshot_id: each.content for each in taken.all}
    return to_pb_record(record, taken).SerializeToString(), contents


@settings(max_examples=150, deadline=None)
@given(questions())
def test_what_was_recorded_is_decided_again_to_the_last_bit(asked: Question) -> None:
    content, contents = recorded(asked, Archive())
    then = pb.Decision.FromString(content)
    again = decide(from_pb_question(then, contents))
    now = to_pb_again(then, again)
    assert differences(then, now) == []
    assert now.SerializeToString(deterministic=True) == then.SerializeToString(deterministic=True)


@settings(max_examples=40, deadline=None)
@given(questions())
def test_contents_are_named_alike_wherever_they_are_taken(asked: Question) -> None:
    _, contents = recorded(asked, Archive())
    then = pb.Decision.FromString(recorded(asked, Archive())[0])
    again = from_pb_question(then, contents)
    assert recorded(again, Archive())[1] == contents


def stored() -> tuple[pb.Decision, dict[bytes, bytes]]:
    """A decision between two models, and what it was made from."""
    on = board(model("a/one"), model("a/two"), prices={"a/two": price("a/two", 9.0, 9.0)})
    content, contents = recorded(replace(question(on), estimator=SHIPPED), Archive())
    return pb.Decision.FromString(content), contents


def test_a_difference_is_said() -> None:
    then, contents = stored()
    now = to_pb_again(then, decide(from_pb_question(then, contents)))
    then.versions.engine = "1"
    then.candidate_table.utility[0] += 1e-9
    then.plan[:] = ["a/two", "a/one"]
    assert differences(then, now) == [
        f"Engine 1 made it, engine {now.versions.engine} makes it again.",
        "The field plan differs.",
        "Of the candidates, utility differ.",
    ]


def test_what_is_missing_damaged_or_another_versions_is_no_question() -> None:
    then, contents = stored()
    with pytest.raises(KeyError):
        from_pb_question(then, {})
    for broken in (b"", b"junk", contents[then.inputs.board][:-9], contents[then.inputs.terms]):
        with pytest.raises(CodecError):
            from_pb_question(then, {**contents, then.inputs.board: broken})
    for content in (
        b'{"catalogue":{"revision":1,"models":{}},"price_revision":1,"prices":{},"new":1}',
        b"[]",
        b"{",
    ):
        other = named(content)
        then.inputs.board = other.snapshot_id
        with pytest.raises(CodecError):
            from_pb_question(then, {**contents, other.snapshot_id: other.content})


def test_a_board_is_read_once_and_decides_the_same() -> None:
    then, contents = stored()
    boards = Boards()
    first, second = (from_pb_question(then, contents, boards) for _ in range(2))
    assert first.board is second.board
    apart = from_pb_question(then, contents)
    assert to_pb_again(then, decide(second)) == to_pb_again(then, decide(apart))
    names = [named(bytes([number])).snapshot_id for number in range(BOARDS_KEPT)]
    for name in names:  # as many others push it out
        boards.of(name, lambda: apart.board)
    assert from_pb_question(then, contents, boards).board is not first.board


def test_the_same_is_written_once() -> None:
    archive, on = Archive(), board(model("a/one"))
    one, other = question(on, seed=1), question(on, seed=2)
    other = replace(other, weather=one.weather, standing=one.standing)
    first = archive.take(one)
    assert all(mine is theirs for mine, theirs in zip(first.all, archive.take(other).all, strict=True))
    calm = archive.take(replace(other, weather=Weather(on, Conditions(2, {}))))
    assert calm.weather is not first.weather
    assert calm.weather.snapshot_id == first.weather.snapshot_id  # nothing is measured, so nothing changes
