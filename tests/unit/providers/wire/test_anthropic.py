import json
from typing import Any

import pytest

from services.providers.adapters.wire.anthropic import AnthropicMessages
from services.providers.adapters.wire.anthropic_request import closed
from services.providers.adapters.wire.body import decode
from services.providers.domain.failure import AttemptError, Reason
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Answer, Call
from turnpike.common.v1 import content_pb2 as pb

FORMAT = AnthropicMessages()
BUDGET = ModelProfile(model="anthropic/claude-sonnet-4-5", reasoning=True, hints={"thinking": "budget"})
ADAPTIVE = ModelProfile(
    model="anthropic/claude-opus-4-8",
    reasoning=True,
    reasoning_efforts=("low", "medium", "high", "xhigh", "max"),
    refused_parameters=frozenset({"temperature", "top_p", "top_k"}),
    hints={"thinking": "adaptive", "prefill": "refused", "forced_tool_choice": "refused"},
)


def asking(
    text: str = "Hello", policy: pb.UnsupportedPolicy.ValueType = pb.UNSUPPORTED_POLICY_REFUSE
) -> pb.GenerationInput:
    made = pb.GenerationInput(unsupported=policy)
    made.messages.add(role=pb.ROLE_USER).parts.add().text.text = text
    return made


def built(
    given: pb.GenerationInput, profile: ModelProfile = BUDGET, cap: int = 4_000
) -> tuple[dict[str, Any], list[str]]:
    request = FORMAT.build(Call(given, "m", cap, False, provider="anthropic"), profile)
    body: dict[str, Any] = decode(request.body)
    return body, list(request.dropped)


def test_effort_becomes_a_budget_that_leaves_room_for_the_answer() -> None:
    given = asking()
    given.reasoning_effort = pb.REASONING_EFFORT_HIGH
    assert built(given, cap=100_000)[0]["thinking"] == {"type": "enabled", "budget_tokens": 24_576}
    assert built(given, cap=8_000)[0]["thinking"]["budget_tokens"] == 6_000
    with pytest.raises(AttemptError, match="reasoning_effort"):
        built(given, cap=1_200)


def test_effort_becomes_adaptive_where_budgets_are_gone() -> None:
    given = asking()
    given.reasoning_effort = pb.REASONING_EFFORT_MAX
    body, _ = built(given, ADAPTIVE)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "xhigh"}


def test_no_effort_turns_thinking_off_where_it_is_on_by_itself() -> None:
    given = asking()
    given.reasoning_effort = pb.REASONING_EFFORT_NONE
    assert "thinking" not in built(given)[0]
    assert built(given, ADAPTIVE)[0]["thinking"] == {"type": "disabled"}
    always = ModelProfile(model="anthropic/claude-fable-5-1", reasoning=True, hints={"thinking": "adaptive"})
    assert built(given, always)[0]["output_config"] == {"effort": "low"}


def test_a_model_the_catalogue_does_not_know_is_told_by_its_name() -> None:
    given = asking()
    given.reasoning_effort = pb.REASONING_EFFORT_LOW
    assert built(given, ModelProfile(model="x/claude-sonnet-5"))[0]["thinking"]["type"] == "adaptive"
    assert built(given, ModelProfile(model="x/claude-sonnet-4-5"))[0]["thinking"]["type"] == "enabled"


def test_what_a_model_refuses_is_refused_or_left_out_and_said() -> None:
    given = asking()
    given.sampling.temperature = 0.2
    given.sampling.seed = 7
    with pytest.raises(AttemptError) as refused:
        built(given, ADAPTIVE)
    assert refused.value.failure.reason == Reason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert refused.value.failure.parameter == "temperature"
    given.unsupported = pb.UNSUPPORTED_POLICY_DROP
    body, dropped = built(given, ADAPTIVE)
    assert "temperature" not in body
    assert dropped == ["temperature", "seed"]


def test_sampling_is_left_out_while_the_model_thinks() -> None:
    given = asking(policy=pb.UNSUPPORTED_POLICY_DROP)
    given.reasoning_effort = pb.REASONING_EFFORT_LOW
    given.sampling.temperature = 0.2
    body, dropped = built(given)
    assert "temperature" not in body
    assert dropped == ["temperature"]


def test_a_forced_call_goes_before_thinking() -> None:
    given = asking(policy=pb.UNSUPPORTED_POLICY_DROP)
    given.reasoning_effort = pb.REASONING_EFFORT_LOW
    given.tools.add(name="look")
    given.tool_choice.tool_name = "look"
    body, dropped = built(given)
    assert "thinking" not in body
    assert body["tool_choice"] == {"type": "tool", "name": "look"}
    assert dropped == ["reasoning_effort"]
    assert built(given, ADAPTIVE)[1] == ["tool_choice", "reasoning_effort"]


