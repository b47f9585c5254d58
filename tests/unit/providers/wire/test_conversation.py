from services.providers.domain.conversation import NO_RESULT, OPENING, conversation
from turnpike.common.v1 import content_pb2 as pb


def text(role: pb.Role.ValueType, said: str) -> pb.Message:
    return pb.Message(role=role, parts=[pb.Part(text=pb.TextPart(text=said))])


def calling(*calls: tuple[str, str]) -> pb.Message:
    message = pb.Message(role=pb.ROLE_ASSISTANT)
    for call_id, name in calls:
        message.parts.add().tool_call.CopyFrom(pb.ToolCall(id=call_id, name=name, arguments_json="{}"))
    return message


def answering(*results: tuple[str, str, str], role: pb.Role.ValueType = pb.ROLE_TOOL) -> pb.Message:
    message = pb.Message(role=role)
    for call_id, name, said in results:
        result = message.parts.add().tool_result
        result.tool_call_id, result.name = call_id, name
        result.parts.add().text.text = said
    return message


def test_system_messages_are_taken_out_in_their_order() -> None:
    talk = conversation(
        [text(pb.ROLE_SYSTEM, "one"), text(pb.ROLE_USER, "hello"), text(pb.ROLE_SYSTEM, "two")]
    )
    assert [part.text.text for part in talk.system] == ["one", "two"]
    assert len(talk.turns) == 1


def test_neighbours_of_one_side_are_one_turn() -> None:
    talk = conversation(
        [
            text(pb.ROLE_USER, "a"),
            text(pb.ROLE_USER, "b"),
            text(pb.ROLE_ASSISTANT, "c"),
            text(pb.ROLE_ASSISTANT, "d"),
            text(pb.ROLE_USER, "e"),
        ]
    )
    assert [turn.assistant for turn in talk.turns] == [False, True, False]
    assert [[part.text.text for part in turn.parts] for turn in talk.turns] == [["a", "b"], ["c", "d"], ["e"]]


def test_results_come_first_and_in_the_order_of_their_calls() -> None:
    talk = conversation(
        [
            text(pb.ROLE_USER, "go"),
            calling(("1", "look"), ("2", "find")),
            text(pb.ROLE_USER, "and hurry"),
            answering(("2", "", "two"), ("1", "", "one")),
        ]
    )
    kinds = [part.WhichOneof("kind") for part in talk.turns[-1].parts]
    assert kinds == ["tool_result", "tool_result", "text"]
    results = [part.tool_result for part in talk.turns[-1].parts[:2]]
    assert [(result.tool_call_id, result.name) for result in results] == [("1", "look"), ("2", "find")]


def test_a_call_nobody_answered_is_answered() -> None:
    talk = conversation([text(pb.ROLE_USER, "go"), calling(("1", "look")), text(pb.ROLE_USER, "never mind")])
    result = talk.turns[-1].parts[0].tool_result
    assert (result.tool_call_id, result.name, result.is_error) == ("1", "look", True)
    assert result.parts[0].text.text == NO_RESULT


def test_a_result_of_no_call_becomes_text() -> None:
    talk = conversation([text(pb.ROLE_USER, "go"), answering(("9", "look", "blue"))])
    assert [part.text.text for part in talk.turns[0].parts] == ["go", "Result of look:", "blue"]


def test_two_results_of_one_call_keep_both() -> None:
    talk = conversation(
        [text(pb.ROLE_USER, "go"), calling(("1", "look")), answering(("1", "", "one"), ("1", "", "again"))]
    )
    kinds = [part.WhichOneof("kind") for part in talk.turns[-1].parts]
    assert kinds == ["tool_result", "text", "text"]


def test_calls_without_ids_get_some_and_their_results_the_same() -> None:
    talk = conversation(
        [
            text(pb.ROLE_USER, "go"),
            calling(("", "look"), ("", "find")),
            answering(("", "find", "two"), ("", "look", "one")),
        ]
    )
    ids = [part.tool_call.id for part in talk.turns[1].parts]
    assert len(set(ids)) == 2
    assert all(ids)
    results = [part.tool_result for part in talk.turns[2].parts]
    assert [(result.tool_call_id, result.parts[0].text.text) for result in results] == [
        (ids[0], "one"),
        (ids[1], "two"),
    ]


def test_the_user_speaks_first() -> None:
    talk = conversation([text(pb.ROLE_ASSISTANT, "Welcome"), text(pb.ROLE_USER, "Hello")])
    assert talk.turns[0].parts[0].text.text == OPENING
    assert [turn.assistant for turn in talk.turns] == [False, True, False]


def test_the_messages_themselves_are_not_changed() -> None:
    messages = [text(pb.ROLE_USER, "go"), calling(("", "look")), answering(("", "", "one"))]
    before = [message.SerializeToString(deterministic=True) for message in messages]
    conversation(messages)
    assert [message.SerializeToString(deterministic=True) for message in messages] == before
