"""What vendors are known to send and no recording at hand shows: bodies written from their documentation."""

import json
from typing import Any

import pytest

from services.providers.adapters.registry import format_of
from services.providers.adapters.wire.openai_chat import OpenAIChat
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Answer, Call
from services.providers.use_cases.bodies import is_stream
from turnpike.common.v1 import content_pb2

Delta = content_pb2.ChoiceDelta
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
DONE = "[DONE]"


def read(provider: str, wire_format: str, body: Any) -> Answer:
    speaks = format_of(provider, wire_format)
    assert speaks is not None
    return speaks.parse_response({}, json.dumps(body).encode())


def stream(provider: str, wire_format: str, *events: Any) -> tuple[list[Delta], Answer]:
    speaks = format_of(provider, wire_format)
    assert speaks is not None
    parser = speaks.stream_parser({})
    deltas: list[Delta] = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
        deltas += parser.feed(f"{name}data: {data}\n\n".encode())
    return deltas, parser.close()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


def message(said: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish, **more}
    return {"id": "c", "choices": [choice], "usage": USAGE}


def kinds(answer: Answer) -> list[str | None]:
    return [part.WhichOneof("kind") for part in answer.choices[0].message.parts]


def test_sound_comes_whole_and_in_pieces() -> None:
    said = {
        "content": None,
        "audio": {"id": "a", "data": "UklGRg==", "transcript": "Hi there", "expires_at": 1},
    }
    answer = read("openai", "openai_chat", message(said))
    assert kinds(answer) == ["text", "audio"]
    deltas, _ = stream(
        "openai",
        "openai_chat",
        chunk({"role": "assistant", "audio": {"id": "a"}}),
        chunk({"audio": {"transcript": "Hi "}}),
        chunk({"audio": {"data": "UklGRg=="}}),
        chunk({"audio": {"expires_at": 3}}),
        chunk({}, "stop"),
        DONE,
    )
    assert deltas[0].text == "Hi "
    assert (deltas[1].media.data, deltas[1].media.media_type) == (b"RIFF", "audio")
    assert deltas[2].finish_reason == content_pb2.FINISH_REASON_STOP


def test_a_custom_tools_free_text_stands_for_arguments() -> None:
    call = {"id": "call_1", "type": "custom", "custom": {"name": "code", "input": "print(1)"}}
    answer = read("openai", "openai_chat", message({"content": None, "tool_calls": [call]}, "tool_calls"))
    made = answer.choices[0].message.parts[0].tool_call
    assert (made.id, made.name, made.arguments_json) == ("call_1", "code", "print(1)")
    begin = {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "code", "input": ""}}
    deltas, _ = stream(
        "openai",
        "openai_chat",
        chunk({"tool_calls": [begin]}),
        chunk({"tool_calls": [{"index": 0, "custom": {"input": "print(1)"}}]}),
        chunk({}, "tool_calls"),
        DONE,
    )
    assert [(d.tool_call.name, d.tool_call.arguments_json) for d in deltas[:2]] == [
        ("code", ""),
        ("", "print(1)"),
    ]


def test_two_choices_may_interleave_and_end_apart() -> None:
    deltas, answer = stream(
        "openai",
        "openai_chat",
        {"choices": [{"index": 1, "delta": {"content": "B"}}, {"index": 0, "delta": {"content": "A"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
        {"choices": [], "usage": USAGE},
        DONE,
    )
    assert [(delta.index, delta.text) for delta in deltas[:2]] == [(1, "B"), (0, "A")]
    assert [delta.finish_reason_raw for delta in deltas[2:]] == ["stop", "length"]
    assert answer.usage is not None
    assert answer.usage.output_tokens == 5


def test_azures_filter_chunks_say_nothing_and_its_filter_ends_the_answer() -> None:
    deltas, _ = stream(
        "azure",
        "openai_chat",
        {"id": "", "created": 0, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        chunk({"role": "assistant", "content": "Hel"}),
        {
            "id": "",
            "choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 1}}],
        },
        chunk({}, "content_filter"),
        DONE,
    )
    assert [delta.text for delta in deltas] == ["Hel", ""]
    assert deltas[1].finish_reason == content_pb2.FINISH_REASON_CONTENT_FILTER


def test_usage_within_a_choice_counts() -> None:
    told = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "cached_tokens": 3}
    _, answer = stream(
        "moonshot", "openai_chat", chunk({"content": "Hi"}), chunk({}, "stop", usage=told), DONE
    )
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.cache_read_tokens) == (7, 3)


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens_details": {"cached_tokens": 30, "cache_creation_input_tokens": 40}},  # Qwen
        {"cache_read_input_tokens": 30, "cache_creation_input_tokens": 40},  # Claude by gateways
        {"prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 40}},
    ],
)
def test_cached_tokens_by_any_of_their_names(told: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, **told}
    found = read("dashscope", "openai_chat", {**message({"content": "x"}), "usage": usage}).usage
    assert found is not None
    assert (found.input_tokens, found.cache_read_tokens, found.cache_write_tokens) == (100, 30, 40)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("sensitive", "CONTENT_FILTER"), ("network_error", "ERROR"), ("eos", "STOP"), ("tomorrow", "OTHER")],
)
def test_words_for_an_end(raw: str, reason: str) -> None:
    answer = read("zai", "openai_chat", message({"content": "x"}, raw))
    assert content_pb2.FinishReason.Name(answer.choices[0].finish_reason) == f"FINISH_REASON_{reason}"


