import json
from typing import Any

import pytest

from services.providers.adapters.wire.body import decode
from services.providers.adapters.wire.gemini import Gemini
from services.providers.adapters.wire.gemini_request import FOREIGN_CALL_SIGNATURE
from services.providers.adapters.wire.json_array import ArrayDecoder
from services.providers.domain.failure import AttemptError, Reason
from services.providers.domain.profile import ModelProfile
from services.providers.ports import Call
from turnpike.common.v1 import content_pb2 as pb

FORMAT = Gemini()


def asking() -> pb.GenerationInput:
    made = pb.GenerationInput()
    made.messages.add(role=pb.ROLE_USER).parts.add().text.text = "Hello"
    return made


def built(
    given: pb.GenerationInput, model: str = "gemini-3-flash-preview", cap: int | None = 1_000
) -> dict[str, Any]:
    body: dict[str, Any] = decode(
        FORMAT.build(Call(given, model, cap, False), ModelProfile(f"gemini/{model}")).body
    )
    return body


def calling(given: pb.GenerationInput, *ids: str, signature: bytes = b"") -> None:
    turn, results = given.messages.add(role=pb.ROLE_ASSISTANT), given.messages.add(role=pb.ROLE_TOOL)
    for call_id in ids:
        call = pb.ToolCall(id=call_id, name="look", arguments_json='{"a":1}', signature=signature)
        turn.parts.add().tool_call.CopyFrom(call)
        results.parts.add().tool_result.tool_call_id = call_id


def test_a_signature_goes_back_where_it_came_from() -> None:
    given = asking()
    calling(given, "abc", signature=b"c2ln")
    part = built(given)["contents"][1]["parts"][0]
    assert part == {
        "functionCall": {"name": "look", "args": {"a": 1}, "id": "abc"},
        "thoughtSignature": "c2ln",
    }


def test_calls_of_other_vendors_carry_the_word_that_lets_them_in_once_a_turn() -> None:
    given = asking()
    calling(given, "call_1", "call_2")
    parts = built(given)["contents"][1]["parts"]
    assert parts[0]["thoughtSignature"] == FOREIGN_CALL_SIGNATURE
    assert "thoughtSignature" not in parts[1]
    older = built(given, "gemini-2.5-flash")["contents"][1]["parts"]
    assert all("thoughtSignature" not in part and "id" not in part["functionCall"] for part in older)


def test_ids_we_made_are_not_told() -> None:
    given = asking()
    calling(given, "gemini_abc_0")
    contents = built(given)["contents"]
    assert "id" not in contents[1]["parts"][0]["functionCall"]
    assert contents[2]["parts"][0]["functionResponse"] == {"name": "look", "response": {"output": ""}}


@pytest.mark.parametrize(
    ("text", "is_error", "response"),
    [
        ('{"sky":"blue"}', False, {"sky": "blue"}),
        ("[1,2]", False, {"output": [1, 2]}),
        ("plain", False, {"output": "plain"}),
        ("broken", True, {"error": "broken"}),
    ],
)
def test_results_are_objects(text: str, is_error: bool, response: dict[str, Any]) -> None:
    given = asking()
    calling(given, "a")
    result = given.messages[2].parts[0].tool_result
    result.is_error = is_error
    result.parts.add().text.text = text
    assert built(given)["contents"][2]["parts"][0]["functionResponse"]["response"] == response


def test_a_signature_alone_belongs_to_the_text_before_it() -> None:
    given = asking()
    turn = given.messages.add(role=pb.ROLE_ASSISTANT)
    turn.parts.add().text.text = "Yes"
    for provider, signature in (("google", b"c2ln"), ("anthropic", b"no")):
        reasoning = turn.parts.add().reasoning
        reasoning.provider, reasoning.signature = provider, signature
    given.messages.add(role=pb.ROLE_USER).parts.add().text.text = "And?"
    assert built(given)["contents"][1]["parts"] == [{"text": "Yes", "thoughtSignature": "c2ln"}]


