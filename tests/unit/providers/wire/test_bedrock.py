import base64
import json
from typing import Any

import pytest

from services.providers.adapters.wire.aws_event_stream import BrokenFrame, FrameDecoder, encode_frame
from services.providers.adapters.wire.bedrock_anthropic import AnthropicOnBedrock
from services.providers.adapters.wire.bedrock_converse import BedrockConverse
from services.providers.adapters.wire.body import decode
from services.providers.domain.failure import AttemptError, Reason, RetryClass
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2 as pb

FORMAT = BedrockConverse()
CLAUDE = "us.anthropic.claude-sonnet-4-5-v1:0"


def frame(kind: str, payload: dict[str, Any], message: str = "event") -> bytes:
    name = ":event-type" if message == "event" else ":exception-type"
    headers = {name: kind, ":content-type": "application/json", ":message-type": message}
    return encode_frame(headers, json.dumps(payload).encode())


WHOLE = (
    frame("messageStart", {"role": "assistant"})
    + frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}})
    + frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}})
    + frame("contentBlockStop", {"contentBlockIndex": 0})
    + frame("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "Grüße"}})
    + frame(
        "contentBlockStart",
        {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "look"}}},
    )
    + frame("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"a":'}}})
    + frame("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": "1}"}}})
    + frame("contentBlockStop", {"contentBlockIndex": 2})
    + frame("messageStop", {"stopReason": "tool_use"})
    + frame(
        "metadata",
        {"usage": {"inputTokens": 5, "outputTokens": 9, "cacheReadInputTokens": 100, "totalTokens": 114}},
    )
)


@pytest.mark.parametrize("size", [1, 5, 64, 100_000])
def test_a_stream_of_frames_however_it_is_cut(size: int) -> None:
    parser = FORMAT.stream_parser({})
    deltas = []
    for start in range(0, len(WHOLE), size):
        deltas += parser.feed(WHOLE[start : start + size])
    assert parser.complete
    usage = parser.close().usage
    assert "".join(delta.text for delta in deltas) == "Grüße"
    assert "".join(delta.reasoning.text for delta in deltas) == "hm"
    assert b"".join(delta.reasoning.signature for delta in deltas) == b"s"
    assert "".join(delta.tool_call.arguments_json for delta in deltas) == '{"a":1}'
    assert deltas[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (105, 100, 9)


def test_a_flipped_bit_anywhere_is_noticed() -> None:
    one = frame("messageStart", {"role": "assistant"})
    for position in range(len(one)):
        broken = bytearray(one)
        broken[position] ^= 1
        decoder = FrameDecoder()
        with pytest.raises(BrokenFrame):
            # A changed length may also make it wait for more: then the next frame shows it.
            list(decoder.feed(bytes(broken) + one * 4))


def test_a_broken_frame_ends_the_stream_as_a_protocol_error() -> None:
    parser = FORMAT.stream_parser({})
    parser.feed(WHOLE[:60] + bytes(200))
    with pytest.raises(AttemptError) as told:
        parser.close()
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("throttlingException", Reason.ERROR_REASON_VENDOR_RATE_LIMITED),
        ("serviceUnavailableException", Reason.ERROR_REASON_VENDOR_OVERLOADED),
        ("internalServerException", Reason.ERROR_REASON_VENDOR_ERROR),
        ("modelStreamErrorException", Reason.ERROR_REASON_VENDOR_ERROR),
        ("validationException", Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST),
    ],
)
def test_exceptions_inside_a_stream(kind: str, reason: Reason.ValueType) -> None:
    parser = FORMAT.stream_parser({})
    parser.feed(frame("messageStart", {}) + frame(kind, {"message": "no"}, "exception"))
    with pytest.raises(AttemptError) as told:
        parser.close()
    assert told.value.failure.reason == reason
    assert told.value.failure.message == "no"


@pytest.mark.parametrize("length", [0, 30, len(WHOLE) // 2])
def test_a_stream_without_its_stop_is_truncated(length: int) -> None:
    parser = FORMAT.stream_parser({})
    parser.feed(WHOLE[:length])
    with pytest.raises(AttemptError) as told:
        parser.close()
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED


def test_claudes_own_events_come_in_frames() -> None:
    events = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    data = b"".join(
        frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()}) for event in events
    )
    parser = AnthropicOnBedrock().stream_parser({})
    assert [delta.text for delta in parser.feed(data) if delta.text] == ["Hi"]
    usage = parser.close().usage
    assert usage is not None
    assert usage.output_tokens == 2


