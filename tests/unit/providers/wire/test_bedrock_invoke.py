"""What families other than Claude answer to InvokeModel, whole and in pieces: bodies by their documentation."""

import base64
import json
from typing import Any

import pytest

from services.providers.adapters.wire.aws_event_stream import encode_frame
from services.providers.adapters.wire.bedrock_anthropic import AnthropicOnBedrock
from services.providers.domain.failure import AttemptError, Reason
from services.providers.ports import Answer
from turnpike.common.v1 import content_pb2

FORMAT = AnthropicOnBedrock()
COUNTED = {"x-amzn-bedrock-input-token-count": "9", "x-amzn-bedrock-output-token-count": "4"}
METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 4}}
USAGE = {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}


def said(answer: Answer) -> list[tuple[str, str]]:
    return [
        (
            "".join(part.text.text for part in choice.message.parts),
            content_pb2.FinishReason.Name(choice.finish_reason).removeprefix("FINISH_REASON_"),
        )
        for choice in answer.choices
    ]


def counts(answer: Answer) -> tuple[int, int] | None:
    return None if answer.usage is None else (answer.usage.input_tokens, answer.usage.output_tokens)


WHOLE: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "Nova": (
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
            "stopReason": "max_tokens",
            "usage": USAGE,
        },
        [("Hi", "LENGTH")],
    ),
    "Titan": (
        {"inputTextTokenCount": 9, "results": [{"outputText": "Hi", "completionReason": "FINISH"}]},
        [("Hi", "STOP")],
    ),
    "Llama": ({"generation": "Hi", "generation_token_count": 4, "stop_reason": "stop"}, [("Hi", "STOP")]),
    "Mistral": ({"outputs": [{"text": "Hi", "stop_reason": "length"}]}, [("Hi", "LENGTH")]),
    "Mistral's chat": (
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "stop_reason": "stop"}]},
        [("Hi", "STOP")],
    ),
    "DeepSeek": ({"choices": [{"text": "Hi", "stop_reason": "stop"}]}, [("Hi", "STOP")]),
    "Command": (
        {
            "generations": [
                {"text": "Hi", "finish_reason": "COMPLETE"},
                {"text": "Ho", "finish_reason": "MAX_TOKENS"},
            ]
        },
        [("Hi", "STOP"), ("Ho", "LENGTH")],
    ),
    "Command R": ({"text": "Hi", "finish_reason": "COMPLETE", "generation_id": "g"}, [("Hi", "STOP")]),
    "Jurassic": (
        {"id": 1, "completions": [{"data": {"text": "Hi"}, "finishReason": {"reason": "endoftext"}}]},
        [("Hi", "STOP")],
    ),
    "Claude of old": ({"completion": "Hi", "stop_reason": "stop_sequence"}, [("Hi", "STOP")]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_answers_of_other_families(name: str) -> None:
    body, expected = WHOLE[name]
    answer = FORMAT.parse_response(COUNTED, json.dumps(body).encode())
    assert said(answer) == expected
    assert counts(answer) == (9, 4)


def frames(*events: dict[str, Any]) -> bytes:
    made = b""
    for event in events:
        inner = base64.b64encode(json.dumps(event).encode()).decode()
        headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
        made += encode_frame(headers, json.dumps({"bytes": inner, "p": "abc"}).encode())
    return made


def chat_chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, **more}]}


STREAMS: dict[str, tuple[dict[str, Any], ...]] = {
    "Nova": (
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "H"}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "i"}}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": USAGE}, **METRICS},
    ),
    "Titan": (
        {"outputText": "H", "index": 0, "completionReason": None, "inputTextTokenCount": 9},
        {"outputText": "i", "index": 0, "completionReason": "FINISH", **METRICS},
    ),
    "Llama": (
        {"generation": "H", "prompt_token_count": 9, "stop_reason": None},
        {"generation": "i", "prompt_token_count": None, "stop_reason": "stop", **METRICS},
    ),
    "Mistral": (
        {"outputs": [{"text": "H", "stop_reason": None}]},
        {"outputs": [{"text": "i", "stop_reason": "stop"}], **METRICS},
    ),
    "Command": (
        {"is_finished": False, "text": "H"},
        {"is_finished": False, "text": "i"},
        {"is_finished": True, "finish_reason": "COMPLETE", **METRICS},
    ),
    "Command R": (
        {"event_type": "stream-start", "is_finished": False},
        {"event_type": "text-generation", "is_finished": False, "text": "Hi"},
        {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", **METRICS},
    ),
    "Claude of old": (
        {"completion": "H", "stop_reason": None},
        {"completion": "i", "stop_reason": "stop_sequence", **METRICS},
    ),
    "chat completions": (
        chat_chunk({"role": "assistant", "content": "H"}),
        chat_chunk({"content": "i"}),
        {**chat_chunk({}, finish_reason="stop"), **METRICS},
    ),
    "Mistral's chat": (
        chat_chunk({"content": "Hi"}, stop_reason=None),
        {**chat_chunk({"content": ""}, stop_reason="stop"), **METRICS},
    ),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_streams_of_other_families(name: str, size: int) -> None:
    body = frames(*STREAMS[name])
    parser = FORMAT.stream_parser({})
    deltas = []
    for start in range(0, len(body), size):
        deltas += parser.feed(body[start : start + size])
    assert parser.complete
    assert "".join(delta.text for delta in deltas) == "Hi"
    ends = [delta.finish_reason for delta in deltas if delta.finish_reason]
    assert ends == [content_pb2.FINISH_REASON_STOP]
    assert counts(parser.close()) == (9, 4)


@pytest.mark.parametrize("name", STREAMS)
def test_streams_of_other_families_that_are_cut(name: str) -> None:
    parser = FORMAT.stream_parser({})
    parser.feed(frames(*STREAMS[name][:1]))
    with pytest.raises(AttemptError) as caught:
        parser.close()
    assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED


@pytest.mark.parametrize("name", STREAMS)
def test_exceptions_end_them_all(name: str) -> None:
    parser = FORMAT.stream_parser({})
    headers = {":exception-type": "throttlingException", ":message-type": "exception"}
    parser.feed(frames(*STREAMS[name][:1]) + encode_frame(headers, b'{"message": "Too many requests"}'))
    assert parser.complete
    with pytest.raises(AttemptError) as caught:
        parser.close()
    assert caught.value.failure.reason == Reason.ERROR_REASON_VENDOR_RATE_LIMITED