@pytest.mark.parametrize(
    ("model", "effort", "cap", "thinking"),
    [
        ("gemini-2.5-flash", pb.REASONING_EFFORT_NONE, 1_000, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", pb.REASONING_EFFORT_NONE, 1_000, {"thinkingBudget": 128}),
        (
            "gemini-2.5-flash",
            pb.REASONING_EFFORT_MAX,
            1_000,
            {"thinkingBudget": 750, "includeThoughts": True},
        ),
        ("gemini-3-pro", pb.REASONING_EFFORT_MAX, 1_000, {"thinkingLevel": "HIGH", "includeThoughts": True}),
    ],
)
def test_effort_is_a_budget_or_a_level(
    model: str, effort: pb.ReasoningEffort.ValueType, cap: int, thinking: dict[str, Any]
) -> None:
    given = asking()
    given.reasoning_effort = effort
    assert built(given, model, cap)["generationConfig"]["thinkingConfig"] == thinking


def test_the_type_of_a_file_by_address_is_guessed_from_its_name() -> None:
    given = asking()
    given.messages[0].parts.add().image.url = "https://example.com/a/picture.webp?size=1"
    part = built(given)["contents"][0]["parts"][1]
    assert part == {
        "fileData": {"fileUri": "https://example.com/a/picture.webp?size=1", "mimeType": "image/webp"}
    }


def test_safety_settings() -> None:
    given = asking()
    given.safety_settings.add(category=pb.SAFETY_CATEGORY_HATE, threshold=pb.SAFETY_THRESHOLD_OFF)
    assert built(given)["safetySettings"] == [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"}]


# ---- answers ---------------------------------------------------------------------------------------------------------
def answer(*candidates: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"candidates": list(candidates), "responseId": "r1", **more}).encode()


def test_thoughts_count_as_output_and_prompts_of_tools_as_input() -> None:
    usage = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 20,
        "cachedContentTokenCount": 4,
        "totalTokenCount": 42,
    }
    body = answer({"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}, usageMetadata=usage)
    told = FORMAT.parse_response({}, body).usage
    assert told is not None
    assert (told.input_tokens, told.output_tokens, told.reasoning_tokens, told.cache_read_tokens) == (
        15,
        27,
        20,
        4,
    )


def test_thoughts_that_used_up_the_cap_are_billed() -> None:
    usage = {"promptTokenCount": 10, "thoughtsTokenCount": 90, "totalTokenCount": 100}
    body = answer({"finishReason": "MAX_TOKENS"}, usageMetadata=usage)
    told = FORMAT.parse_response({}, body)
    assert told.usage is not None
    assert told.usage.output_tokens == 90
    assert told.choices[0].finish_reason == pb.FINISH_REASON_LENGTH


def test_a_blocked_prompt_is_a_filtered_answer() -> None:
    body = json.dumps(
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    ).encode()
    told = FORMAT.parse_response({}, body)
    assert told.choices[0].finish_reason == pb.FINISH_REASON_CONTENT_FILTER
    assert told.choices[0].finish_reason_raw == "SAFETY"


def test_reasons_of_tomorrow_are_other() -> None:
    told = FORMAT.parse_response({}, answer({"content": {}, "finishReason": "SOLAR_FLARE"}))
    assert told.choices[0].finish_reason == pb.FINISH_REASON_OTHER
    assert told.choices[0].finish_reason_raw == "SOLAR_FLARE"


def test_calls_without_ids_get_some_and_end_with_tool_calls() -> None:
    parts = [
        {"functionCall": {"name": "look", "args": {}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "find"}},
    ]
    told = FORMAT.parse_response({}, answer({"content": {"parts": parts}, "finishReason": "STOP"}))
    calls = [part.tool_call for part in told.choices[0].message.parts]
    assert [call.id for call in calls] == ["gemini_r1_0", "gemini_r1_1"]
    assert [call.signature for call in calls] == [b"c2ln", b""]
    assert told.choices[0].finish_reason == pb.FINISH_REASON_TOOL_CALLS


def test_several_candidates_stay_apart() -> None:
    body = answer(
        {"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"},
        {"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "MAX_TOKENS"},
    )
    told = FORMAT.parse_response({}, body).choices
    assert [choice.message.parts[0].text.text for choice in told] == ["a", "b"]


def test_a_stream_ends_when_every_candidate_has_finished() -> None:
    chunk = b'data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}\r\n\r\n'
    usage_told = b'"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}'
    end = b'data: {"candidates":[{"finishReason":"STOP"}],' + usage_told + b"}\r\n\r\n"
    parser = FORMAT.stream_parser({})
    assert [delta.text for delta in parser.feed(chunk)] == ["Hi"]
    with pytest.raises(AttemptError) as broken:
        parser.close()
    assert broken.value.failure.reason == Reason.ERROR_REASON_VENDOR_STREAM_TRUNCATED
    parser = FORMAT.stream_parser({})
    parser.feed(chunk + end)
    usage = parser.close().usage
    assert usage is not None
    assert usage.output_tokens == 2


def test_an_error_in_a_stream_has_the_status_it_tells() -> None:
    parser = FORMAT.stream_parser({})
    parser.feed(b'data: {"error":{"code":503,"status":"UNAVAILABLE","message":"overloaded"}}\r\n\r\n')
    with pytest.raises(AttemptError) as told:
        parser.close()
    assert told.value.failure.reason == Reason.ERROR_REASON_VENDOR_OVERLOADED


def test_a_quota_error_has_its_delay() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}]
    error = {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "You exceeded your quota.",
        "details": details,
    }
    told = FORMAT.parse_error(429, {}, json.dumps([{"error": error}]).encode())
    assert told.failure.reason == Reason.ERROR_REASON_VENDOR_RATE_LIMITED
    assert told.failure.retry_after_s == 48.0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_objects_of_an_array_come_one_by_one_however_they_are_cut(size: int) -> None:
    objects = [{"a": 'x"}{\\'}, {"b": {"c": [1, {"d": "é\\\\"}]}}, {}]
    data = json.dumps(objects, ensure_ascii=False, indent=1).encode()
    decoder = ArrayDecoder()
    found = []
    for start in range(0, len(data), size):
        found += [json.loads(event.data) for event in decoder.feed(data[start : start + size])]
    assert found == objects


def test_vectors_with_and_without_usage() -> None:
    made = FORMAT.parse_embed(
        {}, b'{"embeddings":[{"values":[1,0.5]}],"usageMetadata":{"promptTokenCount":3}}'
    )
    assert list(made.embeddings[0].values) == [1.0, 0.5]
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (3, 0)
    assert FORMAT.parse_embed({}, b'{"embeddings":[{"values":[1]}]}').usage is None
    vertex = Gemini(prefix="/publishers/google")
    body = b'{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":4}}}]}'
    counted = vertex.parse_embed({}, body).usage
    assert counted is not None
    assert counted.input_tokens == 4


def streamed(*parts: dict[str, Any], **last: Any) -> list[pb.ChoiceDelta]:
    """The deltas of a stream of one part an event, and of an event that ends it."""
    parser = FORMAT.stream_parser({})
    deltas: list[pb.ChoiceDelta] = []
    for part in parts:
        candidate = {"content": {"role": "model", "parts": [part]}}
        body = {"candidates": [candidate], "usageMetadata": {"trafficType": "ON_DEMAND"}}
        deltas += parser.feed(b"data: " + json.dumps(body).encode() + b"\r\n\r\n")
    deltas += parser.feed(b"data: " + answer({"finishReason": "STOP"}, **last) + b"\r\n\r\n")
    parser.close()
    return deltas


def calls_of(deltas: list[pb.ChoiceDelta]) -> list[tuple[str, Any]]:
    found: dict[int, list[str]] = {}
    for delta in deltas:
        if delta.WhichOneof("delta") == "tool_call":
            call = found.setdefault(delta.tool_call.index, [delta.tool_call.name, ""])
            call[1] += delta.tool_call.arguments_json
    return [(name, json.loads(arguments)) for name, arguments in found.values()]


def piece(path: str, *, more: bool = True, **value: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"partialArgs": [{"jsonPath": path, **value}]}
    return {"functionCall": {**call, "willContinue": True} if more else call}


def test_arguments_that_come_by_their_places_become_one_object() -> None:
    deltas = streamed(
        {"functionCall": {"name": "cook", "willContinue": True}, "thoughtSignature": "c2ln"},
        piece("$.dish.steps[0].text", stringValue="Boil ", willContinue=True),
        piece("$.dish.steps[0].text", stringValue="water."),
        piece("$.dish.steps[1]['text']", stringValue="Wait."),
        piece("$.dish.minutes", numberValue=7),
        piece("$.dish.spicy", boolValue=False),
        piece("$.dish.note", nullValue="NULL_VALUE"),
        piece("$.dish.steps[99999999].text", stringValue="far beyond"),
        piece("dish", stringValue="nowhere"),
        {"functionCall": {}},
        {"functionCall": {"name": "look", "args": {"a": 1}}},
        {"functionCall": {"name": "stop", "willContinue": True}},
        piece("$.at", stringValue="once"),
    )
    dish = {
        "steps": [{"text": "Boil water."}, {"text": "Wait."}],
        "minutes": 7,
        "spicy": False,
        "note": None,
    }
    assert calls_of(deltas) == [("cook", {"dish": dish}), ("look", {"a": 1}), ("stop", {"at": "once"})]
    assert deltas[0].tool_call.signature == b"c2ln"
    assert deltas[-1].finish_reason == pb.FINISH_REASON_TOOL_CALLS


def test_figures_stay_when_a_later_event_tells_none() -> None:
    parser = FORMAT.stream_parser({})
    for event in (
        {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}},
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"trafficType": "ON_DEMAND"}},
    ):
        parser.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    usage = parser.close().usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3, 2)


@pytest.mark.parametrize(
    ("figures", "output"),
    [
        ([{"candidatesTokenCount": tokens} for tokens in (100, 200, 300)], 300),
        ([{"candidatesTokenCount": 1}, {"candidatesTokenCount": 20, "totalTokenCount": 30}], 20),
        ([{"candidatesTokenCount": 20, "totalTokenCount": 30}, {"candidatesTokenCount": 1}], 20),
    ],
)
def test_the_last_figures_count_also_where_no_total_is_told(
    figures: list[dict[str, Any]], output: int
) -> None:
    parser = FORMAT.stream_parser({})
    for told in figures:
        said = answer({"content": {"parts": [{"text": "a"}]}}, usageMetadata={"promptTokenCount": 10, **told})
        parser.feed(b"data: " + said + b"\n\n")
    parser.feed(b"data: " + answer({"finishReason": "STOP"}) + b"\n\n")
    usage = parser.close().usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (10, output)