def test_the_kind_of_an_error_is_in_a_header() -> None:
    headers = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/", "x-amzn-requestid": "r"}
    told = FORMAT.parse_error(429, headers, b'{"message":"slow down"}').failure
    assert told.reason == Reason.ERROR_REASON_VENDOR_RATE_LIMITED
    assert (told.vendor_code, told.vendor_request_id) == ("ThrottlingException", "r")
    ready = FORMAT.parse_error(429, {"x-amzn-errortype": "ModelNotReadyException"}, b"{}").failure
    assert ready.reason == Reason.ERROR_REASON_VENDOR_OVERLOADED
    assert ready.retry == RetryClass.RETRY_CLASS_SAME_ENDPOINT


def test_a_history_of_calls_without_tools_declares_what_was_called() -> None:
    given = pb.GenerationInput()
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "go"
    call = pb.ToolCall(id="1", name="look", arguments_json="{}")
    given.messages.add(role=pb.ROLE_ASSISTANT).parts.add().tool_call.CopyFrom(call)
    body = decode(FORMAT.build(Call(given, CLAUDE, 10, False), ModelProfile()).body)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["look"]


def test_a_cache_marker_never_follows_a_document_at_once() -> None:
    given = pb.GenerationInput()
    part = given.messages.add(role=pb.ROLE_USER).parts.add(cache=pb.CACHE_LIFETIME_SHORT)
    part.file.data, part.file.media_type = b"%PDF", "application/pdf"
    body = decode(FORMAT.build(Call(given, CLAUDE, 10, False), ModelProfile()).body)
    assert body["messages"][0]["content"][1:] == [{"text": "\n"}, {"cachePoint": {"type": "default"}}]


def test_names_of_documents_are_cleaned() -> None:
    given = pb.GenerationInput()
    message = given.messages.add(role=pb.ROLE_USER)
    for name in ("a_b/c.. d.pdf", "…", ""):
        file = message.parts.add().file
        file.data, file.media_type, file.filename = b"%PDF", "application/pdf", name
    body = decode(FORMAT.build(Call(given, CLAUDE, 10, False), ModelProfile()).body)
    names = [block["document"]["name"] for block in body["messages"][0]["content"]]
    assert names == ["a b c d", "document 2", "document 3"]


def test_thinking_is_claudes_alone() -> None:
    given = pb.GenerationInput(
        unsupported=pb.UNSUPPORTED_POLICY_DROP, reasoning_effort=pb.REASONING_EFFORT_LOW
    )
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "go"
    given.sampling.temperature = 0.3
    claude = FORMAT.build(Call(given, CLAUDE, 8_000, False), ModelProfile())
    body = decode(claude.body)
    assert body["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert "temperature" not in body["inferenceConfig"]
    assert list(claude.dropped) == ["temperature"]
    nova = FORMAT.build(Call(given, "amazon.nova-lite-v1:0", 8_000, False), ModelProfile())
    assert list(nova.dropped) == ["reasoning_effort"]


def test_vectors_of_both_families() -> None:
    titan = FORMAT.build_embed("amazon.titan-embed-text-v2:0", ["one"], 256)
    assert decode(titan.body) == {"inputText": "one", "dimensions": 256}
    with pytest.raises(AttemptError, match="one text at a time"):
        FORMAT.build_embed("amazon.titan-embed-text-v2:0", ["one", "two"], None)
    made = FORMAT.parse_embed({}, b'{"embedding":[0.5],"inputTextTokenCount":2}')
    assert made.usage is not None
    assert made.usage.input_tokens == 2
    cohere = FORMAT.parse_embed(
        {"x-amzn-bedrock-input-token-count": "7"}, b'{"embeddings":{"float":[[1],[2]]}}'
    )
    assert len(cohere.embeddings) == 2
    assert cohere.usage is not None
    assert cohere.usage.input_tokens == 7
