import json
from typing import Any

import pytest

from services.providers.adapters.wire.body import decode
from services.providers.adapters.wire.cohere import CohereChat
from services.providers.adapters.wire.ollama import OllamaChat
from services.providers.domain.failure import AttemptError, Reason
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2 as pb

COHERE = CohereChat()
OLLAMA = OllamaChat()


def history() -> pb.GenerationInput:
    given = pb.GenerationInput()
    given.messages.add(role=pb.ROLE_SYSTEM).parts.add().text.text = "Be brief."
    asked = given.messages.add(role=pb.ROLE_USER)
    asked.parts.add().text.text = "What is this?"
    image = asked.parts.add().image
    image.data, image.media_type = b"png", "image/png"
    turn = given.messages.add(role=pb.ROLE_ASSISTANT)
    thought = turn.parts.add().reasoning
    thought.text, thought.provider = "hm", "ollama"
    call = pb.ToolCall(id="1", name="look", arguments_json='{"a":1}')
    turn.parts.add().tool_call.CopyFrom(call)
    result = given.messages.add(role=pb.ROLE_TOOL).parts.add().tool_result
    result.tool_call_id = "1"
    result.parts.add().text.text = "blue"
    given.tools.add(name="look").parameters_schema.update({"type": "object", "properties": {}})
    return given


# ---- Ollama ----------------------------------------------------------------------------------------------------------
def test_ollama_has_pictures_beside_the_text_and_objects_as_arguments() -> None:
    given = history()
    given.reasoning_effort = pb.REASONING_EFFORT_HIGH
    given.sampling.seed = 7
    body = decode(OLLAMA.build(Call(given, "qwen3", 100, True), ModelProfile()).body)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": ["cG5n"]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "look", "arguments": {"a": 1}}}],
            "thinking": "hm",
        },
        {"role": "tool", "content": "blue", "tool_name": "look"},
    ]
    assert body["think"] is True
    assert body["options"] == {"num_predict": 100, "seed": 7}
    assert body["stream"] is True


def test_ollama_knows_levels_only_for_one_family() -> None:
    given = history()
    given.reasoning_effort = pb.REASONING_EFFORT_MINIMAL
    body = decode(OLLAMA.build(Call(given, "gpt-oss:20b", 100, True), ModelProfile()).body)
    assert body["think"] == "low"


def lines(*objects: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in objects)


CALL = {"function": {"name": "look", "arguments": {"a": 1}}}
STREAM = lines(
    {"model": "qwen3", "message": {"role": "assistant", "thinking": "hm"}, "done": False},
    {"model": "qwen3", "message": {"role": "assistant", "content": "Grüße"}, "done": False},
    {"model": "qwen3", "message": {"content": "", "tool_calls": [CALL, CALL]}, "done": False},
    {
        "model": "qwen3",
        "message": {"content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 5,
        "eval_count": 7,
    },
)


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_ollama_streams_lines(size: int, ending: bytes) -> None:
    data = STREAM.rstrip() + ending
    parser = OLLAMA.stream_parser({})
    deltas = []
    for start in range(0, len(data), size):
        deltas += parser.feed(data[start : start + size])
    answer = parser.close()
    assert "".join(delta.text for delta in deltas) == "Grüße"
    assert [delta.tool_call.index for delta in deltas if delta.WhichOneof("delta") == "tool_call"] == [0, 1]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 7)
    assert answer.vendor_model == "qwen3"


def test_ollama_may_fail_in_the_middle_or_break_off() -> None:
    parser = OLLAMA.stream_parser({})
    parser.feed(STREAM[:80] + b"\n" + lines({"error": "model 'x' not found"}))
    with pytest.raises(AttemptError):
        parser.close()
    parser = OLLAMA.stream_parser({})
    parser.feed(STREAM[:150])
    with pytest.raises(AttemptError) as told:
        parser.close()
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED


def test_ollama_counts_a_cached_prompt_as_unknown() -> None:
    answer = OLLAMA.parse_response({}, b'{"message":{"content":"Hi"},"done":true,"eval_count":3}')
    assert answer.usage is not None
    assert not answer.usage.HasField("input_tokens")
    assert answer.usage.output_tokens == 3


def test_ollama_vectors() -> None:
    request = OLLAMA.build_embed("nomic", ["one"], None)
    assert decode(request.body) == {"model": "nomic", "input": ["one"]}
    made = OLLAMA.parse_embed({}, b'{"embeddings":[[1,2]],"prompt_eval_count":4}')
    assert list(made.embeddings[0].values) == [1.0, 2.0]
    assert made.usage is not None
    assert made.usage.input_tokens == 4


# ---- Cohere ----------------------------------------------------------------------------------------------------------
def test_cohere_sends_results_as_text_and_drops_others_thoughts() -> None:
    body = decode(
        COHERE.build(Call(history(), "command-a", 100, False, provider="cohere"), ModelProfile()).body
    )
    assert body["messages"][2] == {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}],
    }
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "1", "content": "blue"}


def test_cohere_clamps_what_it_would_refuse() -> None:
    given = history()
    given.sampling.top_p, given.sampling.presence_penalty = 1.0, 1.5
    body = decode(COHERE.build(Call(given, "command-a", 100, False), ModelProfile()).body)
    assert (body["p"], body["presence_penalty"]) == (0.99, 1.0)


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def test_cohere_streams_plan_calls_and_usage() -> None:
    def part(**message: Any) -> dict[str, Any]:
        return {"delta": {"message": message}}

    start = {"id": "look_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    data = (
        event("message-start", id="m")
        + event("tool-plan-delta", **part(tool_plan="I will look."))
        + event("tool-call-start", index=0, **part(tool_calls=start))
        + event("tool-call-delta", index=0, **part(tool_calls={"function": {"arguments": '{"a":1}'}}))
        + event("tool-call-end", index=0)
        + event("citation-start", **part(citations={}))
        + event(
            "message-end",
            delta={
                "finish_reason": "TOOL_CALL",
                "usage": {
                    "tokens": {"input_tokens": 50, "output_tokens": 9},
                    "billed_units": {"input_tokens": 5},
                },
            },
        )
        + b"data: [DONE]\n\n"
    )
    parser = COHERE.stream_parser({})
    deltas = parser.feed(data)
    answer = parser.close()
    assert "".join(delta.text for delta in deltas) == "I will look."
    assert "".join(delta.tool_call.arguments_json for delta in deltas) == '{"a":1}'
    assert deltas[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS
    assert answer.usage is not None
    assert answer.usage.input_tokens == 50


def test_cohere_without_its_end_is_truncated() -> None:
    parser = COHERE.stream_parser({})
    parser.feed(event("message-start", id="m") + b'data: {"type":"content-del')
    with pytest.raises(AttemptError) as told:
        parser.close()
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED


def test_cohere_vectors_are_billed_by_the_unit() -> None:
    body = b'{"id":"x","embeddings":{"float":[[1],[2]]},"meta":{"billed_units":{"input_tokens":8}}}'
    made = COHERE.parse_embed({}, body)
    assert [list(vector.values) for vector in made.embeddings] == [[1.0], [2.0]]
    assert made.usage is not None
    assert made.usage.input_tokens == 8