def test_costs_that_vendors_state_are_theirs() -> None:
    body = {
        **message({"content": "x"}),
        "usage": {**USAGE, "cost": {"request_cost": 0.005, "total_cost": 0.0061}},
    }
    assert read("perplexity", "openai_chat", body).vendor_cost_nanos == 6_100_000
    own_key = {**USAGE, "cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.00012}}
    body = {**message({"content": "x"}), "usage": own_key}
    assert read("openrouter", "openai_chat", body).vendor_cost_nanos == 120_000
    body = {**message({"content": "x"}), "usage": {**USAGE, "cost_in_usd_ticks": 158_500}}
    assert read("xai", "openai_chat", body).vendor_cost_nanos == 15_850


def test_mistrals_references_are_passed_over_and_its_thinking_is_reasoning() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
        {"type": "text", "text": "It is "},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "so."},
    ]
    answer = read("mistral", "openai_chat", message({"content": content, "tool_calls": None}))
    assert kinds(answer) == ["reasoning", "text", "text"]


def test_what_a_vendors_own_tools_did_is_passed_over() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    said = {
        "type": "text",
        "text": "Found",
        "citations": [{"type": "web_search_result_location", "url": "https://x"}],
    }
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "server_tool_use": {"web_search_requests": 1},
    }
    body = {
        "id": "m",
        "type": "message",
        "content": [search, found, said],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    answer = read("anthropic", "anthropic_messages", body)
    assert kinds(answer) == ["text"]
    assert answer.usage is not None
    assert (
        answer.usage.input_tokens,
        answer.usage.cache_write_long_tokens,
        answer.usage.billed_tool_calls,
    ) == (117, 4, 1)
    executed = (
        {"executableCode": {"code": "1"}},
        {"codeExecutionResult": {"output": "1"}},
        {"text": "It is 1"},
    )
    candidate = {"content": {"role": "model", "parts": list(executed)}, "finishReason": "STOP"}
    assert kinds(read("gemini", "gemini", {"candidates": [candidate]})) == ["text"]


def test_a_refusal_says_so_without_a_word() -> None:
    body = {
        "id": "m",
        "type": "message",
        "content": [],
        "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "bio"},
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    answer = read("anthropic", "anthropic_messages", body)
    assert answer.choices[0].finish_reason == content_pb2.FINISH_REASON_REFUSAL


def test_gemini_blocks_prompts_and_stops_in_thought() -> None:
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
    }
    deltas, answer = stream("gemini", "gemini", blocked)
    assert deltas[0].finish_reason == content_pb2.FINISH_REASON_CONTENT_FILTER
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 0)
    thought = {
        "candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}],
        "usageMetadata": {"promptTokenCount": 10, "thoughtsTokenCount": 50, "totalTokenCount": 60},
    }
    answer = read("gemini", "gemini", thought)
    assert answer.choices[0].finish_reason == content_pb2.FINISH_REASON_LENGTH
    assert answer.usage is not None
    assert (answer.usage.output_tokens, answer.usage.reasoning_tokens) == (50, 50)


