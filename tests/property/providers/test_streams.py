"""Streams cut anywhere, with what servers put between the events, say the same."""

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.providers.adapters.registry import wire_formats
from services.providers.adapters.wire.sse import LineDecoder, SseDecoder

texts = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), min_size=1, max_size=8)
one_line = st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
between = st.sampled_from(
    [b"", b": comment\n\n", b": ping - 12:00\r\n\r\n", b'data: {"choices": []}\n\n', b"\n\n"]
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(edges)]


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))),
    line_ends,
    st.data(),
)
def test_lines_are_the_same_wherever_they_are_cut(
    lines: list[bytes], end: bytes, data: st.DataObject
) -> None:
    whole = b"".join(line + end for line in lines)
    places = data.draw(st.lists(st.integers(0, 500), max_size=20))
    decoder = LineDecoder()
    found = [line for piece in cut(whole, places) for line in decoder.feed(piece)]
    assert found == lines
    assert decoder.flush() == b""


@settings(deadline=None)
@given(texts, between, st.lists(st.integers(0, 5000), max_size=30), st.booleans())
def test_a_chat_stream_says_the_same_wherever_it_is_cut(
    pieces: list[str], noise: bytes, places: list[int], ascii_only: bool
) -> None:
    body = b""
    for piece in pieces:
        said = {"choices": [{"index": 0, "delta": {"content": piece}}]}
        body += noise + b"data: " + json.dumps(said, ensure_ascii=ascii_only).encode() + b"\n\n"
    body += noise + b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n' + noise
    body += (
        b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\ndata: [DONE]\n\n'
    )
    parser = wire_formats()["openai_chat"].stream_parser({})
    text = "".join(delta.text for part in cut(body, places) for delta in parser.feed(part))
    answer = parser.close()
    assert text == "".join(pieces)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 4


@settings(deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10))
def test_no_bytes_make_a_parser_raise(data: bytes, places: list[int]) -> None:
    for wire_format in wire_formats().values():
        parser = wire_format.stream_parser({"content-type": "text/event-stream"})
        for piece in cut(data, places):
            parser.feed(piece)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                "choices", "delta", "index", "tool_calls", "function", "arguments", "usage", "error", "content", "type",
                "finish_reason", "id", "message", "response", "output", "item", "candidates", "parts", "stopReason",
            ]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["choices", "type", "usage", "response", "item"]), json_values))
)
def test_no_events_of_any_shape_make_a_parser_raise(events: list[object]) -> None:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    for name in ("openai_chat", "openai_responses"):
        wire_formats()[name].stream_parser({}).feed(body)


def test_an_event_of_several_data_lines_is_one() -> None:
    assert [event.data for event in SseDecoder().feed(b"data: a\ndata: b\n\n")] == [b"a\nb"]
