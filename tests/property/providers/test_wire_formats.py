"""No answer of a vendor, however strange, is more than a typed failure; and how bytes are cut changes nothing."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.providers.adapters.registry import vendors
from services.providers.adapters.wire.aws_event_stream import encode_frame
from services.providers.domain.failure import AttemptError
from services.providers.ports import CountsTokens, Embeds, WireFormat
from turnpike.common.v1 import content_pb2 as pb

FORMATS: dict[str, WireFormat] = {
    f"{vendor.name}.{name}": wire_format
    for vendor in vendors().values()
    for name, wire_format in vendor.formats.items()
}
# One of each kind: the dialects of one shape share their code.
KINDS = sorted({type(wire_format).__name__: name for name, wire_format in sorted(FORMATS.items())}.values())

WORDS = [
    "id",
    "type",
    "model",
    "role",
    "content",
    "text",
    "thinking",
    "signature",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "index",
    "delta",
    "usage",
    "error",
    "message",
    "choices",
    "finish_reason",
    "stop_reason",
    "input_tokens",
    "output_tokens",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "candidates",
    "parts",
    "functionCall",
    "args",
    "thoughtSignature",
    "usageMetadata",
    "promptTokenCount",
    "promptFeedback",
    "blockReason",
    "output",
    "toolUse",
    "toolUseId",
    "input",
    "stopReason",
    "contentBlockIndex",
    "done",
    "done_reason",
    "eval_count",
    "response",
    "item",
    "output_index",
    "status",
    "code",
    "details",
    "reason_details",
    "logprobs",
    "embeddings",
    "data",
    "embedding",
    "values",
    "float",
    "meta",
    "billed_units",
    "tokens",
    "statistics",
    "predictions",
    "incomplete_details",
    "refusal",
    "annotations",
]
VALUES = (
    "text",
    "tool_use",
    "content_block_delta",
    "message_start",
    "message_stop",
    "error",
    "STOP",
    "stop",
    "",
    "x",
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 1 << 60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(VALUES),
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS), inner, max_size=6)
    ),
    max_leaves=24,
)
objects = st.dictionaries(st.sampled_from(WORDS), values, max_size=8)
headers = st.dictionaries(
    st.sampled_from(
        (
            "content-type",
            "x-request-id",
            "retry-after",
            "retry-after-ms",
            "x-amzn-errortype",
            "x-should-retry",
        )
    ),
    st.sampled_from(("application/json", "true", "1", "nonsense", "Wed, 21 Oct 2026 07:28:00 GMT", "")),
    max_size=3,
)
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def as_stream(events: list[dict[str, Any]], name: str) -> bytes:
    if "bedrock" in name:
        kinds = ("messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata", "chunk")
        return b"".join(
            encode_frame(
                {":message-type": "event", ":event-type": kinds[number % len(kinds)]},
                json.dumps(event).encode(),
            )
            for number, event in enumerate(events)
        )
    if "ollama_chat" in name:
        return b"".join(json.dumps(event).encode() + b"\n" for event in events)
    return b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)


@pytest.mark.parametrize("name", KINDS)
@given(
    body=st.one_of(st.binary(max_size=64), objects.map(lambda value: json.dumps(value).encode())),
    told=headers,
)
@many
def test_whole_answers(name: str, body: bytes, told: dict[str, str]) -> None:
    wire_format = FORMATS[name]
    try:
        answer = wire_format.parse_response(told, body)
    except AttemptError as error:
        assert error.failure.message
    else:
        assert all(isinstance(choice, pb.Choice) for choice in answer.choices)
    if isinstance(wire_format, CountsTokens):
        try:
            assert wire_format.parse_count(told, body) >= 0
        except AttemptError as error:
            assert error.failure.message
    if isinstance(wire_format, Embeds):
        try:
            assert wire_format.parse_embed(told, body).embeddings
        except AttemptError as error:
            assert error.failure.message


@pytest.mark.parametrize("name", KINDS)
@given(
    status=st.sampled_from(
        (0, 200, 301, 400, 401, 402, 403, 404, 408, 413, 422, 429, 498, 500, 502, 503, 529, 599)
    ),
    body=st.one_of(st.binary(max_size=64), values.map(lambda value: json.dumps(value).encode())),
    told=headers,
)
@many
def test_errors_are_always_classified(name: str, status: int, body: bytes, told: dict[str, str]) -> None:
    failure = FORMATS[name].parse_error(status, told, body).failure
    assert failure.reason
    assert failure.retry
    assert failure.message


@pytest.mark.parametrize("name", KINDS)
@given(
    events=st.lists(objects, max_size=6), noise=st.binary(max_size=16), cut=st.integers(1, 40), told=headers
)
@many
def test_streams(
    name: str, events: list[dict[str, Any]], noise: bytes, cut: int, told: dict[str, str]
) -> None:
    data = as_stream(events, name) + noise

    def parsed(size: int) -> tuple[list[bytes], str]:
        parser = FORMATS[name].stream_parser(told)
        deltas = []
        for start in range(0, len(data), size):
            deltas += parser.feed(data[start : start + size])
        parser.usage_so_far()
        try:
            answer = parser.close()
        except AttemptError as error:
            assert error.failure.message
            return [delta.SerializeToString() for delta in deltas], str(error.failure.reason)
        return [delta.SerializeToString() for delta in deltas], str(answer.usage)

    assert parsed(cut) == parsed(len(data) or 1)
