"""What proxies, copies and servers on the way add to streams and answers, and what must not matter."""

import json
from typing import Any

import pytest

from services.providers.adapters.registry import format_of
from services.providers.adapters.wire import sse
from services.providers.adapters.wire.body import decode
from services.providers.adapters.wire.sse import LineTooLong, SseDecoder
from services.providers.domain.failure import AttemptError, Reason
from services.providers.ports import StreamParser
from services.providers.use_cases.bodies import is_stream

MARK = b"\xef\xbb\xbf"
CHAT: list[dict[str, Any]] = [
    {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "null"}]},
    {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
CLAUDE: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
GEMINI: list[dict[str, Any]] = [
    {"candidates": [{"index": 0, "content": {"parts": [{"text": "Hi"}]}}]},
    {"candidates": [{"index": 0, "finishReason": "STOP"}]},
]
RESPONSES: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"},
    {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}},
]
COHERE: list[dict[str, Any]] = [
    {"type": "message-start", "id": "c"},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
]
STREAMS: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "chat completions": ("openai", "openai_chat", CHAT),
    "Claude": ("anthropic", "anthropic_messages", CLAUDE),
    "Gemini": ("gemini", "gemini", GEMINI),
    "Responses": ("openai", "openai_responses", RESPONSES),
    "Cohere": ("cohere", "cohere_chat", COHERE),
}


def parser_of(name: str) -> StreamParser:
    provider, wire_format, _ = STREAMS[name]
    speaks = format_of(provider, wire_format)
    assert speaks is not None
    return speaks.stream_parser({})


def events(name: str) -> list[bytes]:
    return [json.dumps(event).encode() for event in STREAMS[name][2]]


