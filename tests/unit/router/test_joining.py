"""Pieces of text that came together are joined; whatever is more than plain text stays a piece of its own."""

import pytest

from services.router.adapters.providers import join_deltas
from turnpike.common.v1 import content_pb2 as content
from turnpike.providers.v1 import providers_pb2 as pb


def piece(**fields: object) -> pb.DispatchEvent:
    return pb.DispatchEvent(delta=content.ChoiceDelta(**fields))  # type: ignore[arg-type]


def test_text_of_one_choice_is_joined() -> None:
    before = piece(text="hello", index=1)
    assert join_deltas(before, piece(text=" you", index=1))
    assert before == piece(text="hello you", index=1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (piece(text="a"), piece(text="b", index=1)),
        (piece(text="a"), piece(reasoning=content.ReasoningPart(text="b"))),
        (piece(tool_call=content.ToolCallDelta(arguments_json="{")), piece(text="b")),
        (piece(text="a"), piece(text="b", finish_reason=content.FINISH_REASON_STOP)),
        (piece(text="a", finish_reason=content.FINISH_REASON_STOP), piece(text="b")),
        (piece(text="a"), piece(text="b", logprobs=[content.TokenLogprob(token="b")])),
        (pb.DispatchEvent(started=pb.AttemptStarted()), piece(text="b")),
        (piece(text="a"), pb.DispatchEvent(finished=pb.AttemptFinished())),
    ],
)
def test_what_is_more_than_text_is_left_alone(before: pb.DispatchEvent, after: pb.DispatchEvent) -> None:
    kept = before.SerializeToString(), after.SerializeToString()
    assert not join_deltas(before, after)
    assert (before.SerializeToString(), after.SerializeToString()) == kept