def test_no_parallel_calls() -> None:
    given = asking()
    given.tools.add(name="look")
    given.tool_choice.parallel = False
    assert built(given)[0]["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_only_its_own_signed_thoughts_go_back_unchanged() -> None:
    given = asking()
    turn = given.messages.add(role=pb.ROLE_ASSISTANT)
    for provider, signature in (("anthropic", b"proof"), ("google", b"other"), ("", b"")):
        reasoning = turn.parts.add().reasoning
        reasoning.text, reasoning.provider, reasoning.signature = "hm", provider, signature
    hidden = turn.parts.add().reasoning
    hidden.provider, hidden.signature, hidden.redacted = "anthropic", b"secret", True
    turn.parts.add().text.text = "Yes. "
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "And?"
    assert built(given)[0]["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "proof"},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "text", "text": "Yes. "},
    ]


def test_a_last_turn_of_the_model_is_completed_or_followed_up() -> None:
    given = asking()
    given.messages.add(role=pb.ROLE_ASSISTANT).parts.add().text.text = "The answer is "
    assert built(given)[0]["messages"][-1] == {"role": "assistant", "content": "The answer is"}
    assert built(given, ADAPTIVE)[0]["messages"][-1]["role"] == "user"


def test_the_last_four_cache_markers_are_kept() -> None:
    given = pb.GenerationInput()
    for number in range(6):
        message = given.messages.add(role=pb.ROLE_USER if number % 2 == 0 else pb.ROLE_ASSISTANT)
        part = message.parts.add(cache=pb.CACHE_LIFETIME_SHORT)
        part.text.text = str(number)
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "end"
    body, _ = built(given)
    marked = [
        block["text"]
        for message in body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if "cache_control" in block
    ]
    assert marked == ["2", "3", "4", "5"]


def test_the_marker_of_a_blank_text_stands_at_what_came_before() -> None:
    given = asking()
    blank = given.messages[0].parts.add(cache=pb.CACHE_LIFETIME_SHORT)
    blank.text.text = " \n"
    assert built(given)[0]["messages"][0]["content"] == [
        {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}
    ]


def test_broken_arguments_of_a_call_in_the_history_are_kept_as_an_object() -> None:
    given = asking()
    call = pb.ToolCall(id="x" * 80, name="look", arguments_json="{oops")
    given.messages.add(role=pb.ROLE_ASSISTANT).parts.add().tool_call.CopyFrom(call)
    result = given.messages.add(role=pb.ROLE_TOOL).parts.add().tool_result
    result.tool_call_id = "x" * 80
    body, _ = built(given)
    use, answer = body["messages"][1]["content"][0], body["messages"][2]["content"][0]
    assert use["input"] == {"arguments": "{oops"}
    assert use["id"] == answer["tool_use_id"]
    assert len(use["id"]) <= 64


def test_schemas_are_closed_but_properties_of_that_name_are_left_alone() -> None:
    schema = {
        "type": "object",
        "properties": {"type": {"type": "object", "properties": {}}, "enum": {"type": "string"}},
    }
    made = closed(schema)
    assert made["additionalProperties"] is False
    assert made["properties"]["type"]["additionalProperties"] is False
    assert made["properties"]["enum"] == {"type": "string"}


# ---- streams ---------------------------------------------------------------------------------------------------------
def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude",
        "usage": {"input_tokens": 8, "cache_read_input_tokens": 4, "output_tokens": 1},
    },
}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße 🌍"}}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
STOP = {"type": "message_stop"}


def parsed(data: bytes) -> tuple[str, Answer]:
    parser = FORMAT.stream_parser({})
    said = "".join(delta.text for delta in parser.feed(data))
    return said, parser.close()


def test_later_usage_replaces_what_it_names_and_keeps_the_rest() -> None:
    said, answer = parsed(sse(START, TEXT, END, STOP))
    assert said == "Grüße 🌍"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.cache_read_tokens, answer.usage.output_tokens) == (
        12,
        4,
        5,
    )


def test_a_stream_that_ends_anywhere_before_its_end_is_truncated_and_keeps_its_usage() -> None:
    whole = sse(START, TEXT, END, STOP)
    for length in range(len(sse(START)), len(whole) - 2, 7):
        parser = FORMAT.stream_parser({})
        parser.feed(whole[:length])
        with pytest.raises(AttemptError) as broken:
            parser.close()
        assert broken.value.failure.reason == Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED
        assert broken.value.failure.usage is not None
        assert broken.value.failure.usage.input_tokens == 12


@pytest.mark.parametrize(
    "junk", [b": comment\n\n", sse({"type": "ping"}), sse({"type": "tomorrow", "x": 1}), b"\n\n"]
)
def test_what_says_nothing_is_passed_over_anywhere(junk: bytes) -> None:
    said, _ = parsed(junk + sse(START) + junk + sse(TEXT) + junk + sse(END, STOP) + junk)
    assert said == "Grüße 🌍"


@pytest.mark.parametrize("broken", [b"data: {oops\n\n", b"data: \xff\xfe\n\n"])
def test_garbage_in_a_stream_is_a_protocol_error(broken: bytes) -> None:
    parser = FORMAT.stream_parser({})
    parser.feed(sse(START) + broken)
    assert parser.complete
    with pytest.raises(AttemptError) as told:
        parser.close()
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR


def test_the_vendors_own_tools_are_no_calls_of_ours() -> None:
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
    }
    piece = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": "{}"},
    }
    parser = FORMAT.stream_parser({})
    deltas = parser.feed(sse(START, block, piece, {"type": "content_block_stop", "index": 0}, END, STOP))
    assert all(delta.WhichOneof("delta") is None for delta in deltas)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "now", "input": {}},
    }
    end = {**END, "delta": {"stop_reason": "tool_use"}}
    parser = FORMAT.stream_parser({})
    deltas = parser.feed(sse(START, block, {"type": "content_block_stop", "index": 0}, end, STOP))
    assert "".join(delta.tool_call.arguments_json for delta in deltas) == "{}"
    assert deltas[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS


def test_a_200_with_an_error_body_is_an_error() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    with pytest.raises(AttemptError) as told:
        FORMAT.parse_response({}, body)
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_OVERLOADED


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"{}", b'{"content": null}'])
def test_what_is_no_message_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(AttemptError) as told:
        FORMAT.parse_response({}, body)
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_PROTOCOL_ERROR


def test_an_error_page_of_a_proxy_says_its_status() -> None:
    error = FORMAT.parse_error(413, {}, b"<html>too large</html>")
    assert error.failure.http_status == 413
    assert error.failure.reason == Reason.ERROR_REASON_VENDOR_REJECTED_REQUEST