DRESSED = {
    "with a byte order mark": lambda pieces: MARK + b"".join(b"data: " + piece + b"\n\n" for piece in pieces),
    "with a [DONE] of a proxy": lambda pieces: (
        b"".join(b"data: " + piece + b"\n\n" for piece in pieces) + b"data: [DONE]\n\n"
    ),
    "with events that have no data": lambda pieces: b"data: \n\n".join(
        b"data:" + piece + b"\n\n" for piece in pieces
    ),
    "with heartbeats": lambda pieces: b": ping\n\nevent: ping\n\n".join(
        b"data: " + piece + b"\r\n\r\n" for piece in pieces
    ),
    "with ids and retries": lambda pieces: b"".join(
        b"id: 7\nretry: 100\ndata: " + piece + b"\n\n" for piece in pieces
    ),
    "with carriage returns alone": lambda pieces: b"".join(b"data: " + piece + b"\r\r" for piece in pieces),
    "with padding": lambda pieces: b"".join(b"data:   " + piece + b"  \n\n" for piece in pieces),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("dress", DRESSED)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_stream_says_the_same_however_it_is_dressed(name: str, dress: str, size: int) -> None:
    body, parser = DRESSED[dress](events(name)), parser_of(name)
    deltas = []
    for start in range(0, len(body), size):
        deltas += parser.feed(body[start : start + size])
    parser.close()
    assert "".join(delta.text for delta in deltas) == "Hi"
    assert [bool(delta.finish_reason) for delta in deltas] == [False, True]


def test_an_answer_may_begin_with_a_byte_order_mark() -> None:
    assert decode(MARK + b'{"a": 1}') == {"a": 1}


def test_an_event_of_endless_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LINE_BYTES_MAX", 1 << 10)
    decoder = SseDecoder()
    with pytest.raises(LineTooLong):
        for _ in range(200):
            decoder.feed(b"data: {\n")


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("field", ["data", "error"])
def test_an_event_that_is_too_long_when_the_stream_ends_broke_off(
    name: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "LINE_BYTES_MAX", 1 << 10)
    parser = parser_of(name)
    start = f'data: {{"text": "\n{field}: '.encode()
    parser.feed(b"data: " + events(name)[0] + b"\n\n")
    for piece in (start, b"a" * 600 + b"\ndata: ", b"b" * 600):
        parser.feed(piece)
    with pytest.raises(AttemptError) as caught:
        parser.close()
    assert caught.value.failure.reason in (
        Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED,
        Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR,
    )


@pytest.mark.parametrize("ends", [b"", b"\n"])
def test_what_came_whole_before_what_is_too_long_is_heard(
    ends: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "LINE_BYTES_MAX", 1 << 10)
    decoder = SseDecoder()
    whole = b'data: {"a": 1}\n\n'
    assert [event.data for event in decoder.feed(whole + b"data: " + b"x" * 2_000 + ends)] == [b'{"a": 1}']
    with pytest.raises(LineTooLong):
        decoder.feed(b"more")
    assert decoder.flush() == []


def test_what_came_whole_before_what_is_too_long_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LINE_BYTES_MAX", 1 << 10)
    body = b"".join(b"data: " + piece + b"\n\n" for piece in events("chat completions"))
    parser = parser_of("chat completions")
    assert [delta.text for delta in parser.feed(body + b"data: " + b"x" * 2_000)] == ["Hi", ""]
    assert parser.close().choices == []
    speaks = format_of("ollama", "ollama_chat")
    assert speaks is not None
    lines = speaks.stream_parser({})
    said = json.dumps({"message": {"content": "Hi"}}).encode() + b"\n"
    assert [delta.text for delta in lines.feed(said + b"{" + b"x" * 2_000)] == ["Hi"]
    with pytest.raises(AttemptError) as caught:
        lines.close()
    assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_byte_order_marks_matter_nowhere_but_before_the_first_line(size: int) -> None:
    def heard(body: bytes) -> list[bytes]:
        decoder, found = SseDecoder(), list[bytes]()
        for start in range(0, len(body), size):
            found += [event.data for event in decoder.feed(body[start : start + size])]
        return found

    assert heard(MARK + b"data: 1\n\n") == [b"1"]
    assert heard(MARK * 3_000 + b"data: 1\n\ndata: 2\n\n") == [b"2"]
    assert heard(b"data: 1\n\n" + MARK + b"data: 2\n\ndata: 3\n\n") == [b"1", b"3"]


BROKEN: dict[str, tuple[dict[str, Any], Reason.ValueType]] = {
    "Groq, beside the choices": (
        {"choices": [], "x_groq": {"id": "r", "error": "Failed to call a function."}},
        Reason.ERROR_REASON_VENDOR_ERROR,
    ),
    "OpenRouter, within a choice": (
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": ""},
                    "finish_reason": "error",
                    "error": {"code": 429, "message": "Rate limited upstream"},
                }
            ]
        },
        Reason.ERROR_REASON_VENDOR_RATE_LIMITED,
    ),
    "Cerebras, its status beside it": (
        {"error": {"message": "too busy", "type": "too_many_requests_error"}, "status_code": 429},
        Reason.ERROR_REASON_VENDOR_RATE_LIMITED,
    ),
    "a purse that is empty by now": (
        {"error": {"message": "Insufficient balance", "type": "unknown_error"}},
        Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_errors_inside_streams_of_chat_completions(name: str) -> None:
    event, reason = BROKEN[name]
    parser = parser_of("chat completions")
    parser.feed(b"data: " + events("chat completions")[0] + b"\n\n")
    parser.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert parser.complete
    with pytest.raises(AttemptError) as caught:
        parser.close()
    assert caught.value.failure.reason == reason


def test_an_error_beside_the_last_words_of_a_choice_is_heard() -> None:
    parser = parser_of("chat completions")
    choice = {"index": 0, "delta": {"content": "Hi"}, "error": {"code": 502, "message": "upstream broke"}}
    deltas = parser.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
    assert [delta.text for delta in deltas] == ["Hi"]
    with pytest.raises(AttemptError) as caught:
        parser.close()
    assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_ERROR


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("begins", [MARK, MARK + b"\n \n", b"\n \n", b""])
def test_an_array_may_begin_with_a_byte_order_mark_that_is_cut(begins: bytes, size: int) -> None:
    body = begins + b"[" + b",\n".join(events("Gemini")) + b"]"
    assert is_stream(body)
    parser, deltas = parser_of("Gemini"), []
    for start in range(0, len(body), size):
        deltas += parser.feed(body[start : start + size])
    parser.close()
    assert "".join(delta.text for delta in deltas) == "Hi"


def test_an_answer_that_is_an_error_by_its_base_alone() -> None:
    speaks = format_of("minimax", "openai_chat")
    assert speaks is not None
    body = {
        "id": "x",
        "choices": None,
        "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"},
    }
    with pytest.raises(AttemptError) as caught:
        speaks.parse_response({}, json.dumps(body).encode())
    assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_QUOTA_EXHAUSTED


def test_an_answer_of_claude_may_have_no_content_at_all() -> None:
    speaks = format_of("anthropic", "anthropic_messages")
    assert speaks is not None
    body = {
        "type": "message",
        "content": None,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 0},
    }
    answer = speaks.parse_response({}, json.dumps(body).encode())
    assert not answer.choices[0].message.parts
    assert answer.usage is not None
    assert answer.usage.input_tokens == 3