def test_bedrocks_cited_text_is_text() -> None:
    cited = {"citationsContent": {"content": [{"text": "It is "}, {"text": "so."}], "citations": []}}
    body = {
        "output": {"message": {"role": "assistant", "content": [cited]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
    }
    answer = read("bedrock", "bedrock_converse", body)
    assert answer.choices[0].message.parts[0].text.text == "It is so."


def test_responses_with_tools_of_the_vendor_and_pictures() -> None:
    items = [
        {"type": "web_search_call", "id": "ws", "status": "completed"},
        {"type": "code_interpreter_call", "id": "ci", "code": "1"},
        {"type": "mcp_call", "id": "mc", "name": "f", "arguments": "{}", "output": "1"},
        {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "aGk="},
        {"type": "custom_tool_call", "id": "ct", "call_id": "call_9", "name": "code", "input": "print(1)"},
    ]
    answer = read(
        "openai", "openai_responses", {"id": "r", "status": "completed", "output": items, "error": None}
    )
    assert kinds(answer) == ["image", "tool_call"]
    assert answer.choices[0].message.parts[1].tool_call.arguments_json == "print(1)"
    assert answer.choices[0].finish_reason == content_pb2.FINISH_REASON_TOOL_CALLS


def test_ollama_may_leave_a_count_out() -> None:
    said = {
        "model": "q",
        "message": {"role": "assistant", "content": "Hi"},
        "done": True,
        "done_reason": "length",
        "eval_count": 5,
    }
    answer = read("ollama", "ollama_chat", said)
    assert answer.usage is not None
    assert not answer.usage.HasField("input_tokens")
    assert answer.choices[0].finish_reason == content_pb2.FINISH_REASON_LENGTH


def test_voyages_vectors_and_their_one_figure() -> None:
    speaks = format_of("voyage", "openai_chat")
    assert isinstance(speaks, OpenAIChat)
    asked = json.loads(speaks.build_embed("voyage-3.5", ["one", "two"], 256).body)
    assert asked == {"model": "voyage-3.5", "input": ["one", "two"], "output_dimension": 256}
    data = [{"object": "embedding", "embedding": [0.5, 1], "index": index} for index in (1, 0)]
    made = speaks.parse_embed({}, json.dumps({"data": data, "usage": {"total_tokens": 4}}).encode())
    assert [embedding.index for embedding in made.embeddings] == [0, 1]
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (4, 0)


@pytest.mark.parametrize(
    ("body", "streamed"),
    [
        (b'[{"candidates": []}]', True),
        (b'\n: ping\n\ndata: {"choices": []}\n\n', True),
        (b"event: message_start\ndata: {}\n\n", True),
        (b'{"message": {"content": "a"}}\n{"done": true}\n', True),
        (b'{"choices": [{"message": {"content": "}\\n{"}}]}', False),
        (b'{\n  "a": [\n    {\n    },\n    {\n    }\n  ]\n}', False),
        (b'{"error": {"message": "no"}}', False),
        (b"", False),
    ],
)
def test_streams_that_are_labelled_as_json_are_told_from_whole_answers(body: bytes, streamed: bool) -> None:
    assert is_stream(body) is streamed


def asked(provider: str, effort: content_pb2.ReasoningEffort.ValueType, *efforts: str) -> dict[str, Any]:
    """What a request says about reasoning."""
    speaks = format_of(provider, "openai_chat")
    assert speaks is not None
    given = content_pb2.GenerationInput(reasoning_effort=effort)
    given.messages.add(role=content_pb2.ROLE_USER).parts.add().text.text = "Hello"
    profile = ModelProfile(f"{provider}/m", reasoning=True, reasoning_efforts=efforts)
    body = json.loads(speaks.build(Call(given, "m", 100, False), profile).body)
    return {name: body[name] for name in ("thinking", "enable_thinking", "reasoning_effort") if name in body}


def test_reasoning_is_turned_off_where_models_think_by_themselves() -> None:
    none, high, most = (
        content_pb2.REASONING_EFFORT_NONE,
        content_pb2.REASONING_EFFORT_HIGH,
        content_pb2.REASONING_EFFORT_MAX,
    )
    on, off = {"type": "enabled"}, {"type": "disabled"}
    assert asked("deepseek", none) == {"thinking": off}
    assert asked("deepseek", most, "low", "medium", "high", "max") == {
        "thinking": on,
        "reasoning_effort": "max",
    }
    assert asked("zai", none) == {"thinking": off}
    assert asked("zai", high) == {"thinking": on}
    assert asked("dashscope", none) == {"enable_thinking": False}
    assert asked("dashscope", high) == {"enable_thinking": True}
    assert asked("deepseek", content_pb2.REASONING_EFFORT_UNSPECIFIED) == {}
